"""Make some of a base model's parameters trainable, and take what they learned out as an adapter."""

from __future__ import annotations

import numpy as np
import torch

from encoder.adapter import Adapter, difference_tensors, low_rank_tensors
from encoder.base import Diverged, EncoderError
from encoder.forward.model import layers_of
from encoder.training.options import TrainOptions

LOW_RANK_SCALE = 2.0  # what Hu et al. call alpha / rank


class LowRankLinear(torch.nn.Module):
    """Add a low-rank product to a frozen linear layer: x W' + b + scale * (x down') up' (LoRA: Hu et al., ICLR 2022)."""

    def __init__(self, base: torch.nn.Linear, rank: int) -> None:
        super().__init__()
        self.base = base
        self.down = torch.nn.Parameter(torch.empty(rank, base.in_features, device=base.weight.device))
        self.up = torch.nn.Parameter(torch.zeros(base.out_features, rank, device=base.weight.device))
        torch.nn.init.kaiming_uniform_(self.down, a=5**0.5)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        low = torch.nn.functional.linear(inputs, self.down)
        return self.base(inputs) + LOW_RANK_SCALE * torch.nn.functional.linear(low, self.up)


def trained_layers(model: torch.nn.Module, count: int | None, pooled: tuple[int, ...]) -> dict[str, torch.nn.Module]:
    """Find the layers that learn, by module path: the highest `count` of those up to the pooling.

    None: the pooled layers and those between; what lies below the lowest gives all of them the same as before.

    Raises:
        EncoderError: more layers than there are.
    """
    path, layers = layers_of(model)
    layers = layers[: max(pooled)]  # those above may lie there still, and give nothing that is pooled
    check_train_layers(count, len(layers))
    # Layer k gives hidden state k, so the first one is number 0 in the list.
    first = max(0, min(pooled) - 1) if count is None else len(layers) - count
    return {f"{path}.{number}": layers[number] for number in range(first, len(layers))}


def check_train_layers(count: int | None, layers: int) -> None:
    """Raise EncoderError where more layers are to learn than there are up to the pooling."""
    if count is not None and count > layers:
        raise EncoderError(f"train_layers is {count} but there are {layers} layers up to the highest one pooled")


def open_layers(layers: dict[str, torch.nn.Module], options: TrainOptions) -> dict[str, torch.nn.Parameter]:
    """Make layers trainable, in place: gives what learns by its name in the base model (and `.down`, `.up`).

    Raises:
        EncoderError: layers without a linear module to put a low-rank product beside.
    """
    opened: dict[str, torch.nn.Parameter] = {}
    for prefix, layer in layers.items():
        if options.adapter == "full":
            opened |= {f"{prefix}.{name}": p.requires_grad_() for name, p in layer.named_parameters()}
            continue
        for name, module in list(layer.named_modules()):
            if isinstance(module, torch.nn.Linear):
                parent, _, child = name.rpartition(".")
                low_rank = LowRankLinear(module, options.kept_rank)
                setattr(layer.get_submodule(parent), child, low_rank)
                opened |= {f"{prefix}.{name}.down": low_rank.down, f"{prefix}.{name}.up": low_rank.up}
    if not opened:
        raise EncoderError("this base model has no linear layers to put a low-rank adapter beside; take adapter full")
    return opened


@torch.no_grad()
def learned_adapter(learned: dict[str, torch.Tensor], base: torch.nn.Module, options: TrainOptions) -> Adapter:
    """Take out what was learned, averaged with the base's weights.

    W = W0 + average * (W1 - W0): weight-space ensembling of a fine-tuned model with the one it came from keeps what that
    could do elsewhere (WiSE-FT: Wortsman et al., CVPR 2022).

    Args:
        learned: parameters by name, as `open_layers` gave them.
        base: the base model as it was.
    """
    arrays = {name: tensor.detach().float().cpu().numpy() for name, tensor in learned.items()}
    if options.adapter == "lora":
        tensors: dict[str, np.ndarray] = {}
        scale = np.float32(LOW_RANK_SCALE * options.average)
        for name in arrays:
            if name.endswith(".up"):
                module = name.removesuffix(".up")
                tensors |= low_rank_tensors(module, arrays[f"{module}.down"], scale * arrays[name])
    else:
        before = dict(base.named_parameters())
        average = np.float32(options.average)
        tensors = difference_tensors(
            {name: average * (array - before[name].float().cpu().numpy()) for name, array in arrays.items()},
            options.kept_rank,
        )
    for name, tensor in tensors.items():
        if not np.isfinite(tensor).all():
            raise Diverged(f"{name} grew beyond float16; take a smaller learning rate")
    return Adapter(tensors)

"""Select the layers of a base model that are trained, and take what they learned out as an adapter."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from encoder.adapter import Adapter, difference_tensors
from encoder.base import DivergedError, EncoderError
from encoder.forward.model import layers_of


def trained_layers(model: torch.nn.Module, count: int | None, pooled: tuple[int, ...]) -> dict[str, torch.nn.Module]:
    """Return the layers that are trained, by module path: the highest `count` layers up to the highest pooled one.

    None: from the lowest to the highest pooled layer. Layers below would change all pooled layers alike.

    Raises:
        EncoderError: there are fewer layers.
    """
    path, layers = layers_of(model)
    layers = layers[: max(pooled)]  # the model may have layers above, which are not pooled
    check_train_layers(count, len(layers))
    # Layer k makes hidden state k, so the first layer is number 0 in the list.
    first = max(0, min(pooled) - 1) if count is None else len(layers) - count
    return {f"{path}.{number}": layers[number] for number in range(first, len(layers))}


def check_train_layers(count: int | None, layers: int) -> None:
    """Raise EncoderError if `count` exceeds the layers up to the highest pooled one."""
    if count is not None and count > layers:
        raise EncoderError(f"train_layers is {count} but there are {layers} layers up to the highest one pooled")


def unfreeze_layers(layers: dict[str, torch.nn.Module]) -> dict[str, torch.nn.Parameter]:
    """Make all parameters of layers trainable, in place; return them by their name in the base model."""
    unfrozen: dict[str, torch.nn.Parameter] = {}
    for path, layer in layers.items():
        layer.requires_grad_(True)
        unfrozen |= {f"{path}.{name}": parameter for name, parameter in layer.named_parameters()}
    return unfrozen


@torch.no_grad()
def learned_adapter(learned: Mapping[str, torch.Tensor], base: torch.nn.Module, rank: int) -> Adapter:
    """Return the differences between trained parameters and those of the base model as an adapter.

    Args:
        learned: parameters by name, as `unfreeze_layers` returned them.
        base: the base model before training.
        rank: see `encoder.adapter.difference_tensors`.

    Raises:
        DivergedError: a difference exceeds float16.
    """
    before = dict(base.named_parameters())
    differences = {name: _array(parameter) - _array(before[name]) for name, parameter in learned.items()}
    tensors = difference_tensors(differences, rank)
    for name, tensor in tensors.items():
        if not np.isfinite(tensor).all():
            raise DivergedError(f"{name} grew beyond float16; take a smaller learning rate")
    return Adapter(tensors)


def _array(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().float().cpu().numpy()

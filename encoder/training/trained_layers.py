"""Make some of a base model's parameters trainable, and take what they learned out as an adapter."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from encoder.adapter import Adapter, difference_tensors
from encoder.base import Diverged, EncoderError
from encoder.forward.model import layers_of


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


def open_layers(layers: dict[str, torch.nn.Module]) -> dict[str, torch.nn.Parameter]:
    """Make all parameters of layers trainable, in place; return them by their name in the base model."""
    return {
        f"{path}.{name}": parameter.requires_grad_()
        for path, layer in layers.items()
        for name, parameter in layer.named_parameters()
    }


@torch.no_grad()
def learned_adapter(learned: Mapping[str, torch.Tensor], base: torch.nn.Module, rank: int) -> Adapter:
    """Return the differences between trained parameters and those of the base model as an adapter.

    Args:
        learned: parameters by name, as `open_layers` returned them.
        base: the base model before training.
        rank: passed to `encoder.adapter.difference_tensors`.

    Raises:
        Diverged: a difference exceeds float16.
    """
    before = dict(base.named_parameters())
    differences = {name: _array(parameter) - _array(before[name]) for name, parameter in learned.items()}
    tensors = difference_tensors(differences, rank)
    for name, tensor in tensors.items():
        if not np.isfinite(tensor).all():
            raise Diverged(f"{name} grew beyond float16; take a smaller learning rate")
    return Adapter(tensors)


def _array(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().float().cpu().numpy()

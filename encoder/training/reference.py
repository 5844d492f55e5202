"""Run the base model beside the one in training, for the terms that hold on to what it gives."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch

# hidden states of the model in training, ids (n, tokens) int64, mask (n, tokens) bool → hidden states of the base model
Reference = Callable[[tuple[torch.Tensor, ...], torch.Tensor, torch.Tensor], tuple[torch.Tensor, ...]]


class SharedLayers:
    """Run the base model's upper layers on what the frozen layers below gave, which both models share.

    Exact where hidden states are what layers gave (`layers_make_hidden_states`) and layers take the hidden
    state first and the same other arguments each. The lower layers are run once, and kept in memory once.
    """

    def __init__(self, trained: dict[str, torch.nn.Module]) -> None:
        """Copy the layers that are going to learn, the lowest first, as they are now."""
        layers = list(trained.values())
        self._layers = [copy.deepcopy(layer).eval().requires_grad_(False) for layer in layers]
        self._arguments: tuple[Any, ...] = ()
        self._keywords: dict[str, Any] = {}
        layers[0].register_forward_pre_hook(self._note, with_kwargs=True)

    def _note(self, layer: torch.nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        self._arguments, self._keywords = arguments[1:], keywords  # the attention mask, in each family's own form

    def __call__(
        self, hidden: tuple[torch.Tensor, ...], ids: torch.Tensor, mask: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        """Give the base model's hidden states of the batch that the model in training was run on last."""
        states = list(hidden[: len(hidden) - len(self._layers)])
        for layer in self._layers:
            output = layer(states[-1], *self._arguments, **self._keywords)
            states.append(output[0] if isinstance(output, tuple) else output)
        return tuple(states)


class WholeModel:
    """Run the whole base model once more, for families whose layers do not stand alone."""

    def __init__(self, model: torch.nn.Module) -> None:
        self._model = model

    def __call__(
        self, hidden: tuple[torch.Tensor, ...], ids: torch.Tensor, mask: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        return self._model(input_ids=ids, attention_mask=mask.long(), output_hidden_states=True).hidden_states

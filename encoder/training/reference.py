"""Run the base model beside the one in training, for the loss terms that compare with it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch

# hidden states of the model in training, ids (n, tokens) int64, mask (n, tokens) bool → hidden states of the base model
Reference = Callable[[tuple[torch.Tensor, ...], torch.Tensor, torch.Tensor], tuple[torch.Tensor, ...]]


class SharedLayers:
    """A copy of the upper layers of the base model, which run on the output of the frozen layers below.

    Both models share the lower layers: these run once and are in memory once. This is exact if hidden states are the outputs of
    layers (`layers_make_hidden_states`), and if layers take the hidden state first and the same other arguments each.
    """

    def __init__(self, trained: dict[str, torch.nn.Module]) -> None:
        """Copy the layers that are going to be trained, the lowest first."""
        layers = list(trained.values())
        self._layers = [copy.deepcopy(layer).eval().requires_grad_(False) for layer in layers]
        self._arguments: tuple[Any, ...] = ()
        self._keywords: dict[str, Any] = {}
        layers[0].register_forward_pre_hook(self._remember, with_kwargs=True)

    def _remember(self, layer: torch.nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        self._arguments, self._keywords = (
            arguments[1:],
            keywords,
        )  # the attention mask, in the form of the model's family

    def __call__(
        self, hidden: tuple[torch.Tensor, ...], ids: torch.Tensor, mask: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        """Return the base model's hidden states of the batch that the model in training ran on last."""
        states = list(hidden[: len(hidden) - len(self._layers)])
        for layer in self._layers:
            output = layer(states[-1], *self._arguments, **self._keywords)
            states.append(output[0] if isinstance(output, tuple) else output)
        return tuple(states)


class WholeModel:
    """A whole base model, for families whose layers do not run by themselves."""

    def __init__(self, model: torch.nn.Module) -> None:
        self._model = model

    def __call__(
        self, hidden: tuple[torch.Tensor, ...], ids: torch.Tensor, mask: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        """Return the base model's hidden states of a batch."""
        return self._model(input_ids=ids, attention_mask=mask.long(), output_hidden_states=True).hidden_states

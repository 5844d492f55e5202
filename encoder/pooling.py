"""Pool hidden states into one vector per text: layers × positions, concatenated.

Du et al. (Findings of EMNLP 2020) compare these choices; several layers pooled by their mean did best as bits.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

POSITIONS = ("cls", "mean", "max", "last", "first_K")
_FIRST_K = re.compile(r"first_([1-9]\d*)")


@dataclasses.dataclass(frozen=True)
class Pooling:
    """The hidden states that make the features.

    Attributes:
        layers: hidden layers to read; 0 is the embeddings, k the output of layer k. Bits of all layers (0 to 6 of 6) serve
            tasks better than bits of the last layer alone.
        positions: how tokens become one vector, in the order of concatenation: "cls" (first token), "mean", "max", "last" (last
            token, for decoder models), "first_K" (the first K tokens side by side, such as first_4).
    """

    layers: tuple[int, ...]
    positions: tuple[str, ...] = ("mean",)

    def __post_init__(self) -> None:
        if not self.layers or min(self.layers) < 0 or len(set(self.layers)) != len(self.layers):
            raise ValueError(f"layers must be distinct and not negative, not {list(self.layers)}")
        if not self.positions or len(set(self.positions)) != len(self.positions):
            raise ValueError(f"pooling positions must be distinct and at least one, not {list(self.positions)}")
        for position in self.positions:
            if position not in POSITIONS[:-1] and not _FIRST_K.fullmatch(position):
                raise ValueError(f"unknown pooling {position!r}; choose from {', '.join(POSITIONS)} (K a number)")

    def dim(self, width: int) -> int:
        """Return the number of features for a model of `width` hidden units."""
        vectors = sum(first_k(position) or 1 for position in self.positions)
        return width * len(self.layers) * vectors

    def columns(self, layer: int, dim: int) -> slice:
        """Return which of `dim` features belong to one of the layers."""
        share = dim // len(self.layers)
        first = self.layers.index(layer) * share
        return slice(first, first + share)

    def __call__(self, hidden: Sequence[torch.Tensor] | Mapping[int, torch.Tensor], mask: torch.Tensor) -> torch.Tensor:
        """Pool one batch.

        Args:
            hidden: hidden states by layer, each (n, tokens, width); 0 is the embeddings.
            mask: (n, tokens) bool, true at the text's tokens; padding is at the right.

        Returns:
            (n, dim) float32.
        """
        import torch

        pooled = [pool(hidden[layer].float(), mask, position) for layer in self.layers for position in self.positions]
        return torch.cat(pooled, dim=1)


def pool_all(hidden: torch.Tensor, position: str) -> torch.Tensor:
    """Pool one layer (n, tokens, width) of any dtype without padding at one position: (n, width) float32."""
    import torch

    if position == "mean":
        return hidden.sum(1, dtype=torch.float32) / hidden.shape[1]
    if position == "max":
        return hidden.amax(1).float()
    if position == "cls":
        return hidden[:, 0].float()
    if position == "last":
        return hidden[:, -1].float()
    return _first_tokens(hidden.float(), position)


def _first_tokens(hidden: torch.Tensor, position: str) -> torch.Tensor:
    """Lay the first K tokens of (n, tokens, width) side by side, with zeros after a shorter text: (n, K * width)."""
    import torch

    k = first_k(position)
    assert k is not None, position
    return torch.nn.functional.pad(hidden[:, :k], (0, 0, 0, k - min(k, hidden.shape[1]))).flatten(1)


def pool(hidden: torch.Tensor, mask: torch.Tensor, position: str) -> torch.Tensor:
    """Pool one layer (n, tokens, width) float32 under `mask` (n, tokens) bool at one position: (n, width) float32."""
    import torch

    if position == "mean":
        weights = mask.unsqueeze(2).to(hidden.dtype)  # (n, tokens, 1)
        return (hidden * weights).sum(1) / weights.sum(1)
    if position == "max":
        return hidden.masked_fill(~mask.unsqueeze(2), float("-inf")).amax(1)
    if position == "cls":
        return hidden[:, 0]
    if position == "last":
        return hidden[torch.arange(len(hidden), device=hidden.device), mask.sum(1) - 1]
    return _first_tokens(torch.where(mask.unsqueeze(2), hidden, 0.0), position)


def first_k(position: str) -> int | None:
    """Return K of "first_K", None for other positions."""
    match = _FIRST_K.fullmatch(position)
    return int(match[1]) if match else None

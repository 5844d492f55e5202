"""Run a transformer over texts of different lengths laid end to end, so that no padding goes through it.

Everything in a layer but attention works on tokens one by one: there the texts need no frame around them. Attention takes
texts of equal length together; they come sorted by length, so these lie side by side.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import torch

from encoder.forward.transformer import Attend
from encoder.pooling import Pooling


@dataclasses.dataclass(frozen=True)
class Packing:
    """Say where the texts lie in a batch of `tokens` tokens.

    Attributes:
        runs: (first token, texts, tokens a text) of each run of texts of equal length, in order.
    """

    runs: tuple[tuple[int, int, int], ...]

    @classmethod
    def of(cls, lengths: np.ndarray) -> Packing:
        """Describe texts of `lengths` (n,) tokens that lie end to end; equal lengths should be neighbours."""
        borders = np.flatnonzero(np.diff(lengths)) + 1
        firsts = np.concatenate([[0], borders])
        texts = np.diff(np.concatenate([firsts, [len(lengths)]]))
        starts = np.concatenate([[0], np.cumsum(lengths)])[firsts]
        return cls(tuple(zip(starts.tolist(), texts.tolist(), lengths[firsts].tolist())))

    @property
    def tokens(self) -> int:
        start, texts, length = self.runs[-1]
        return start + texts * length

    def split(self, packed: torch.Tensor) -> list[torch.Tensor]:
        """View (tokens, …) as one (texts, tokens a text, …) a run."""
        return [
            packed[start : start + texts * length].view(texts, length, *packed.shape[1:])
            for start, texts, length in self.runs
        ]


def pool(pooling: Pooling, hidden: tuple[torch.Tensor, ...], packing: Packing) -> torch.Tensor:
    """Pool hidden states, each (tokens, width), into (n, dim) float32."""
    of_layer = {layer: packing.split(hidden[layer]) for layer in pooling.layers}
    pooled = []
    for run, (_, texts, length) in enumerate(packing.runs):
        whole = torch.ones(texts, length, dtype=torch.bool, device=hidden[0].device)
        pooled.append(pooling({layer: parts[run] for layer, parts in of_layer.items()}, whole))
    return torch.cat(pooled)


def attention(packing: Packing) -> Attend:
    """Return attention within each text of a batch."""

    def attend(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        out = torch.empty_like(query, memory_format=torch.contiguous_format)
        parts = (packing.split(tensor) for tensor in (out, query, key, value))
        for part, *of_run in zip(*parts):
            q, k, v = (tensor.transpose(1, 2) for tensor in of_run)  # (texts, heads, tokens a text, size)
            part.copy_(torch.nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2))
        return out

    return attend

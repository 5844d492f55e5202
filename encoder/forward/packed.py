"""Run a transformer on a processor over texts of different lengths laid end to end, without padding.

All parts of a layer but attention compute each token by itself. Attention takes texts of equal length together. Windows come
sorted by length, so that texts of equal length are neighbours.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import numpy as np
import torch
from torch.nn import functional

from encoder.forward.runner import Runner
from encoder.forward.transformer import Attend, Transformer, count_positions
from encoder.pooling import Pooling, pool_all
from encoder.tokenize import Windows

# torch's attention in bfloat16 computes what is left of the keys after multiples of 16 one by one. Where few are missing from
# the next multiple, keys of zeros that are masked take less time: 28 tokens 1.6 instead of 2.6 us a token of one layer.
VECTOR = 16
MAX_MISSING = 10


class PackedRunner(Runner):
    """A `Transformer` on a processor that attends to texts of equal length together."""

    def __init__(self, model: Transformer, pooling: Pooling) -> None:
        self._model, self._pooling = model, pooling

    def run(self, windows: Windows, rows: np.ndarray) -> torch.Tensor:
        ids, lengths = windows.joined(rows), windows.lengths[rows]
        packing = Packing.of(lengths)
        positions = count_positions(ids, lengths, self._model.padding)
        states = self._model(torch.from_numpy(ids), torch.from_numpy(positions), attention(packing))
        return pool(self._pooling, states, packing)


@dataclasses.dataclass(frozen=True)
class Packing:
    """The places of texts in a batch of `tokens` tokens.

    Attributes:
        runs: (first token, texts, tokens of each text) of each run of texts of equal length, in order.
    """

    runs: tuple[tuple[int, int, int], ...]

    @classmethod
    def of(cls, lengths: np.ndarray) -> Packing:
        """Return the packing of texts of `lengths` (n,) tokens that lie end to end; equal lengths should be neighbours."""
        borders = np.flatnonzero(np.diff(lengths)) + 1
        firsts = np.concatenate([[0], borders])
        texts = np.diff(np.concatenate([firsts, [len(lengths)]]))
        starts = np.concatenate([[0], np.cumsum(lengths)])[firsts]
        return cls(tuple(zip(starts.tolist(), texts.tolist(), lengths[firsts].tolist())))

    @property
    def tokens(self) -> int:
        """Return the tokens of all texts."""
        start, texts, length = self.runs[-1]
        return start + texts * length

    def split(self, packed: torch.Tensor) -> list[torch.Tensor]:
        """Return views of (tokens, …), one (texts, tokens of each text, …) for each run."""
        return [
            packed[start : start + texts * length].view(texts, length, *packed.shape[1:])
            for start, texts, length in self.runs
        ]


def pool(pooling: Pooling, states: Iterable[torch.Tensor], packing: Packing) -> torch.Tensor:
    """Pool hidden states (tokens, width) of the embeddings and each layer, as they come: (n, dim) float32."""
    pooled = {}
    for layer, hidden in enumerate(states):
        if layer in pooling.layers:
            parts = packing.split(hidden)
            pooled[layer] = [torch.cat([pool_all(part, position) for part in parts]) for position in pooling.positions]
    return torch.cat([vectors for layer in pooling.layers for vectors in pooled[layer]], dim=1)


def attention(packing: Packing) -> Attend:
    """Return attention within each text of a batch."""

    def attend(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        out = torch.empty_like(query, memory_format=torch.contiguous_format)
        parts = (packing.split(tensor) for tensor in (out, query, key, value))
        for part, *of_run in zip(*parts):
            q, k, v = (tensor.transpose(1, 2) for tensor in of_run)  # (texts, heads, tokens of each text, size)
            mask = None
            if q.dtype == torch.bfloat16 and 0 < (missing := -q.shape[2] % VECTOR) <= MAX_MISSING:
                k, v = (functional.pad(tensor, (0, 0, 0, missing)) for tensor in (k, v))
                mask = q.new_zeros(1, 1, 1, k.shape[2])
                mask[..., -missing:] = float("-inf")
                mask = mask.expand(len(q), 1, q.shape[2], k.shape[2])
            part.copy_(functional.scaled_dot_product_attention(q, k, v, mask).transpose(1, 2))
        return out

    return attend

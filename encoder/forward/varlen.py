"""Run a transformer on a GPU over texts laid end to end: one kernel launch attends within all texts of a batch.

`encoder.forward.packed` does the same by taking texts of equal length together. That is fast on a processor; on a GPU it takes
hundreds of launches per layer.
"""

from __future__ import annotations

import dataclasses
import itertools
import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from encoder.forward.runner import Runner, to_device
from encoder.forward.transformer import Attend, Transformer, count_positions
from encoder.pooling import Pooling, first_k
from encoder.tokenize import Windows

TOLERANCE = 0.05  # of a kernel in bfloat16, on values of variance one; a wrong kernel differs by more than 0.5
_log = logging.getLogger(__name__)


class VarlenRunner(Runner):
    """A `Transformer` on a GPU that attends within texts of different lengths by torch's kernel for that."""

    def __init__(self, model: Transformer, pooling: Pooling, device: torch.device) -> None:
        self._model, self._pooling, self._device = model, pooling, device

    def run(self, windows: Windows, rows: np.ndarray) -> torch.Tensor:
        batch = Batch.of(windows.joined(rows), windows.lengths[rows], self._model.padding, self._device)
        hidden = tuple(self._model(batch.ids, batch.positions, attention(batch)))
        return pool(self._pooling, hidden, batch.borders)


@dataclasses.dataclass(frozen=True)
class Batch:
    """Texts end to end, on one device.

    Attributes:
        ids: (tokens,) int64.
        positions: (tokens,) int64, as the model's family counts them.
        borders: (texts + 1,) int32, the first token of each text, and the end of the last text.
        max_tokens: tokens of the longest text.
    """

    ids: torch.Tensor
    positions: torch.Tensor
    borders: torch.Tensor
    max_tokens: int

    @classmethod
    def of(cls, ids: np.ndarray, lengths: np.ndarray, padding: int | None, device: torch.device) -> Batch:
        """Make a batch of texts of `lengths` (n,) tokens, whose ids (tokens,) int64 lie end to end.

        padding: see `encoder.forward.transformer.count_positions`.
        """
        borders = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
        return cls(
            ids=to_device(ids, device),
            positions=to_device(count_positions(ids, lengths, padding), device),
            borders=to_device(borders, device),
            max_tokens=int(lengths.max()),
        )


def kernel() -> Callable[..., Any] | None:
    """Return torch's attention over texts end to end; None before torch 2.10."""
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return None
    return varlen_attn


def suits(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether the kernel exists for this kind of device and this precision."""
    return device.type == "cuda" and dtype in (torch.bfloat16, torch.float16)


def available(heads: int, head_size: int, device: torch.device, dtype: torch.dtype) -> bool:
    """Whether the kernel gives the right result here: it is run once, on random values, and compared with exact attention."""
    if not suits(device, dtype):
        return False
    attend = kernel()
    if attend is None:
        _log.warning(
            "texts are padded: attention over texts of different lengths needs torch 2.10, this is %s",
            torch.__version__,
        )
        return False
    ends = (0, 3, 8)
    qkv = torch.randn(3, ends[-1], heads, head_size, generator=torch.Generator().manual_seed(0)).to(device, dtype)
    borders = torch.tensor(ends, dtype=torch.int32, device=device)
    try:
        result = attend(*qkv, borders, borders, 5, 5).float()
    except RuntimeError as error:  # not built in, an older GPU, heads of an unusual size
        _log.warning("texts are padded: attention over texts of different lengths does not run here: %s", error)
        return False
    expected = torch.cat([_exact_attention(qkv[:, first:end]) for first, end in itertools.pairwise(ends)])
    difference = (result - expected).abs().max().item()
    if difference < TOLERANCE:  # false for NaN
        return True
    _log.warning("texts are padded: attention over texts of different lengths is off by %.3f here", difference)
    return False


def _exact_attention(qkv: torch.Tensor) -> torch.Tensor:
    """Attend within one text, (3, tokens, heads, size), in float32: (tokens, heads, size)."""
    q, k, v = qkv.float().transpose(1, 2)
    return ((q @ k.mT * q.shape[-1] ** -0.5).softmax(-1) @ v).transpose(0, 1)


def pool(pooling: Pooling, hidden: tuple[torch.Tensor, ...], borders: torch.Tensor) -> torch.Tensor:
    """Pool hidden states, each (tokens, width), of texts between `borders` (n + 1,) into (n, dim) float32."""
    pooled = [
        _pool(hidden[layer].float(), borders, position) for layer in pooling.layers for position in pooling.positions
    ]
    return torch.cat(pooled, dim=1)


def average_segments(rows: torch.Tensor, borders: torch.Tensor) -> torch.Tensor:
    """Average the rows (m, width) float32 between `borders` (n + 1,): (n, width). The order of the sums is fixed."""
    # `unsafe` skips a check of the borders that would make the processor wait for the GPU.
    return torch.segment_reduce(rows, "mean", offsets=borders, unsafe=True)


def _pool(hidden: torch.Tensor, borders: torch.Tensor, position: str) -> torch.Tensor:
    """Pool one layer (tokens, width) float32 at one position: (n, width), or (n, K * width) of "first_K"."""
    if position == "mean":
        return average_segments(hidden, borders)
    if position == "max":
        return torch.segment_reduce(hidden, "max", offsets=borders, unsafe=True)
    if position == "cls":
        return hidden[borders[:-1]]
    if position == "last":
        return hidden[borders[1:] - 1]
    k = first_k(position)
    assert k is not None, position
    rows = borders[:-1, None] + torch.arange(k, device=borders.device)  # (n, K)
    is_of_text = rows < borders[1:, None]
    first_tokens = hidden[rows.clamp(max=len(hidden) - 1)]  # (n, K, width)
    return torch.where(is_of_text[..., None], first_tokens, 0.0).flatten(1)  # zeros fill up a shorter text


def attention(batch: Batch) -> Attend:
    """Return attention within each text of a batch."""
    attend = kernel()
    assert attend is not None
    # Only these arguments are the same in all versions of torch that have the kernel.
    return lambda q, k, v: attend(q, k, v, batch.borders, batch.borders, batch.max_tokens, batch.max_tokens)

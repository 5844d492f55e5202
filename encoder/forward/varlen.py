"""Run a transformer over texts laid end to end on a GPU: attention in all texts is one launch, whatever their lengths.

The same as `packed`, which takes texts of equal length together: on a processor that is fast, on a GPU hundreds of
launches a layer.
"""

from __future__ import annotations

import dataclasses
import itertools
import logging
from collections.abc import Callable

import numpy as np
import torch

from encoder.forward.transformer import Attend, count_positions
from encoder.pooling import Pooling, first_k

TOLERANCE = 0.05  # of a kernel in bfloat16, on values of variance one; a wrong one is off by more than 0.5
_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Batch:
    """Hold texts end to end, on one device.

    Attributes:
        ids: (tokens,) int64.
        positions: (tokens,) int64, as the model's family counts them.
        borders: (texts + 1,) int32, where each text begins, and the end of the last one.
        longest: tokens of the longest text.
    """

    ids: torch.Tensor
    positions: torch.Tensor
    borders: torch.Tensor
    longest: int

    @classmethod
    def of(cls, ids: np.ndarray, lengths: np.ndarray, padding: int | None, device: torch.device) -> Batch:
        """Lay out texts of `lengths` (n,) tokens, whose ids (tokens,) int64 lie end to end; `count_positions` of `padding`."""
        positions = count_positions(ids, lengths, padding)
        borders = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
        return cls(*(to_device(array, device) for array in (ids, positions, borders)), int(lengths.max()))


def to_device(array: np.ndarray, device: torch.device) -> torch.Tensor:
    """Copy an array to a device; to a GPU without waiting for it."""
    tensor = torch.from_numpy(array)
    # Only from pinned memory is a copy asynchronous. torch keeps that memory until the copy is done.
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def kernel() -> Callable[..., torch.Tensor] | None:
    """Return torch's attention over texts end to end; None before torch 2.10."""
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return None
    return varlen_attn


def suits(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether the kernel is made for such a device and precision."""
    return device.type == "cuda" and dtype in (torch.bfloat16, torch.float16)


def available(heads: int, size: int, device: torch.device, dtype: torch.dtype) -> bool:
    """Whether the kernel runs there with `heads` heads of `size`: it is tried out."""
    if not suits(device, dtype):
        return False
    attend = kernel()
    if attend is None:
        _log.warning("this torch has no attention over texts of different lengths; texts are padded. 2.10 has it")
        return False
    ends = (0, 3, 8)
    drawn = torch.randn(3, ends[-1], heads, size, generator=torch.Generator().manual_seed(0)).to(device, dtype)
    borders = torch.tensor(ends, dtype=torch.int32, device=device)
    try:
        found = attend(*drawn, borders, borders, 5, 5).float()
    except RuntimeError as error:  # not built in, an older GPU, a head of an odd size
        _log.warning("texts are padded, as attention over texts of different lengths does not run here: %s", error)
        return False
    wanted = torch.cat([_exact(drawn[:, first:end]) for first, end in itertools.pairwise(ends)])
    if (off := (found - wanted).abs().max().item()) < TOLERANCE:  # which NaN is not
        return True
    _log.warning("texts are padded, as attention over texts of different lengths is off by %.3f here", off)
    return False


def _exact(qkv: torch.Tensor) -> torch.Tensor:
    """Attend within one text, (3, tokens, heads, size), in float32: (tokens, heads, size)."""
    q, k, v = qkv.float().transpose(1, 2)
    return ((q @ k.mT * q.shape[-1] ** -0.5).softmax(-1) @ v).transpose(0, 1)


def pool(pooling: Pooling, hidden: tuple[torch.Tensor, ...], borders: torch.Tensor) -> torch.Tensor:
    """Pool hidden states, each (tokens, width), of texts between `borders` (n + 1,) into (n, dim) float32."""
    pooled = [
        _pool(hidden[layer].float(), borders, position) for layer in pooling.layers for position in pooling.positions
    ]
    return torch.cat(pooled, dim=1)


def average(rows: torch.Tensor, borders: torch.Tensor) -> torch.Tensor:
    """Average the rows (m, width) float32 between `borders` (n + 1,): (n, width); always in the same order."""
    # `unsafe` leaves out a check of the borders for which the processor would wait for the GPU.
    return torch.segment_reduce(rows, "mean", offsets=borders, unsafe=True)


def _pool(hidden: torch.Tensor, borders: torch.Tensor, position: str) -> torch.Tensor:
    """Pool one layer (tokens, width) float32 at one position: (n, width), or (n, K * width) of "first_K"."""
    if position == "mean":
        return average(hidden, borders)
    if position == "max":
        return torch.segment_reduce(hidden, "max", offsets=borders, unsafe=True)
    if position == "cls":
        return hidden[borders[:-1]]
    if position == "last":
        return hidden[borders[1:] - 1]
    rows = borders[:-1, None] + torch.arange(first_k(position), device=borders.device)  # (n, K)
    there = rows < borders[1:, None]
    kept = hidden[rows.clamp(max=len(hidden) - 1)]  # (n, K, width)
    return torch.where(there[..., None], kept, 0.0).flatten(1)  # a shorter text leaves zeros


def attention(batch: Batch) -> Attend:
    """Return attention within each text of a batch."""
    attend = kernel()
    assert attend is not None
    # No more than these arguments are the same in all versions of torch that have the kernel.
    return lambda q, k, v: attend(q, k, v, batch.borders, batch.borders, batch.longest, batch.longest)

"""Sums a head's integer weights over packed bits, exactly.

A bit of 1 counts as +1, a bit of 0 as -1. Weights are integers of at most `weight_limit(bits)`, so
every partial sum, in whatever order, is an integer below 2**24 and therefore exact in float32. The
two kernels here, any number of threads, any vector width and any cut into chunks give the same
bytes; which kernel runs is a matter of speed alone.

`python -m benchmarks label` measures both; docs/performance.md has figures and what else was tried.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator

import numpy as np

CHUNK_ROWS = 1024  # of unpacked bits; they stay in the cache
TABLE_CHUNK_ROWS = 4096  # of table indices; fewer starts of threads that may be busy elsewhere
LARGEST_TABLE_BYTES = 32 * 2**20  # beyond it, lookups miss the caches and the product is as fast
PIECE_BYTES = 4 * 2**20  # of a table, looked up for all rows before the next: its pages stay known to the processor


def weight_limit(bits: int) -> int:
    """Gives the largest absolute integer weight with which sums over `bits` stay exact."""
    return min(32767, (2**24 - 1) // bits)


def quantize(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rounds weights to the integer grid on which sums are exact.

    weights (outputs, bits) float32 gives integers (outputs, bits) int16 and scale (outputs,)
    float32 with weights about integers * scale: each output uses the whole range.
    """
    limit = weight_limit(weights.shape[1])
    largest = np.abs(weights).max(axis=1).astype(np.float32)
    scale = np.where(largest > 0, largest / np.float32(limit), np.float32(1))
    integers = np.clip(np.rint(weights / scale[:, None]), -limit, limit)
    return integers.astype(np.int16), scale.astype(np.float32)


def table_pays(classes: int, bits: int) -> bool:
    """Tells whether `table_sums` is the kernel to take here.

    It is the faster one at every shape that was measured, but needs torch: a process that has not
    imported torch labels a quarter of a million documents by `product_sums` before the import is paid back. So
    who scores more than that imports torch beforehand; where texts are encoded it is there anyway.
    """
    return "torch" in sys.modules and table_fits(classes, bits)


def table_fits(classes: int, bits: int) -> bool:
    """Tells whether a `byte_table` is small enough to be worth having."""
    return bits * 32 * classes * 4 <= LARGEST_TABLE_BYTES


def sums(codes: np.ndarray, weights: np.ndarray, table: Callable[[], np.ndarray]) -> np.ndarray:
    """Sums weights over codes by the kernel that is faster here.

    codes (n, bits // 8) uint8 and weights (classes, bits) int16 give (n, classes) float32; `table`
    gives the weights' `byte_table`, kept by who calls.
    """
    if table_pays(*weights.shape):
        return table_sums(codes, table())
    return product_sums(codes, weights)


def product_sums(codes: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Sums by unpacking the bits and one float32 product a chunk.

    codes (n, bits // 8) uint8 and weights (classes, bits) int16 give (n, classes) float32. NumPy's
    product, not torch's: the latter may be told to round to bfloat16 for the whole process.
    """
    columns = np.ascontiguousarray(weights.T, dtype=np.float32)
    totals = weights.sum(axis=1, dtype=np.int64).astype(np.float32)
    result = np.empty((len(codes), len(weights)), np.float32)
    for start in range(0, len(codes), CHUNK_ROWS):
        part = slice(start, start + CHUNK_ROWS)
        np.matmul(np.unpackbits(codes[part], axis=1).astype(np.float32), columns, out=result[part])
    # With x in {0, 1}: sum of (2x - 1) w = 2 (sum of x w) - sum of w; doubling is exact as well.
    result *= 2
    result -= totals
    return result


def byte_table(weights: np.ndarray) -> np.ndarray:
    """Adds up the eight weights under every value of every byte.

    weights (classes, bits) int16 gives (bits // 8 * 256, classes) float32; row `256 * b + v` is
    what value v of byte b adds to each class.
    """
    classes, bits = weights.shape
    values = np.arange(256, dtype=np.uint8)[:, None]
    signs = np.unpackbits(values, axis=1).astype(np.float32) * 2 - 1
    by_byte = weights.T.reshape(bits // 8, 8, classes).astype(np.float32)
    return np.matmul(signs, by_byte).reshape(-1, classes)


def table_sums(codes: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Sums by looking up each byte's partial sums in a `byte_table`.

    codes (n, bytes) uint8 and table (bytes * 256, classes) float32 give (n, classes) float32.
    """
    import torch

    row_of_byte = np.arange(codes.shape[1], dtype=np.int32) * 256
    step = max(1, PIECE_BYTES // (256 * table.strides[0]))  # bytes of a code whose rows make a piece
    result = np.zeros((len(codes), table.shape[1]), np.float32)
    with torch.inference_mode(), one_thread():
        for start in range(0, len(codes), TABLE_CHUNK_ROWS):
            part = codes[start : start + TABLE_CHUNK_ROWS]
            sums = torch.from_numpy(result[start : start + TABLE_CHUNK_ROWS])
            for first in range(0, codes.shape[1], step):
                piece = part[:, first : first + step]
                rows = torch.from_numpy(piece + row_of_byte[: piece.shape[1]])
                weight = torch.from_numpy(table[first * 256 : (first + step) * 256])
                sums += torch.nn.functional.embedding_bag(rows, weight, mode="sum")
    return result


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Keeps torch to the calling thread: workers are parallel by themselves, and the starts cost.

    Where the cores were busy, two torch threads here were slower than one, up to tenfold.
    """
    import torch

    threads = torch.get_num_threads()
    if threads == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)

"""Sum the integer weights of heads over packed bits, exactly.

A bit of 1 counts as +1, a bit of 0 as -1. Weights are integers of at most `weight_limit(bits)`. Every partial sum is
then an integer below 2**24, which int32 and float32 hold exactly, so the order of the additions does not matter. Three
kernels give the same bytes for any number of threads, any vector width and any chunk size; the choice between them
affects speed only:

- `int8_sums` unpacks the bits and multiplies int8 matrices with torch. It is the fastest where the processor has int8
  instructions (VNNI or AMX).
- `lookup_table_sums` adds up precomputed sums of eight weights, one per byte of a code. It needs torch.
- `matmul_sums` unpacks the bits and multiplies float32 matrices. It needs NumPy only.

Codes are (n, bits // 8) uint8, weights (classes, bits) int16. Sums are (classes, n) float32: what follows works on all
rows of one class at a time. `python -m benchmarks label` measures the kernels; docs/performance.md has the figures.
"""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Iterator
from functools import cached_property
from typing import Any

import numpy as np

CHUNK_BYTES = 2**22  # of unpacked bits: larger products are faster, up to about this size
TABLE_CHUNK_ROWS = 4096
MAX_TABLE_BYTES = 32 * 2**20  # lookups in a larger table miss the caches
TABLE_PIECE_BYTES = 4 * 2**20  # looked up for all rows before the next piece, which saves TLB misses


def weight_limit(bits: int) -> int:
    """Return the largest absolute integer weight for which sums over `bits` are exact."""
    return min(32767, (2**24 - 1) // bits)


def quantize(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Round weights (outputs, bits) float32 to the integers on which sums are exact.

    Returns:
        integers (outputs, bits) int16 and scale (outputs,) float32; integers * scale approximates the weights. Each
        output uses the whole range.
    """
    limit = weight_limit(weights.shape[1])
    largest = np.abs(weights).max(axis=1).astype(np.float32)
    scale = np.where(largest > 0, largest / np.float32(limit), np.float32(1))
    integers = np.clip(np.rint(weights / scale[:, None]), -limit, limit)
    return integers.astype(np.int16), scale.astype(np.float32)


class ExactWeights:
    """Weights (classes, bits) int16 of one or several heads, with what the kernel in use derives from them.

    The kernel is chosen at each call, because a process may import torch later. Derived arrays are not pickled.
    """

    def __init__(self, weights: np.ndarray) -> None:
        self.weights = weights

    def __getstate__(self) -> dict[str, Any]:
        return {"weights": self.weights}

    @cached_property
    def _digits(self) -> np.ndarray:
        return int8_digits(self.weights)

    @cached_property
    def _table(self) -> np.ndarray:
        return lookup_table(self.weights)

    def sums(self, codes: np.ndarray) -> np.ndarray:
        """Sum the weights over codes (n, bits // 8) uint8 by the fastest kernel: (classes, n) float32."""
        if prefer_int8():
            return int8_sums(codes, self._digits, self.weights)
        if prefer_lookup_table(*self.weights.shape):
            return lookup_table_sums(codes, self._table)
        return matmul_sums(codes, self.weights)


def prefer_int8() -> bool:
    """Return whether `int8_sums` is the fastest kernel: torch is imported and the processor has int8 instructions.

    Importing torch takes about two seconds. In that time `matmul_sums` labels a quarter of a million documents, so this
    module never imports torch to choose a kernel. A process that labels more documents imports torch first.
    """
    return "torch" in sys.modules and has_int8_instructions()


def describe_kernel() -> str:
    """Say how many rows are scored where torch is imported; `ExactWeights.sums` decides it."""
    if prefer_int8():
        return "int8 matrix products by torch"
    return f"lookup tables of up to {MAX_TABLE_BYTES >> 20} MiB, float32 matrix products above"


@functools.cache
def has_int8_instructions() -> bool:
    """Return whether torch multiplies int8 matrices here with VNNI or AMX, and exactly.

    Without these instructions the product is slow, and 16-bit sums of two products may saturate. Extreme values in a
    small product exclude that.
    """
    import torch

    is_supported = getattr(torch.cpu, "_is_vnni_supported", None)
    if is_supported is None or not is_supported() or not hasattr(torch, "_int_mm"):
        return False
    if not torch.backends.mkldnn.is_available():
        return False
    values = torch.tensor([-128, 127], dtype=torch.int8).repeat_interleave(64)
    left, right = values.expand(32, 128).contiguous(), torch.ones((64, 128), dtype=torch.int8)
    right[::2] = -128
    exact = left.to(torch.int64) @ right.T.to(torch.int64)
    return bool((torch._int_mm(left, right.T) == exact).all())


def prefer_lookup_table(classes: int, bits: int) -> bool:
    """Return whether `lookup_table_sums` is faster than `matmul_sums`: torch is imported and the table fits caches."""
    return "torch" in sys.modules and bits * 32 * classes * 4 <= MAX_TABLE_BYTES


def int8_digits(weights: np.ndarray) -> np.ndarray:
    """Write weights (classes, bits) int16 as digits of base 256: weights = sum of digits[i] * 256**i.

    Returns:
        (digits, classes, bits) int8, each from -128 to 127. Most weights need two digits; weights that fit int8 one.
    """
    digits: list[np.ndarray] = []
    rest = weights.astype(np.int32)
    while not digits or rest.any():
        digits.append(((rest + 128) & 255) - 128)
        rest = (rest - digits[-1]) >> 8
    return np.stack(digits).astype(np.int8)


def int8_sums(codes: np.ndarray, digits: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Sum by unpacking the bits and multiplying with the `int8_digits` of the weights, in torch.

    codes (n, bits // 8) uint8, digits (digits, classes, bits) int8, weights (classes, bits) int16 give (classes, n)
    float32.
    """
    import torch

    count, classes, bits = digits.shape
    totals = weights.sum(axis=1, dtype=np.int32)[:, None]
    result = np.empty((classes, len(codes)), np.float32)
    left = torch.from_numpy(digits.reshape(-1, bits))
    with torch.inference_mode(), one_thread():
        for part in _chunks(len(codes), bits):
            unpacked = torch.from_numpy(np.unpackbits(codes[part], axis=1).view(np.int8))
            products = torch._int_mm(left, unpacked.T).numpy().reshape(count, classes, -1)
            sums = products[-1]
            for product in products[-2::-1]:
                sums *= 256
                sums += product
            sums *= 2  # with x in {0, 1}: sum of (2x - 1) w = 2 (sum of x w) - sum of w
            sums -= totals
            result[:, part] = sums
    return result


def matmul_sums(codes: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Sum by unpacking the bits and one float32 product a chunk, in NumPy.

    codes (n, bits // 8) uint8 and weights (classes, bits) int16 give (classes, n) float32. torch's float32 product is
    not used: a process may tell it to round to bfloat16.
    """
    left = weights.astype(np.float32)
    totals = weights.sum(axis=1, dtype=np.int64).astype(np.float32)[:, None]
    result = np.empty((len(weights), len(codes)), np.float32)
    for part in _chunks(len(codes), 4 * weights.shape[1]):
        result[:, part] = left @ np.unpackbits(codes[part], axis=1).astype(np.float32).T
    result *= 2
    result -= totals
    return result


def lookup_table(weights: np.ndarray) -> np.ndarray:
    """Add up the eight weights under every value of every byte.

    weights (classes, bits) int16 gives (bits // 8 * 256, classes) float32. Row `256 * b + v` is what value v of byte b
    adds to each class.
    """
    classes, bits = weights.shape
    values = np.arange(256, dtype=np.uint8)[:, None]
    signs = np.unpackbits(values, axis=1).astype(np.float32) * 2 - 1
    by_byte = weights.T.reshape(bits // 8, 8, classes).astype(np.float32)
    return np.matmul(signs, by_byte).reshape(-1, classes)


def lookup_table_sums(codes: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Sum by looking up the partial sums of each byte in a `lookup_table`, in torch.

    codes (n, bytes) uint8 and table (bytes * 256, classes) float32 give (classes, n) float32.
    """
    import torch

    row_of_byte = np.arange(codes.shape[1], dtype=np.int32) * 256
    step = max(1, TABLE_PIECE_BYTES // (256 * table.strides[0]))  # bytes of a code whose rows make a piece
    result = np.empty((table.shape[1], len(codes)), np.float32)
    with torch.inference_mode(), one_thread():
        for start in range(0, len(codes), TABLE_CHUNK_ROWS):
            part = codes[start : start + TABLE_CHUNK_ROWS]
            sums = torch.zeros((len(part), table.shape[1]))
            for first in range(0, codes.shape[1], step):
                piece = part[:, first : first + step]
                rows = torch.from_numpy(piece + row_of_byte[: piece.shape[1]])
                weight = torch.from_numpy(table[first * 256 : (first + step) * 256])
                sums += torch.nn.functional.embedding_bag(rows, weight, mode="sum")
            result[:, start : start + TABLE_CHUNK_ROWS] = sums.numpy().T
    return result


def _chunks(rows: int, row_bytes: int) -> Iterator[slice]:
    """Divide rows into slices of at most `CHUNK_BYTES`; their size is a power of two, at least 64 rows."""
    step = 2 ** max(6, (CHUNK_BYTES // row_bytes).bit_length() - 1)
    return (slice(start, start + step) for start in range(0, rows, step))


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Run torch on the calling thread only, then restore the number of threads.

    Workers already run in parallel, and starting threads takes time: with busy cores, two torch threads here were up to
    ten times slower than one.
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

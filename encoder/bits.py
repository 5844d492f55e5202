"""Pack and unpack codes: `numpy.packbits` order, the first dimension in the highest bit of the first byte."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


def pack(ones: np.ndarray) -> np.ndarray:
    """Pack booleans (n, bits) into bytes (n, bits // 8) uint8; `bits` must be a multiple of 8."""
    if ones.ndim != 2 or ones.shape[1] % 8:
        raise ValueError(f"codes need shape (n, bits) with bits a multiple of 8, not {ones.shape}")
    return np.packbits(ones, axis=1, bitorder="big")


def pack_tensor(ones: torch.Tensor) -> torch.Tensor:
    """Pack booleans (n, bits) into bytes (n, bits // 8) uint8 as `pack` does, on the tensor's device."""
    import torch

    if ones.ndim != 2 or ones.shape[1] % 8:
        raise ValueError(f"codes need shape (n, bits) with bits a multiple of 8, not {tuple(ones.shape)}")
    values = 1 << torch.arange(7, -1, -1, dtype=torch.uint8, device=ones.device)  # the first bit is the highest
    return (ones.unflatten(1, (-1, 8)) * values).sum(2, dtype=torch.uint8)


def unpack(codes: np.ndarray) -> np.ndarray:
    """Unpack bytes (n, bits // 8) uint8 into zeros and ones (n, bits) uint8."""
    if codes.ndim != 2 or codes.dtype != np.uint8:
        raise ValueError(f"codes need shape (n, bits // 8) and uint8, not {codes.shape} {codes.dtype}")
    return np.unpackbits(codes, axis=1, bitorder="big")


def hamming_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Return the share of bits in which two arrays of codes (n, bits // 8) uint8 differ, between 0 and 1."""
    if a.shape != b.shape:
        raise ValueError(f"codes of shapes {a.shape} and {b.shape} cannot be compared")
    if a.size == 0:
        return 0.0
    return float(np.bitwise_count(a ^ b).sum()) / (a.size * 8)

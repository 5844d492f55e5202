"""Project pooled features before they are binarised: rotate those of each layer, or project all of them together."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import numpy as np

if TYPE_CHECKING:
    import torch

Array = TypeVar("Array", np.ndarray, "torch.Tensor")

# Minimum deviation that a feature is divided by, as a share of the median deviation. Some models have features that are nearly
# constant (three of all-MiniLM-L6-v2's last layer): divided by their own deviation, rounding would be as large as other values.
MIN_DEVIATION_SHARE = 0.25
# The variation of a feature below this share of its size is rounding alone: that of the first token's embedding, for example.
ROUNDING = 1e-5


def project(features: Array, projection: Array | None) -> Array:
    """Project features (n, dim) float32 into values (n, bits) float32.

    Args:
        features: (n, dim) float32, of NumPy or torch.
        projection: (dim, bits) projects all features together; (blocks, dim // blocks, bits // blocks) projects each block of
            features by itself; None leaves them unchanged.
    """
    if projection is None:
        return features
    if projection.ndim == 2:
        return features @ projection
    blocks, width, values = projection.shape
    parts = features.reshape(len(features), blocks, width).swapaxes(0, 1)  # (blocks, n, width)
    return (parts @ projection).swapaxes(0, 1).reshape(len(features), blocks * values)


def count_values(projection: np.ndarray) -> int:
    """Return how many values a projection gives for a text."""
    blocks = len(projection) if projection.ndim == 3 else 1
    return blocks * projection.shape[-1]


def deviations(sample: np.ndarray) -> np.ndarray:
    """Compute the standard deviation of each of the features (n, dim), with a minimum above zero: (dim,) float64."""
    deviation = sample.std(0, dtype=np.float64)
    return np.maximum(deviation, max(MIN_DEVIATION_SHARE * np.median(deviation), 1e-6))


def rotation_within_layers(sample: np.ndarray, width: int, seed: int) -> np.ndarray:
    """Draw a random rotation of each vector of `width` features: (dim // width, width, width) float32.

    Neighbouring layers have nearly the same value in the same dimension, and would give nearly the same bit. Rotated
    differently, they give different bits: what one loses at its threshold another keeps (random hyperplanes: Charikar, STOC
    2002). A vector's features are first scaled to the median deviation: otherwise the largest would decide every bit. Features
    that never change are left out. The values are exact in float16, which keeps a bundle small.

    Args:
        sample: (n, dim) float32, features of some texts, for the scale.
    """
    spread = sample.std(0, dtype=np.float64).reshape(-1, width)
    changes = spread > ROUNDING * np.abs(sample).max(0).reshape(-1, width)
    rotations = []
    for block, (deviation, changing) in enumerate(zip(spread, changes)):
        scale = np.zeros(width)
        if changing.any():
            median = np.median(deviation[changing])
            scale[changing] = median / np.maximum(deviation[changing], MIN_DEVIATION_SHARE * median)
        rotations.append(scale[:, None] * orthogonal(width, seed + block))
    return np.stack(rotations).astype(np.float16).astype(np.float32)


def random_directions(dim: int, bits: int, seed: int) -> np.ndarray:
    """Draw `bits` directions, orthogonal in groups of `dim`: (dim, bits) float32."""
    groups = [orthogonal(dim, seed + group) for group in range(-(-bits // dim))]
    return np.concatenate(groups, axis=1)[:, :bits].astype(np.float32)


def orthogonal(size: int, seed: int) -> np.ndarray:
    """Draw an orthogonal matrix (size, size) float64 from the uniform (Haar) distribution."""
    q, r = np.linalg.qr(np.random.default_rng(seed).standard_normal((size, size)))
    return q * np.sign(np.diag(r))

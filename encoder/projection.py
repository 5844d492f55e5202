"""Turn pooled features before they are cut to bits: rotate each layer's, or project all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import numpy as np

if TYPE_CHECKING:
    import torch

Array = TypeVar("Array", np.ndarray, "torch.Tensor")

# Least deviation a feature is divided by, as a share of the median one. Some models have features that are as good as
# constant (three of all-MiniLM-L6-v2's last layer): divided by their own, rounding would be as loud as what others say.
FLOOR_SHARE = 0.25
# A feature that varies by less, as a share of its size, says nothing but rounding: the first token's embedding is one.
ROUNDING = 1e-5


def project(features: Array, projection: Array | None) -> Array:
    """Project features (n, dim) float32 into values (n, bits) float32, of NumPy or torch.

    projection (dim, bits) takes all of them; (blocks, dim // blocks, bits // blocks) each block of them by itself; None leaves
    them as they are.
    """
    if projection is None:
        return features
    if projection.ndim == 2:
        return features @ projection
    blocks, width, values = projection.shape
    parts = features.reshape(len(features), blocks, width).swapaxes(0, 1)  # (blocks, n, width)
    return (parts @ projection).swapaxes(0, 1).reshape(len(features), blocks * values)


def count_values(projection: np.ndarray) -> int:
    """Return how many values a projection gives of a text."""
    blocks = len(projection) if projection.ndim == 3 else 1
    return blocks * projection.shape[-1]


def deviations(sample: np.ndarray) -> np.ndarray:
    """Measure how much each of the features (n, dim) varies: (dim,) float64, never next to nothing."""
    found = sample.std(0, dtype=np.float64)
    return np.maximum(found, max(FLOOR_SHARE * np.median(found), 1e-6))


def rotation_within_layers(sample: np.ndarray, width: int, seed: int) -> np.ndarray:
    """Draw a rotation of each vector of `width` among features: (dim // width, width, width) float32.

    Neighbouring layers say nearly the same in the same dimension, so cut there they give nearly the same bit. Each turned
    by a rotation of its own, they give different ones: what one loses at its threshold another keeps (random hyperplanes:
    Charikar, STOC 2002). A vector's features are first scaled to vary alike, as its median one does, or the loudest would
    decide alone; those that never change are left out. The numbers are such as float16 holds, so a bundle stays small.

    sample (n, dim) float32: features of some texts, for the scale.
    """
    spread = sample.std(0, dtype=np.float64).reshape(-1, width)
    changes = spread > ROUNDING * np.abs(sample).max(0).reshape(-1, width)
    turned = []
    for block, (found, kept) in enumerate(zip(spread, changes)):
        scale = np.zeros(width)
        if kept.any():
            median = np.median(found[kept])
            scale[kept] = median / np.maximum(found[kept], FLOOR_SHARE * median)
        turned.append(scale[:, None] * orthogonal(width, seed + block))
    return np.stack(turned).astype(np.float16).astype(np.float32)


def random_directions(dim: int, bits: int, seed: int) -> np.ndarray:
    """Draw `bits` directions, orthogonal in groups of `dim`: (dim, bits) float32."""
    groups = [orthogonal(dim, seed + group) for group in range(-(-bits // dim))]
    return np.concatenate(groups, axis=1)[:, :bits].astype(np.float32)


def orthogonal(size: int, seed: int) -> np.ndarray:
    """Draw a rotation (size, size) float64, all of them alike (Haar)."""
    q, r = np.linalg.qr(np.random.default_rng(seed).standard_normal((size, size)))
    return q * np.sign(np.diag(r))

"""Make an encoder bundle from a base model: choose what is pooled, fit where it is cut."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from encoder.base import EncoderError
from encoder.bundle import Bundle
from encoder.encode import Encoder
from encoder.settings import BundleSettings

MINIMUM_TEXTS = 64


def make(
    settings: BundleSettings, texts: list[str], *, device: str = "auto", source: str = "", seed: int = 0
) -> Bundle:
    """Make a bundle whose thresholds are the mean of each dimension over `texts`.

    A threshold at the mean rather than at zero keeps more: features are far from centred.

    Args:
        texts: a sample of the texts to be coded, at least 64.
        source: says where the texts are from, for the bundle's description.

    Raises:
        EncoderError: too few texts, a layer the model has not, an unknown pooling.
    """
    raw = settings.uncut()
    check_sample(texts, settings.bits, raw.bits)
    # The reference precision: the same thresholds whatever machine makes them, up to rounding.
    features = Encoder(raw, device=device, precision="float32").features(texts)
    projection, how = first_projection(features, settings.bits, seed)
    features = features if projection is None else features @ projection
    return dataclasses.replace(
        raw,
        bits=features.shape[1],
        thresholds=mean_thresholds(features),
        projection=projection,
        calibration={"texts": len(texts), "thresholds": "mean of each dimension", "source": source} | how,
    )


def check_sample(texts: list[str], bits: int | None, dim: int) -> None:
    """Raise EncoderError where there are too few texts to fit thresholds, or a rotation of `dim` features to `bits`."""
    if len(texts) < MINIMUM_TEXTS:
        raise EncoderError(f"thresholds need a sample of at least {MINIMUM_TEXTS} texts, {len(texts)} were given")
    if bits is not None and bits < dim and len(texts) < bits:
        raise EncoderError(f"{bits} bits by rotation need at least as many sample texts, {len(texts)} were given")


def first_projection(features: np.ndarray, bits: int | None, seed: int) -> tuple[np.ndarray | None, dict[str, Any]]:
    """Make the projection of features (n, dim) float32 to `bits`: (dim, bits) float32 or None, and how it was made."""
    dim = features.shape[1]
    if bits is None or bits == dim:
        return None, {}
    if bits < dim:
        return _rotation(features, bits, seed), {"projection": "PCA and ITQ rotation", "seed": seed}
    return random_directions(dim, bits, seed), {"projection": "random directions", "seed": seed}


def mean_thresholds(features: np.ndarray) -> np.ndarray:
    """Average features (n, bits) float32 into thresholds (bits,) float32."""
    return features.mean(0, dtype=np.float64).astype(np.float32)


def _rotation(features: np.ndarray, bits: int, seed: int, rounds: int = 50) -> np.ndarray:
    """Fit iterative quantisation (Gong and Lazebnik, CVPR 2011) to (n, dim) float32: a projection (dim, bits) float32."""
    centred = features.astype(np.float64) - features.mean(0)
    _, axes = np.linalg.eigh(centred.T @ centred)
    principal = axes[:, ::-1][:, :bits]  # (dim, bits), largest variance first
    projected = centred @ principal
    rotation = _orthogonal(bits, seed)
    for _ in range(rounds):
        signs = np.where(projected @ rotation > 0, 1.0, -1.0)
        left, _, right = np.linalg.svd(projected.T @ signs)
        rotation = left @ right
    return (principal @ rotation).astype(np.float32)


def random_directions(dim: int, bits: int, seed: int) -> np.ndarray:
    """Draw `bits` directions, orthogonal in groups of `dim`: (dim, bits) float32."""
    groups = [_orthogonal(dim, seed + group) for group in range(-(-bits // dim))]
    return np.concatenate(groups, axis=1)[:, :bits].astype(np.float32)


def _orthogonal(size: int, seed: int) -> np.ndarray:
    q, r = np.linalg.qr(np.random.default_rng(seed).standard_normal((size, size)))
    return q * np.sign(np.diag(r))

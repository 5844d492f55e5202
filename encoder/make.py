"""Make an encoder bundle from a base model: choose what is pooled, fit where it is cut."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from encoder.base import EncoderError
from encoder.bundle import Bundle
from encoder.encode import Encoder
from encoder.projection import orthogonal, project, random_directions, rotation_within_layers
from encoder.settings import BundleSettings

MINIMUM_TEXTS = 64


def make(
    settings: BundleSettings, texts: list[str], *, device: str = "auto", source: str = "", seed: int = 0
) -> Bundle:
    """Make a bundle whose thresholds are the mean of each value over `texts`, rotated first where that is asked for.

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
    projection, how = first_projection(features, settings, seed)
    values = project(features, projection)
    return dataclasses.replace(
        raw,
        bits=values.shape[1],
        thresholds=mean_thresholds(values),
        projection=projection,
        calibration={"texts": len(texts), "thresholds": "mean of each dimension", "source": source} | how,
    )


def check_sample(texts: list[str], bits: int | None, dim: int) -> None:
    """Raise EncoderError where there are too few texts to fit thresholds, or a rotation of `dim` features to `bits`."""
    if len(texts) < MINIMUM_TEXTS:
        raise EncoderError(f"thresholds need a sample of at least {MINIMUM_TEXTS} texts, {len(texts)} were given")
    if bits is not None and bits < dim and len(texts) < bits:
        raise EncoderError(f"{bits} bits by rotation need at least as many sample texts, {len(texts)} were given")


def first_projection(
    features: np.ndarray, settings: BundleSettings, seed: int
) -> tuple[np.ndarray | None, dict[str, Any]]:
    """Make the projection of features (n, dim) float32, as `encoder.projection.project` takes it, and say how it was made."""
    dim, bits = features.shape[1], settings.bits
    if bits is None or bits == dim:
        if settings.rotation == "none" or dim == settings.width:  # one vector alone has no neighbour to differ from
            return None, {}
        rotation = rotation_within_layers(features, settings.width, seed)
        return rotation, {"projection": "random rotation of each vector, scaled", "seed": seed}
    if bits < dim:
        return iterative_quantisation(features, bits, seed), {"projection": "PCA and ITQ rotation", "seed": seed}
    return random_directions(dim, bits, seed), {"projection": "random directions", "seed": seed}


def mean_thresholds(features: np.ndarray) -> np.ndarray:
    """Average features (n, bits) float32 into thresholds (bits,) float32."""
    return features.mean(0, dtype=np.float64).astype(np.float32)


def iterative_quantisation(features: np.ndarray, bits: int, seed: int, rounds: int = 50) -> np.ndarray:
    """Fit iterative quantisation (Gong and Lazebnik, CVPR 2011) to (n, dim) float32: a projection (dim, bits) float32."""
    centred = features.astype(np.float64) - features.mean(0)
    _, axes = np.linalg.eigh(centred.T @ centred)
    principal = axes[:, ::-1][:, :bits]  # (dim, bits), largest variance first
    projected = centred @ principal
    rotation = orthogonal(bits, seed)
    for _ in range(rounds):
        signs = np.where(projected @ rotation > 0, 1.0, -1.0)
        left, _, right = np.linalg.svd(projected.T @ signs)
        rotation = left @ right
    return (principal @ rotation).astype(np.float32)

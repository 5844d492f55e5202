"""Make an encoder bundle from a base model: pool its layers, fit a projection and thresholds."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from encoder.base import EncoderError
from encoder.bundle import Bundle
from encoder.encode import Encoder
from encoder.projection import orthogonal, project, random_directions, rotation_within_layers
from encoder.settings import BundleSettings

MIN_TEXTS = 64


def make_bundle(
    settings: BundleSettings, texts: list[str], *, device: str = "auto", source: str = "", seed: int = 0
) -> Bundle:
    """Make a bundle whose thresholds are the mean of each value over `texts`.

    Features are far from centred, so that the mean is a better threshold than zero.

    Args:
        texts: a sample of the texts to be encoded, at least 64.
        source: where the texts are from, for the bundle's description.
        seed: of the projection.

    Raises:
        EncoderError: there are too few texts, a layer does not exist, or the pooling is unknown.
    """
    raw = settings.without_thresholds()
    check_sample(texts, settings.bits, raw.bits)
    # float32: the same thresholds on every machine, up to rounding.
    features = Encoder(raw, device=device, precision="float32").features(texts)
    projection, projection_record = initial_projection(features, settings, seed)
    values = project(features, projection)
    return dataclasses.replace(
        raw,
        bits=values.shape[1],
        thresholds=mean_thresholds(values),
        projection=projection,
        calibration={"texts": len(texts), "thresholds": "mean of each dimension", "source": source} | projection_record,
    )


def check_sample(texts: list[str], bits: int | None, dim: int) -> None:
    """Raise EncoderError if there are too few texts to fit thresholds, or a rotation of `dim` features to `bits`."""
    if len(texts) < MIN_TEXTS:
        raise EncoderError(f"thresholds need a sample of at least {MIN_TEXTS} texts, {len(texts)} were given")
    if bits is not None and bits < dim and len(texts) < bits:
        raise EncoderError(f"{bits} bits by rotation need at least as many sample texts, {len(texts)} were given")


def initial_projection(
    features: np.ndarray, settings: BundleSettings, seed: int
) -> tuple[np.ndarray | None, dict[str, Any]]:
    """Make the projection that settings ask for, to fit features (n, dim) float32.

    Returns:
        The projection, as `encoder.projection.project` takes it, and a record of it for the bundle's description.
    """
    dim, bits = features.shape[1], settings.bits
    if bits is None or bits == dim:
        if settings.rotation == "none" or dim == settings.width:  # rotation helps only several vectors
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
    """Fit iterative quantisation (ITQ: Gong and Lazebnik, CVPR 2011): a PCA, and a rotation that moves values off zero.

    Args:
        features: (n, dim) float32.

    Returns:
        A projection (dim, bits) float32.
    """
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

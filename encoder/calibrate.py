"""Make an encoder bundle from a base model: choose what is pooled, fit where it is cut."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from encoder.base import EncoderError, find
from encoder.bundle import Bundle, LongTexts, default_overlap, hidden_size, layer_count, token_limit
from encoder.encode import Encoder
from encoder.pooling import Pooling

MINIMUM_TEXTS = 64


def make(
    base: str,
    texts: list[str],
    *,
    name: str,
    layers: tuple[int, ...] = (-1,),
    positions: tuple[str, ...] = ("mean",),
    bits: int | None = None,
    prefix: str = "",
    max_tokens: int | None = None,
    long_texts: LongTexts = "truncate",
    device: str = "auto",
    source: str = "",
    seed: int = 0,
) -> Bundle:
    """Make a bundle whose thresholds are the mean of each dimension over `texts`.

    A threshold at the mean rather than at zero keeps more: features are far from centred.

    Args:
        base: a base model (see `encoder.base`).
        texts: a sample of the texts to be coded, at least 64.
        layers: hidden layers to pool; negative ones count from the last.
        bits: bits a code. None keeps one bit a pooled dimension; fewer are made by a PCA and an iterative quantisation
            rotation, more by random directions.
        source: says where the texts are from, for the bundle's description.

    Raises:
        EncoderError: too few texts, a layer the model has not, an unknown pooling.
    """
    raw = uncut(base, name, layers, positions, bits, prefix, max_tokens, long_texts)
    check_sample(texts, bits, raw.bits)
    # The reference precision: the same thresholds whatever machine makes them, up to rounding.
    features = Encoder(raw, device=device, precision="float32").features(texts)
    projection, how = first_projection(features, bits, seed)
    features = features if projection is None else features @ projection
    return dataclasses.replace(
        raw,
        bits=features.shape[1],
        thresholds=mean_thresholds(features),
        projection=projection,
        calibration={"texts": len(texts), "thresholds": "mean of each dimension", "source": source} | how,
    )


def uncut(
    base: str,
    name: str,
    layers: tuple[int, ...],
    positions: tuple[str, ...],
    bits: int | None,
    prefix: str = "",
    max_tokens: int | None = None,
    long_texts: LongTexts = "truncate",
) -> Bundle:
    """Describe a base model with its pooling and a bit for each pooled dimension, not yet cut anywhere in particular.

    Raises:
        EncoderError: a layer the model has not, an unknown pooling, `bits` that cannot be.
    """
    found = find(base)
    config = found.config()
    count = layer_count(config)
    for layer in layers:
        if not -count - 1 <= layer <= count:
            raise EncoderError(f"layer {layer} is asked for but {base} has layers 0 (embeddings) to {count}")
    try:
        pooling = Pooling(tuple(layer % (count + 1) for layer in layers), tuple(positions))
    except ValueError as error:
        raise EncoderError(str(error)) from None
    if bits is not None and (bits <= 0 or bits % 8):
        raise EncoderError(f"bits must be a positive multiple of 8, not {bits}")
    if max_tokens is None:
        max_tokens = min(256, token_limit(config))
    elif max_tokens > token_limit(config):
        raise EncoderError(f"max_tokens {max_tokens} is over what {base} can read, {token_limit(config)}")
    dim = pooling.dim(hidden_size(config))
    return Bundle(
        name=name,
        base_id=found.id,
        base_files=found.file_hashes(),
        pooling=pooling,
        bits=dim,
        thresholds=np.zeros(dim, np.float32),
        prefix=prefix,
        max_tokens=max_tokens,
        long_texts=long_texts,
        overlap_tokens=default_overlap(max_tokens),
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
    return _random_directions(dim, bits, seed), {"projection": "random directions", "seed": seed}


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


def _random_directions(dim: int, bits: int, seed: int) -> np.ndarray:
    """Draw `bits` directions, orthogonal in groups of `dim`: (dim, bits) float32."""
    groups = [_orthogonal(dim, seed + group) for group in range(-(-bits // dim))]
    return np.concatenate(groups, axis=1)[:, :bits].astype(np.float32)


def _orthogonal(size: int, seed: int) -> np.ndarray:
    q, r = np.linalg.qr(np.random.default_rng(seed).standard_normal((size, size)))
    return q * np.sign(np.diag(r))

"""Encode features as codes of many sizes, by functions fitted on a sample of training texts' features."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from encoder import bits as bit_packing
from encoder.make import iterative_quantisation, mean_thresholds
from encoder.projection import project, random_directions, rotation_within_layers

Apply = Callable[[np.ndarray], np.ndarray]  # (n, dim) float32 in; packed bits (n, bytes) uint8 or floats float32 out


@dataclasses.dataclass(frozen=True)
class Code:
    """A way to store features.

    Attributes:
        method: name of the method, for people.
        bytes_a_document: stored bytes per document.
        fit: takes the features of a sample (rows, dim) float32 and returns the function that encodes features.
    """

    method: str
    bytes_a_document: float
    fit: Callable[[np.ndarray], Apply]

    @property
    def name(self) -> str:
        return f"{self.method}, {self.bytes_a_document:g} bytes"


def all_codes(dim: int, width: int, sizes: Sequence[int], seed: int = 0) -> list[Code]:
    """Return the codes that are compared for features of `dim` columns, the last `width` of which are the last layer's.

    Fit all of them on the same sample: two codes that need the same rotation share it, because a large one takes minutes.
    """
    rotations: dict[int, np.ndarray] = {}

    def itq(sample: np.ndarray, bits: int) -> np.ndarray:
        if bits not in rotations:
            rotations[bits] = iterative_quantisation(sample, bits, seed)
        return rotations[bits]

    codes = [
        Code("float32", 4.0 * dim, lambda sample: as_floats),
        Code("fp16", 2.0 * dim, lambda sample: as_half),
        Code("int8", 1.0 * dim, fit_int8),
        Code("last layer, fp16", 2.0 * width, lambda sample: last(as_half, width)),
        Code("last layer, int8", 1.0 * width, lambda sample: last(fit_int8(sample[:, -width:]), width)),
        Code("sign", dim / 8, lambda sample: binarize(None, np.zeros(dim, np.float32))),
        Code("mean threshold", dim / 8, lambda sample: binarize(None, mean_thresholds(sample))),
        Code("median threshold", dim / 8, lambda sample: binarize(None, np.median(sample, axis=0))),  # balanced bits
        Code("rotation within layers", dim / 8, lambda s: projected(s, rotation_within_layers(s, width, seed))),
        Code(
            "last layer, mean threshold",
            width / 8,
            lambda s: last(binarize(None, mean_thresholds(s[:, -width:])), width),
        ),
        Code("two bits a dimension", dim / 4, lambda sample: two_bits(None, sample)),
        Code("last layer, two bits", width / 4, lambda s: last(two_bits(None, s[:, -width:]), width)),
    ]
    for bits in sizes:
        codes += _codes_of_size(bits, dim, seed, itq)
    return codes


def _codes_of_size(bits: int, dim: int, seed: int, itq: Callable[[np.ndarray, int], np.ndarray]) -> list[Code]:
    """Return the codes of a number of bits. `itq` takes a sample and a number of bits and returns a rotation."""
    size = bits / 8
    codes = [Code("random projection", size, lambda s: projected(s, random_directions(dim, bits, seed)))]
    if bits < dim:
        codes += [
            Code("ITQ rotation", size, lambda s: projected(s, itq(s, bits))),
            Code("whitening, random rotation", size, lambda s: projected(s, whitening(s, bits, seed))),
            Code("PCA prefix", size, lambda s: projected(s, principal_axes(s, bits))),
            Code("prefix of shuffled dimensions", size, lambda s: prefix(s, bits, seed)),
        ]
    if bits // 2 < dim:
        codes.append(Code("ITQ rotation, two bits a dimension", size, lambda s: two_bits(itq(s, bits // 2), s)))
    return codes


def as_floats(features: np.ndarray) -> np.ndarray:
    return features


def as_half(features: np.ndarray) -> np.ndarray:
    """Round to float16 and back."""
    return features.astype(np.float16).astype(np.float32)


def last(apply: Apply, width: int) -> Apply:
    """Return a function that applies `apply` to the last `width` columns."""
    return lambda features: apply(np.ascontiguousarray(features[:, -width:]))


def fit_int8(sample: np.ndarray) -> Apply:
    """Fit a scale to each dimension: 255 steps between the 0.1 and the 99.9 percentile of the sample."""
    low, high = np.quantile(sample, (0.001, 0.999), axis=0).astype(np.float32)
    step = np.maximum((high - low) / 254, 1e-12)

    def apply(features: np.ndarray) -> np.ndarray:
        stored = np.clip(np.rint((features - low) / step), 0, 254).astype(np.uint8)
        return stored.astype(np.float32) * step + low

    return apply


def binarize(projection: np.ndarray | None, thresholds: np.ndarray) -> Apply:
    """Return a function that projects features (n, dim), unless `projection` is None, and binarizes them."""
    return lambda features: bit_packing.pack(project(features, projection) > thresholds)


def projected(sample: np.ndarray, projection: np.ndarray) -> Apply:
    """Return a function that projects features and binarizes them at the sample's means."""
    return binarize(projection, mean_thresholds(project(sample, projection)))


def two_bits(projection: np.ndarray | None, sample: np.ndarray) -> Apply:
    """Return a function that stores two bits per dimension: whether the value is above the mean, and the residual's sign.

    The residual is what remains after the mean distance from the mean is subtracted on the value's side. This is residual
    quantisation with one bit per stage: a linear head combines the two bits into four levels.
    """
    values = project(sample, projection)
    thresholds = mean_thresholds(values)
    distance = np.abs(values - thresholds).mean(0)

    def apply(features: np.ndarray) -> np.ndarray:
        centred = project(features, projection) - thresholds
        above = centred > 0
        rest = centred - np.where(above, distance, -distance)
        return bit_packing.pack(np.concatenate([above, rest > 0], axis=1))

    return apply


def principal_axes(sample: np.ndarray, bits: int) -> np.ndarray:
    """Return the first axes of a sample's PCA, largest variance first: (dim, bits) float32.

    The axes for fewer bits are a prefix of those for more.
    """
    centred = sample.astype(np.float64) - sample.mean(0)
    _, axes = np.linalg.eigh(centred.T @ centred)
    return axes[:, ::-1][:, :bits].astype(np.float32)


def whitening(sample: np.ndarray, bits: int, seed: int) -> np.ndarray:
    """Return the first axes of a sample's PCA, scaled to variance one and rotated at random: (dim, bits) float32."""
    axes = principal_axes(sample, bits)
    spread = (sample @ axes).std(0)
    return axes / np.maximum(spread, 1e-6 * spread.max()) @ random_directions(bits, bits, seed)


def prefix(sample: np.ndarray, bits: int, seed: int) -> Apply:
    """Return a function that gives the bits of randomly chosen dimensions, each binarized at its mean."""
    columns = np.random.default_rng(seed).permutation(sample.shape[1])[:bits]
    thresholds = mean_thresholds(sample[:, columns])
    return lambda features: bit_packing.pack(features[:, columns] > thresholds)

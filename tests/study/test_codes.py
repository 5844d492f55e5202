from __future__ import annotations

import numpy as np
import pytest

from encoder.make import iterative_quantisation
from study import codes


@pytest.fixture(scope="module")
def sample() -> np.ndarray:
    """Return features (400, 48) of clusters along few directions, away from the origin."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((6, 48)) * 3
    found = centres[rng.integers(0, 6, 400)] + rng.standard_normal((400, 48)) * np.linspace(2, 0.1, 48) + 5
    return found.astype(np.float32)


def quantisation_error(sample: np.ndarray, projection: np.ndarray) -> float:
    """Return the mean squared distance of projected, centred features from the corners of the cube that bits stand for."""
    projected = (sample - sample.mean(0)) @ projection
    signs = np.where(projected > 0, 1, -1)
    scale = (projected * signs).mean()
    return float(np.square(projected - scale * signs).sum(1).mean() / np.square(projected).sum(1).mean())


def test_itq_is_orthogonal_and_quantises_better_than_a_random_rotation(sample):
    itq = iterative_quantisation(sample, 16, seed=0)
    np.testing.assert_allclose(itq.T @ itq, np.eye(16), atol=1e-5)
    axes = codes.principal_axes(sample, 16)
    rotated = axes @ codes.random_directions(16, 16, seed=1)  # the same plane, rotated at random
    assert quantisation_error(sample, itq) < 0.9 * quantisation_error(sample, rotated)


def test_every_code_has_the_bytes_it_says(sample):
    found = codes.all_codes(48, 16, (16, 32, 64))
    assert len({code.name for code in found}) == len(found)
    for code in found:
        coded = code.fit(sample)(sample)
        if coded.dtype == np.uint8:
            assert coded.shape == (400, code.bytes_a_document), code.name
        else:
            assert coded.dtype == np.float32
            assert len(coded) == 400


def test_a_shorter_pca_code_is_the_prefix_of_a_longer_one(sample):
    long, short = (codes.projected(sample, codes.principal_axes(sample, bits))(sample) for bits in (32, 16))
    np.testing.assert_array_equal(long[:, :2], short)


def test_whitened_features_have_variance_one_in_every_direction(sample):
    found = sample @ codes.whitening(sample, 16, seed=0)
    np.testing.assert_allclose(np.cov(found.T), np.eye(16), atol=0.01)


def test_bits_cut_at_the_median_are_balanced(sample):
    code = next(code for code in codes.all_codes(48, 16, ()) if code.name == "median threshold, 6 bytes")
    assert np.unpackbits(code.fit(sample)(sample), axis=1).mean(0) == pytest.approx(0.5, abs=0.01)


def test_int8_and_half_are_near_what_they_store(sample):
    spread = sample.max() - sample.min()
    for apply in (codes.fit_int8(sample), codes.as_half):
        assert np.abs(apply(sample) - sample).mean() < 0.005 * spread


def test_two_bits_order_values_in_four_levels():
    sample = np.linspace(-1, 1, 201, dtype=np.float32)[:, None].repeat(4, 1)
    ones = np.unpackbits(codes.two_bits(None, sample)(sample), axis=1)
    level = 2.0 * ones[:, 0] + ones[:, 4]
    assert (np.diff(level) >= 0).all()
    assert [int((level == i).sum()) for i in range(4)] == pytest.approx([50, 50, 50, 50], abs=2)


def test_a_rotation_that_two_codes_need_is_found_once_and_is_that_of_its_size(sample, monkeypatch):
    asked = []

    def find(sample, bits, seed):
        asked.append(bits)
        return iterative_quantisation(sample, bits, seed)

    monkeypatch.setattr(codes, "iterative_quantisation", find)
    for code in codes.all_codes(48, 16, (16, 32)):
        if code.name == "ITQ rotation, 2 bytes":
            one_bit = code.fit(sample)(sample)
        elif code.name == "ITQ rotation, two bits a dimension, 4 bytes":
            two_bits = code.fit(sample)(sample)
    assert asked == [16]
    np.testing.assert_array_equal(np.unpackbits(two_bits, axis=1)[:, :16], np.unpackbits(one_bit, axis=1))

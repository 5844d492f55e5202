from __future__ import annotations

import numpy as np
import torch

from encoder.make import iterative_quantisation
from encoder.projection import project, random_directions, rotation_within_layers
from encoder.training.bit_layer import BitLayer

SAMPLE = (3 + np.random.default_rng(0).standard_normal((500, 24)) * np.arange(12, 36)).astype(np.float32)


def values_of(layer: BitLayer, features: np.ndarray = SAMPLE) -> np.ndarray:
    return layer.eval()(torch.from_numpy(features)).detach().numpy()


def test_without_a_projection_values_are_features_around_their_mean():
    values = values_of(BitLayer(SAMPLE, None, len(SAMPLE)))
    np.testing.assert_allclose(values.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(values.std(0), 1, atol=1e-4)
    assert np.array_equal(values > 0, SAMPLE.mean(0, dtype=np.float64).astype(np.float32) < SAMPLE)


def test_a_dimension_that_never_changes_does_no_harm():
    sample = SAMPLE.copy()
    sample[:, 3] = 7.0
    assert np.isfinite(values_of(BitLayer(sample, None, len(sample)), sample)).all()


def test_a_dimension_that_hardly_changes_is_not_blown_up():
    sample = SAMPLE.copy()
    sample[:, 3] = 7 + 1e-3 * np.random.default_rng(1).standard_normal(len(sample))
    assert values_of(BitLayer(sample, None, len(sample)), sample)[:, 3].std() < 0.01
    scaled = values_of(BitLayer(100 * sample, None, len(sample)), 100 * sample)
    np.testing.assert_allclose(
        scaled, values_of(BitLayer(sample, None, len(sample)), sample), atol=1e-3
    )  # whatever the unit


def test_it_starts_at_the_projection_a_bundle_would_have():
    for projection in (iterative_quantisation(SAMPLE, 8, seed=0), random_directions(24, 64, seed=0)):
        layer = BitLayer(SAMPLE, projection, len(SAMPLE))
        projected = SAMPLE @ projection
        # Up to rounding at the threshold itself.
        assert np.mean((values_of(layer) > 0) == (projected > projected.mean(0))) > 0.999
        np.testing.assert_allclose(values_of(layer).std(0), 1, atol=1e-3)
        found = layer.projection()
        found *= np.linalg.norm(projection, axis=0) / np.linalg.norm(found, axis=0)
        np.testing.assert_allclose(found, projection, atol=1e-4)


def test_the_projection_is_what_was_learned_of_scaled_features():
    layer = BitLayer(SAMPLE, iterative_quantisation(SAMPLE, 8, seed=0), len(SAMPLE))
    start = layer.projection()
    with torch.no_grad():
        layer.weight += 1.0
    np.testing.assert_allclose(layer.projection() - start, 1 / layer.deviation[:, None].expand(-1, 8), rtol=1e-4)


def test_two_passes_move_the_thresholds_as_far_as_one():
    one, two = BitLayer(SAMPLE, None, len(SAMPLE)).train(), BitLayer(SAMPLE, None, len(SAMPLE)).train()
    moved, half = torch.from_numpy(SAMPLE + 50), len(SAMPLE) // 2
    one(moved)
    two(moved[:half])
    two(moved[half:])
    np.testing.assert_allclose(one.centre, two.centre, rtol=0.05)


def test_thresholds_follow_the_features_only_while_training():
    layer = BitLayer(SAMPLE, None, len(SAMPLE))
    moved = torch.from_numpy(SAMPLE + 50)
    layer.eval()(moved)
    assert not layer.centre.any()
    layer.train()
    for _ in range(400):
        layer(moved)
    assert np.abs(values_of(layer, SAMPLE + 50).mean(0)).max() < 0.05


def test_a_rotation_within_layers_gives_the_bits_of_the_bundle_and_does_not_learn():
    rotation = rotation_within_layers(SAMPLE, 8, seed=0)
    layer = BitLayer(SAMPLE, rotation, len(SAMPLE))
    assert not list(layer.parameters())
    assert layer.projection() is None
    turned = project(SAMPLE, rotation)
    assert np.mean((values_of(layer) > 0) == (turned > turned.mean(0))) > 0.999
    np.testing.assert_allclose(values_of(layer).std(0), 1, atol=1e-3)

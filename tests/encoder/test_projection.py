from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

import encoder
from encoder import EncoderError, bundle
from encoder.make import make_bundle
from encoder.projection import MIN_DEVIATION_SHARE, count_values, project, rotation_within_layers
from encoder.settings import BundleSettings
from encoder.training.bit_layer import BitLayer
from tests.conftest import random_texts
from tests.encoder.labelled import quick

RNG = np.random.default_rng(0)
SAMPLE = (5 + RNG.standard_normal((300, 24)) * np.linspace(0.1, 9, 24)).astype(np.float32)
TEXTS = random_texts(100, seed=20)


@pytest.mark.parametrize("shape", [(24, 16), (3, 8, 8), (2, 12, 4)])
def test_blocks_project_as_one_matrix_of_them_would(shape):
    projection = RNG.standard_normal(shape).astype(np.float32)
    whole = projection
    if len(shape) == 3:
        blocks, width, bits = shape
        whole = np.zeros((24, blocks * bits), np.float32)
        for i, block in enumerate(projection):
            whole[i * width : (i + 1) * width, i * bits : (i + 1) * bits] = block
    assert count_values(projection) == whole.shape[1]
    found = project(SAMPLE, projection)
    np.testing.assert_allclose(found, SAMPLE @ whole, rtol=1e-4, atol=1e-4)
    of_torch = project(torch.from_numpy(SAMPLE), torch.from_numpy(projection))
    np.testing.assert_allclose(of_torch, found, rtol=1e-4, atol=1e-4)


def test_without_a_projection_features_stay():
    assert project(SAMPLE, None) is SAMPLE


def test_a_rotation_keeps_the_distances_of_scaled_features_within_each_layer():
    rotation = rotation_within_layers(SAMPLE, 8, seed=3)
    assert rotation.shape == (3, 8, 8)
    turned = project(SAMPLE, rotation)
    for layer in range(3):
        part = slice(8 * layer, 8 * layer + 8)
        spread = SAMPLE[:, part].std(0)
        scaled = SAMPLE[:, part] / np.maximum(spread, MIN_DEVIATION_SHARE * np.median(spread)) * np.median(spread)
        distances = [np.linalg.norm(x[:100] - x[100:200], axis=1) for x in (scaled, turned[:, part])]
        np.testing.assert_allclose(*distances, rtol=5e-3)
    unit = rotation / np.linalg.norm(rotation, axis=2, keepdims=True)
    assert not np.allclose(unit[0], unit[1])  # each layer's own


def test_layers_that_say_the_same_give_other_bits_once_rotated():
    twice = np.concatenate([SAMPLE, SAMPLE], axis=1)
    bits = {}
    for name, values in (("plain", twice), ("rotated", project(twice, rotation_within_layers(twice, 24, seed=0)))):
        ones = values > values.mean(0)
        bits[name] = np.mean(ones[:, :24] == ones[:, 24:])
    assert bits["plain"] == 1
    assert bits["rotated"] < 0.7


def test_features_that_never_change_are_left_out():
    sample = SAMPLE.copy()
    sample[:, 2] = 7 + 1e-6 * RNG.standard_normal(len(sample))  # rounding
    sample[:, 8:16] = RNG.standard_normal(8).astype(np.float32)  # as the first token's embedding is
    rotation = rotation_within_layers(sample, 8, seed=0)
    assert not rotation[0, 2].any()
    assert rotation[0, 3].any()
    assert not rotation[1].any()
    layer = BitLayer(sample, rotation, len(sample))
    assert torch.isfinite(layer(torch.from_numpy(sample))).all()


@pytest.mark.parametrize("size", [1e-6, 1.0, 1e6])
def test_a_rotation_is_the_same_whatever_the_unit_of_a_layer(size):
    scaled = SAMPLE * np.repeat(np.array([1, size, 1], np.float32), 8)
    found, expected = (rotation_within_layers(sample, 8, seed=0) for sample in (scaled, SAMPLE))
    np.testing.assert_allclose(found, expected, rtol=2e-3, atol=1e-5)


def test_no_rows_are_projected_to_none():
    assert project(SAMPLE[:0], rotation_within_layers(SAMPLE, 8, seed=0)).shape == (0, 24)


@pytest.mark.parametrize("positions", [("cls",), ("first_3",), ("cls", "mean", "max")])
def test_poolings_of_features_that_never_change_make_bundles_that_encode(tiny_base, positions):
    made = make_bundle(BundleSettings("x", str(tiny_base), layers=(0, 2), positions=positions), TEXTS)
    model = encoder.load(made, "cpu", "float32")
    together = model.encode(TEXTS).bits
    alone = np.concatenate([model.encode([text]).bits for text in TEXTS])
    assert encoder.bits.hamming_distance(together, alone) < 1e-3


def test_windows_of_long_texts_are_averaged_and_then_rotated(tiny_base):
    settings = BundleSettings("x", str(tiny_base), layers=(1, 2), max_tokens=16, long_texts="windows")
    texts = random_texts(80, seed=4, longest=60)
    rotated, plain = (make_bundle(dataclasses.replace(settings, rotation=r), texts) for r in ("layers", "none"))
    found, averaged = (encoder.load(b, "cpu", "float32").features(texts) for b in (rotated, plain))
    np.testing.assert_allclose(found, project(averaged, rotated.projection), rtol=1e-3, atol=1e-4)


def test_bundles_are_rotated_unless_told_otherwise(tiny_base):
    settings = BundleSettings("x", str(tiny_base), layers=(0, 1, 2, 3))
    rotated = make_bundle(settings, TEXTS)
    plain = make_bundle(dataclasses.replace(settings, rotation="none"), TEXTS)
    assert plain.projection is None
    width = plain.bits // 4
    assert rotated.projection.shape == (4, width, width)
    assert rotated.bits == plain.bits
    features = {name: encoder.load(b, "cpu", "float32").features(TEXTS) for name, b in (("r", rotated), ("p", plain))}
    np.testing.assert_allclose(features["r"], project(features["p"], rotated.projection), rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(rotated.thresholds, features["r"].mean(0), atol=1e-4)


def test_a_vector_alone_is_not_rotated(tiny_base):
    assert make_bundle(BundleSettings("x", str(tiny_base), layers=(3,)), TEXTS).projection is None
    assert (
        make_bundle(
            BundleSettings("x", str(tiny_base), layers=(3,), positions=("cls", "mean")), TEXTS
        ).projection.shape[0]
        == 2
    )


def test_a_rotation_is_stored_in_half_the_bytes_and_read_back_exactly(tiny_base, tmp_path):
    made = make_bundle(BundleSettings("x", str(tiny_base), layers=(1, 2)), TEXTS)
    read = bundle.read(made.save(tmp_path / "x"))
    assert read.projection.dtype == np.float32
    assert np.array_equal(read.projection, made.projection)
    assert read.fingerprint == made.fingerprint
    assert len(made.files()["parameters.safetensors"]) < 3 * made.projection.size
    unlike_half = dataclasses.replace(made, projection=made.projection * np.float32(1 + 1e-5))
    again = bundle.read(unlike_half.save(tmp_path / "y"))
    assert np.array_equal(again.projection, unlike_half.projection)


def test_other_rotations_are_other_encoders(tiny_base):
    settings = BundleSettings("x", str(tiny_base), layers=(1, 2))
    assert make_bundle(settings, TEXTS, seed=0).fingerprint != make_bundle(settings, TEXTS, seed=1).fingerprint


def test_rotated_bundles_and_others_have_one_format(tiny_base, tmp_path):
    settings = BundleSettings("x", str(tiny_base), layers=(1, 2))
    versions = []
    for rotation in ("layers", "none"):
        text = make_bundle(dataclasses.replace(settings, rotation=rotation), TEXTS).files()["encoder.json"].decode()
        versions.append(int(text.split('"format_version": ')[1].split(",")[0]))
    assert versions == [3, 3]


def test_a_rotated_bundle_that_lost_its_adapter_is_refused(tiny_base, tmp_path):
    folder = quick(tiny_base).save(tmp_path / "x")
    assert bundle.read(folder).adapter is not None
    (folder / "adapter.safetensors").unlink()
    with pytest.raises(EncoderError, match="was changed after it was made"):
        bundle.read(folder)


def test_an_unknown_rotation_is_refused_with_those_there_are():
    with pytest.raises(EncoderError, match="unknown rotation 'dimensions'; choose from layers, none"):
        BundleSettings("x", rotation="dimensions")


@pytest.mark.parametrize("shape", [(24, 17), (3, 8, 8), (48,)])
def test_a_projection_that_does_not_give_the_bits_is_refused(tiny_base, shape):
    made = make_bundle(BundleSettings("x", str(tiny_base), layers=(1, 2)), TEXTS)
    with pytest.raises(EncoderError, match=r"projection must be float32 .* not float32"):
        dataclasses.replace(made, projection=np.zeros(shape, np.float32))

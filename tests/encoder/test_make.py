from __future__ import annotations

import numpy as np
import pytest

import encoder
from encoder import EncoderError
from encoder.make import make_bundle
from encoder.settings import BundleSettings
from tests.conftest import random_texts

TEXTS = random_texts(100, seed=20)


def test_thresholds_are_the_mean_of_each_dimension(tiny_base):
    bundle = make_bundle(BundleSettings("x", str(tiny_base), layers=(-1, 1)), TEXTS)
    assert bundle.pooling.layers == (3, 1)
    features = encoder.load(bundle, device="cpu", precision="float32").features(TEXTS)
    np.testing.assert_allclose(bundle.thresholds, features.mean(0), atol=1e-5)


@pytest.mark.parametrize("bits", [8, 16, 32, 48, 128])
def test_any_number_of_bits_can_be_asked_for(tiny_base, bits):
    bundle = make_bundle(BundleSettings("x", str(tiny_base), layers=(3,), bits=bits), TEXTS)
    assert bundle.bits == bits
    codes = encoder.load(bundle, device="cpu").encode(TEXTS)
    assert codes.bits.shape == (100, bits // 8)
    ones = encoder.bits.unpack(codes.bits).mean(0)
    assert ((ones > 0.1) & (ones < 0.9)).all()  # cut at the mean, no bit is always the same


def test_a_rotation_to_fewer_bits_keeps_directions_orthonormal(tiny_base):
    projection = make_bundle(BundleSettings("x", str(tiny_base), layers=(3,), bits=16), TEXTS).projection
    np.testing.assert_allclose(projection.T @ projection, np.eye(16), atol=1e-4)


def test_the_same_call_makes_the_same_bundle(tiny_base):
    first, second = (make_bundle(BundleSettings("x", str(tiny_base), bits=16), TEXTS).fingerprint for _ in range(2))
    assert first == second


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"texts": TEXTS[:10]}, "at least 64 texts, 10 were given"),
        ({"layers": (4,)}, r"layers 0 \(embeddings\) to 3"),
        ({"layers": (-5,)}, r"layers 0 \(embeddings\) to 3"),
        ({"layers": (3, -1)}, "distinct"),
        ({"positions": ("middle",)}, "choose from cls, mean"),
        ({"max_tokens": 100}, "over what .* can read, 64"),
        ({"bits": 12}, "multiple of 8"),
        ({"layers": (0, 1, 2, 3), "bits": 120, "texts": TEXTS[:70]}, "at least as many sample texts, 70 were given"),
    ],
)
def test_what_cannot_be_made_is_refused(tiny_base, arguments, message):
    settings = {name: value for name, value in arguments.items() if name != "texts"}
    with pytest.raises(EncoderError, match=message):
        make_bundle(BundleSettings("x", str(tiny_base), **settings), arguments.get("texts", TEXTS))

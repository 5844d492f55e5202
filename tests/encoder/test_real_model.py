"""The real default model: its features are those of sentence-transformers, its codes are what was published."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

import encoder
from encoder import Pooling
from encoder.base import DEFAULT_BASE, find
from encoder.bundle import Bundle
from encoder.encode import Encoder
from tests.conftest import optional

PUBLISHED = Path(__file__).parent / "published" / "default-codes.hex"
TEXTS = [
    "A gripping, beautifully acted film that never lets go.",
    "The battery died after two days and nobody answered my letters.",
    "What is the capital of Burkina Faso?",
    "Shares of the steel maker fell 4 percent after it cut its forecast for the year.",
    "Ünïcödé — naïve café, 東京, emoji 🙂 and\ttabs",
    "a",
    "word " * 400,
    "I can't believe we won!!! Best night of my life.",
]


@pytest.fixture(scope="module")
def default() -> Encoder:
    return encoder.load("default", device="cpu", precision="float32")


def test_features_agree_with_sentence_transformers():
    sentence_transformers = optional("sentence_transformers")
    base = find(DEFAULT_BASE)
    bundle = Bundle(
        name="last layer",
        base_id=DEFAULT_BASE,
        base_files=base.file_hashes(),
        pooling=Pooling(layers=(6,)),
        bits=384,
        thresholds=np.zeros(384, np.float32),
    )
    ours = Encoder(bundle, device="cpu", precision="float32").features(TEXTS)
    model = sentence_transformers.SentenceTransformer(str(base.folder), device="cpu")
    model.max_seq_length = bundle.max_tokens
    theirs = model.encode(TEXTS, convert_to_numpy=True)
    cosines = (ours * theirs).sum(1) / np.linalg.norm(ours, axis=1) / np.linalg.norm(theirs, axis=1)
    assert cosines.min() > 0.9999


def test_the_default_encoder_gives_the_codes_it_was_published_with(default):
    """A change of library or code that moves codes shows here; a few bits near a threshold may differ by machine."""
    lines = PUBLISHED.read_text().split()
    published = np.array([list(bytes.fromhex(line)) for line in lines], np.uint8)
    assert encoder.bits.hamming_distance(default.encode(TEXTS).bits, published) < 0.002


def test_bfloat16_flips_under_one_bit_in_two_hundred(default):
    half = encoder.load("default", device="cpu", precision="bfloat16")
    share = encoder.bits.hamming_distance(half.encode(TEXTS).bits, default.encode(TEXTS).bits)
    assert share < 0.005


def test_about_half_the_bits_are_ones(default):
    assert 0.4 < encoder.bits.unpack(default.encode(TEXTS).bits).mean() < 0.6


def test_digest_is_stable_within_a_machine(default):
    first, second = (hashlib.sha256(default.encode(TEXTS).bits.tobytes()).hexdigest() for _ in range(2))
    assert first == second


def test_the_default_encoders_card_names_it_and_it_is_small():
    folder = Path(encoder.__file__).parent / "bundles" / "default"
    card = (folder / "README.md").read_text("utf-8")
    described = encoder.describe("default")
    assert f"`{described.fingerprint[:12]}`" in card
    for task in described.training["tasks"]:
        assert f"| {task['name']} | {task['train_rows']:,} |" in card
    assert sum(path.stat().st_size for path in folder.iterdir()) < 8e6

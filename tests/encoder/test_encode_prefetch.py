"""The way a GPU encodes, on a processor: chunks tokenised in threads, bits packed on the device, texts end to end."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

import encoder
from encoder import bits as bit_packing
from encoder.bundle import Bundle
from encoder.encode import Encoder
from encoder.forward import varlen
from encoder.forward.packed import PackedRunner
from tests.conftest import random_texts
from tests.encoder.alone import FAMILY_TEXTS, hidden_states, random_bundle
from tests.encoder.forward.test_varlen import text_by_text
from tests.encoder.test_encode import pad

TEXTS = [*random_texts(150, seed=21, longest=60), "", "good", "é" * 30]


@pytest.fixture(scope="module")
def tiny(tiny_bundle) -> Encoder:
    return encoder.load(str(tiny_bundle), device="cpu", precision="float32")


def as_on_gpu(bundle: Bundle, monkeypatch, layout: str = "varlen", **options) -> Encoder:
    """Load an encoder that goes the GPU's way on the processor."""
    if layout == "varlen":
        monkeypatch.setattr(varlen, "kernel", lambda: text_by_text)
        monkeypatch.setattr(varlen, "available", lambda *_: True)
    loaded = Encoder(bundle, device="cpu", precision="float32", **options)
    loaded._is_asynchronous = True
    if layout == "padded":
        pad(loaded)
    return loaded


LAYOUTS = ("varlen", "padded")


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("batch_tokens", [40, 300, 100_000])
def test_codes_tokens_and_marks_are_those_of_the_plain_way_in_their_order(tiny, monkeypatch, layout, batch_tokens):
    plain = tiny.encode(TEXTS)
    codes = as_on_gpu(tiny.bundle, monkeypatch, layout, batch_tokens=batch_tokens).encode(TEXTS)
    assert bit_packing.hamming_distance(codes.bits, plain.bits) < 1e-3
    assert codes.bits.dtype == np.uint8
    assert np.array_equal(codes.n_tokens, plain.n_tokens)
    assert codes.n_tokens.dtype == plain.n_tokens.dtype
    assert np.array_equal(codes.truncated, plain.truncated)
    assert plain.truncated.any()
    if layout == "varlen":
        assert codes.padded_tokens == codes.n_tokens.sum()
    else:
        assert codes.padded_tokens >= codes.n_tokens.sum()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_windows_are_averaged_as_the_plain_way_does(tiny, monkeypatch, layout):
    bundle = dataclasses.replace(tiny.bundle, long_texts="windows", max_tokens=16, overlap_tokens=4)
    plain = Encoder(bundle, device="cpu", precision="float32")
    ours = as_on_gpu(bundle, monkeypatch, layout, batch_tokens=100)
    codes, expected = ours.encode(TEXTS), plain.encode(TEXTS)
    assert (expected.n_tokens > 32).any()  # three windows and more
    assert bit_packing.hamming_distance(codes.bits, expected.bits) < 1e-3
    assert np.array_equal(codes.n_tokens, expected.n_tokens)
    assert not codes.truncated.any()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_same_texts_give_the_same_bytes_again(tiny, monkeypatch, layout):
    ours = as_on_gpu(tiny.bundle, monkeypatch, layout, batch_tokens=200)
    assert ours.encode(TEXTS).bits.tobytes() == ours.encode(TEXTS).bits.tobytes()


def test_no_texts_give_no_codes(tiny, monkeypatch):
    codes = as_on_gpu(tiny.bundle, monkeypatch).encode([])
    assert codes.bits.shape == (0, 8)
    assert codes.n_tokens.shape == codes.truncated.shape == (0,)
    assert codes.padded_tokens == 0


def test_a_projection_is_applied_before_the_threshold(tiny, monkeypatch):
    projection = np.random.default_rng(0).standard_normal((64, 16)).astype(np.float32)
    bundle = dataclasses.replace(tiny.bundle, projection=projection, thresholds=np.full(16, 0.1, np.float32), bits=16)
    expected = Encoder(bundle, device="cpu", precision="float32").encode(TEXTS)
    assert bit_packing.hamming_distance(as_on_gpu(bundle, monkeypatch).encode(TEXTS).bits, expected.bits) < 1e-3


def test_an_error_of_the_tokenizer_reaches_the_caller(tiny, monkeypatch):
    ours = as_on_gpu(tiny.bundle, monkeypatch)
    tokenizer = ours._tokenizer

    def fail_on_one(texts):
        if "good" in texts:
            raise RuntimeError("the tokenizer broke")
        return tokenizer(texts)

    monkeypatch.setattr(ours, "_tokenizer", fail_on_one)
    with pytest.raises(RuntimeError, match="the tokenizer broke"):
        ours.encode(TEXTS)


def test_bits_come_back_once(tiny, monkeypatch):
    ours = as_on_gpu(tiny.bundle, monkeypatch, batch_tokens=50)
    brought = []
    cpu = torch.Tensor.cpu
    monkeypatch.setattr(torch.Tensor, "cpu", lambda tensor: brought.append(tuple(tensor.shape)) or cpu(tensor))
    ours.encode(TEXTS)
    assert brought == [(len(TEXTS), 8)]


def test_batches_of_a_chunk_are_of_like_size(tiny, monkeypatch):
    ours = as_on_gpu(tiny.bundle, monkeypatch, batch_tokens=100)
    windows = ours._tokenizer(["good film"] * 26)  # 104 tokens
    assert [tokens for _, _, tokens in ours._window_features(windows)] == [52, 52]
    ours._is_asynchronous = False
    assert [tokens for _, _, tokens in ours._window_features(windows)] == [100, 4]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_out_of_memory_halves_the_batches_and_leaves_the_right_codes(tiny, monkeypatch, layout):
    texts = [*TEXTS, *["good " * 40] * 3]  # one long text beside many short ones: the most its frame can be larger
    ours = as_on_gpu(tiny.bundle, monkeypatch, layout, batch_tokens=2000)
    run = ours._run
    refused = []

    def scarce(windows, rows):
        if windows.lengths[rows].sum() > 120:
            refused.append(len(rows))
            raise torch.OutOfMemoryError("no more")
        return run(windows, rows)

    monkeypatch.setattr(ours, "_run", scarce)
    codes = ours.encode(texts)
    plain = tiny.encode(texts)
    assert 1 <= len(refused) <= 8
    assert ours.batch_tokens < 500
    assert bit_packing.hamming_distance(codes.bits, plain.bits) < 1e-3
    assert np.array_equal(codes.n_tokens, plain.n_tokens)


def test_out_of_memory_ends_where_one_text_is_much_longer_than_the_others(tiny, monkeypatch):
    """Halving the frame around such a batch would leave it as it is, for ever."""
    ours = as_on_gpu(tiny.bundle, monkeypatch, batch_tokens=200)
    run = ours._run
    tries = []

    def scarce(windows, rows):
        tries.append(len(rows))
        assert len(tries) < 20
        if len(rows) > 8:
            raise torch.OutOfMemoryError("no more")
        return run(windows, rows)

    monkeypatch.setattr(ours, "_run", scarce)
    windows = ours._tokenizer(["good " * 40, *["good"] * 30])
    assert sum(len(rows) for rows, _, _ in ours._window_features(windows)) == 31


def test_the_processor_goes_the_plain_way(tiny):
    assert not tiny._is_asynchronous
    assert isinstance(tiny.runner, PackedRunner)


@pytest.mark.parametrize("family", ["bert", "roberta", "xlm-roberta", "camembert", "distilbert", "electra"])
def test_every_family_end_to_end_gives_what_transformers_gives_text_by_text(family, tmp_path, tiny_base, monkeypatch):
    # Weights so large that a wrong mask or position shows.
    bundle = random_bundle(tmp_path, family, tiny_base, ("mean", "last"), initializer_range=0.3)
    ours = as_on_gpu(bundle, monkeypatch)
    together = ours.features(FAMILY_TEXTS)
    ids = [ours._tokenizer([text]).ids.tolist() for text in FAMILY_TEXTS]
    for features, states in zip(together, hidden_states(tmp_path, ids)):
        expected = torch.cat([part for k in (1, 2) for part in (states[k].mean(0), states[k][-1])])
        np.testing.assert_allclose(features, expected.numpy(), atol=5e-5)

from __future__ import annotations

import dataclasses
import logging
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

import encoder
from encoder import Pooling
from encoder import bits as bit_packing
from encoder.encode import Encoder
from encoder.forward.model import load_model
from encoder.forward.padded import PaddedRunner
from encoder.prefetch import prefetch
from tests.conftest import make_tiny_base, random_texts
from tests.encoder.alone import hidden_states


@pytest.fixture(scope="module")
def tiny(tiny_bundle) -> Encoder:
    return encoder.load(str(tiny_bundle), device="cpu", precision="float32")


def with_changes(tiny: Encoder, **changes) -> Encoder:
    return Encoder(dataclasses.replace(tiny.bundle, **changes), device="cpu", precision="float32")


def reference_features(base: str, texts: list[str], tokenizer, layers: tuple[int, ...], max_tokens: int) -> np.ndarray:
    """Encode one text at a time, unpadded, with nothing but transformers."""
    ids = [tokenizer.encode(text).ids for text in texts]
    cut = [some if len(some) <= max_tokens else [*some[: max_tokens - 1], some[-1]] for some in ids]
    return np.stack([torch.cat([h[layer].mean(0) for layer in layers]).numpy() for h in hidden_states(base, cut)])


def test_features_are_those_of_the_model_run_text_by_text(tiny, tiny_base):
    import tokenizers

    texts = random_texts(50, seed=3, longest=60)
    tokenizer = tokenizers.Tokenizer.from_file(str(tiny_base / "tokenizer.json"))
    expected = reference_features(str(tiny_base), texts, tokenizer, (2, 3), max_tokens=32)
    np.testing.assert_allclose(tiny.features(texts), expected, atol=2e-5)


def test_codes_are_the_features_cut_at_the_thresholds(tiny):
    texts = random_texts(40, seed=4)
    codes = tiny.encode(texts)
    assert codes.bits.shape == (40, 8)
    assert codes.bits.dtype == np.uint8
    assert np.array_equal(bit_packing.unpack(codes.bits), tiny.features(texts) > tiny.bundle.thresholds)


def test_rows_come_back_in_their_order(tiny):
    texts = random_texts(60, seed=5)
    order = np.random.default_rng(0).permutation(60)
    shuffled = tiny.encode([texts[i] for i in order])
    assert np.array_equal(shuffled.bits, tiny.encode(texts).bits[order])


@pytest.mark.parametrize("batch_tokens", [1, 40, 300, 100_000])
def test_the_batch_size_changes_no_more_than_rounding(tiny, batch_tokens):
    texts = random_texts(80, seed=6)
    other = Encoder(tiny.bundle, device="cpu", precision="float32", batch_tokens=batch_tokens)
    np.testing.assert_allclose(other.features(texts), tiny.features(texts), atol=2e-5)
    assert bit_packing.hamming_distance(other.encode(texts).bits, tiny.encode(texts).bits) < 1e-3


def test_the_number_of_threads_changes_no_bit(tiny):
    texts = random_texts(200, seed=7)
    one, two = with_changes(tiny), with_changes(tiny)
    one.threads, two.threads = 1, 2
    assert np.array_equal(one.encode(texts).bits, two.encode(texts).bits)


def test_batches_run_side_by_side_and_leave_the_number_of_threads_as_it_was(tiny, monkeypatch):
    texts = random_texts(100, seed=9)
    expected = with_changes(tiny).encode(texts)
    threads = []
    run = Encoder._run
    monkeypatch.setattr(Encoder, "_run", lambda *a: (threads.append(torch.get_num_threads()), run(*a))[1])
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        model = Encoder(tiny.bundle, device="cpu", precision="float32", batch_tokens=100)
        found = model.encode(texts)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
    assert len(threads) > 5
    assert set(threads) == {1}
    assert bit_packing.hamming_distance(found.bits, expected.bits) < 1e-3


def test_a_new_thread_takes_the_number_of_threads_the_encoder_was_loaded_with(tiny, monkeypatch):
    """A worker's second thread may first ask torch while another one has set it to 1, and be told 1 for ever."""
    pools = []
    monkeypatch.setattr("encoder.encode.prefetch", lambda *a: (pools.append(a[-1]), prefetch(*a))[1])
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        model = with_changes(tiny)
        torch.set_num_threads(1)
        with ThreadPoolExecutor(1) as pool:
            pool.submit(model.encode, random_texts(50, seed=9)).result()
    finally:
        torch.set_num_threads(before)
    assert pools == [3]


def test_a_long_text_is_cut_and_marked(tiny):
    codes = tiny.encode(["good", "good " * 100, "good " * 30])
    assert codes.n_tokens.tolist() == [3, 32, 32]
    assert codes.truncated.tolist() == [False, True, False]
    assert np.array_equal(codes.bits[1], codes.bits[2])


def test_padded_tokens_are_what_went_through_the_model(tiny):
    pads = padding(tiny)
    for model, tokens in ((tiny, 21), (pads, 48)):
        codes = model.encode(["good"] * 3 + ["good " * 10])
        assert codes.n_tokens.sum() == 21
        assert codes.padded_tokens == tokens
    assert tiny.encode(["good", "bad"]).padded_tokens == 6


def padding(model):
    """Return the same encoder as it is where texts cannot be packed."""
    pads = with_changes(model)
    pad(pads)
    return pads


def pad(model: Encoder) -> None:
    """Let an encoder run its texts as where they cannot be packed."""
    pooling, base = model.bundle.pooling, model.bundle.find_base()
    loaded = load_model(base.folder, max(pooling.layers), model.device, model.dtype, model.bundle.adapter)
    model.runner = PaddedRunner(loaded, pooling, model.device, base.pad_id)


def test_windows_read_the_whole_text_and_average_it(tiny):
    reader = with_changes(tiny, long_texts="windows", max_tokens=16, overlap_tokens=4)
    text = "good bad film story plot great dull actor scene laugh long short the a of and was is not very"
    codes = reader.encode([text, "good film"])
    words = text.split()  # 20 words: windows of 14 beginning at 0 and 10
    parts = with_changes(tiny, max_tokens=16, overlap_tokens=4).features([" ".join(words[:14]), " ".join(words[10:])])
    np.testing.assert_allclose(reader.features([text])[0], parts.mean(0), atol=2e-5)
    assert not codes.truncated.any()
    assert codes.n_tokens.tolist() == [16 + 12, 4]
    assert np.array_equal(codes.bits, bit_packing.pack(reader.features([text, "good film"]) > reader.bundle.thresholds))


def test_windows_of_short_texts_are_the_texts(tiny):
    texts = random_texts(20, seed=8, longest=10)
    assert np.array_equal(with_changes(tiny, long_texts="windows").encode(texts).bits, tiny.encode(texts).bits)


def test_the_prefix_stands_before_every_text(tiny):
    prefixed = with_changes(tiny, prefix="good ")
    assert np.array_equal(prefixed.encode(["film", "plot"]).bits, tiny.encode(["good film", "good plot"]).bits)


def test_a_projection_is_applied_before_the_threshold(tiny):
    projection = np.random.default_rng(0).standard_normal((64, 16)).astype(np.float32)
    thresholds = np.full(16, 0.1, np.float32)
    projected = with_changes(tiny, projection=projection, thresholds=thresholds, bits=16)
    texts = random_texts(30, seed=9)
    np.testing.assert_allclose(projected.features(texts), tiny.features(texts) @ projection, atol=1e-4)
    assert projected.encode(texts).bits.shape == (30, 2)


def test_no_texts_give_no_codes(tiny):
    codes = tiny.encode([])
    assert codes.bits.shape == (0, 8)
    assert codes.n_tokens.shape == codes.truncated.shape == (0,)
    assert tiny.features([]).shape == (0, 64)


def test_progress_counts_the_texts_that_have_features(tiny_bundle):
    told = []
    encoder.load(str(tiny_bundle), "cpu", batch_tokens=64).features(random_texts(50), told.append)
    assert sum(told) == 50
    assert len(told) > 3


def test_a_text_of_which_a_tokenizer_leaves_nothing_is_coded(tiny, tiny_base, tmp_path):
    """A tokenizer without special tokens gives no token at all for some texts."""
    import json
    import shutil

    shutil.copytree(tiny_base, tmp_path / "base")
    tokenizer = json.loads((tmp_path / "base" / "tokenizer.json").read_text())
    (tmp_path / "base" / "tokenizer.json").write_text(json.dumps(tokenizer | {"post_processor": None}))
    base = encoder.base.find(str(tmp_path / "base"))
    bundle = dataclasses.replace(tiny.bundle, base_id=base.id, base_files=base.file_hashes())
    codes = Encoder(bundle, device="cpu", precision="float32")
    assert codes.encode(["\x01"]).n_tokens.tolist() == [1]
    assert np.isfinite(codes.features(["\x01", "good film"])).all()


def test_memory_is_given_back_after_so_many_tokens(tiny, monkeypatch):
    import encoder.encode

    calls = []
    monkeypatch.setattr(encoder.encode, "return_free_memory", lambda: calls.append(1))
    monkeypatch.setattr(encoder.encode, "TOKENS_PER_RETURN", 6)
    tiny._tokens_since_return = 0
    for _ in range(4):
        tiny.encode(["good"])  # three tokens, with those at the ends
    assert len(calls) == 2


def test_strange_texts_are_coded_like_any_other(tiny):
    texts = ["\x00", "\u200b", "é́́́", "🙂" * 500, "a" * 100_000, "שלום", "\ufffd\ufeff"]
    assert len(tiny.encode(texts)) == len(texts)


def test_bfloat16_flips_few_bits(tiny):
    half = Encoder(tiny.bundle, device="cpu", precision="bfloat16")
    texts = random_texts(100, seed=10)
    share = bit_packing.hamming_distance(half.encode(texts).bits, tiny.encode(texts).bits)
    assert 0 < share < 0.03


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("no more"), RuntimeError("MPS backend out of memory (MPS ...)")]
)
def test_out_of_memory_halves_the_batches_and_goes_on(tiny, monkeypatch, caplog, error):
    texts = random_texts(64, seed=11)
    expected = tiny.encode(texts)
    small = Encoder(tiny.bundle, device="cpu", precision="float32", batch_tokens=2000)
    small.threads = 1  # as on a GPU: one batch after the other
    run = small._run

    def scarce(windows, rows):
        if windows.lengths[rows].sum() > 300:
            raise error
        return run(windows, rows)

    monkeypatch.setattr(small, "_run", scarce)
    with caplog.at_level(logging.WARNING):
        codes = small.encode(texts)
    assert bit_packing.hamming_distance(codes.bits, expected.bits) < 1e-3
    assert small.batch_tokens <= 300
    assert "out of memory" in caplog.text


def test_another_error_is_not_taken_for_a_lack_of_memory(tiny, monkeypatch):
    small = Encoder(tiny.bundle, device="cpu", precision="float32", batch_tokens=2000)
    small.threads, tried = 1, []

    def broken(windows, rows):
        tried.append(len(rows))
        raise RuntimeError("an illegal instruction")

    monkeypatch.setattr(small, "_run", broken)
    with pytest.raises(RuntimeError, match="an illegal instruction"):
        small.encode(random_texts(64, seed=11))
    assert len(tried) == 1


def test_one_text_too_large_for_memory_is_an_error(tiny, monkeypatch):
    small = Encoder(tiny.bundle, device="cpu", precision="float32")

    def never(windows, rows):
        raise torch.OutOfMemoryError("no more")

    monkeypatch.setattr(small, "_run", never)
    with pytest.raises(torch.OutOfMemoryError):
        small.encode(["good"])


@pytest.mark.parametrize("positions", [("cls",), ("max",), ("last",), ("first_2",), ("cls", "mean", "max")])
def test_every_pooling_makes_codes_of_its_width(tiny, positions):
    pooling = Pooling(layers=(1, 3), positions=positions)
    bits = pooling.dim(32)
    model = with_changes(tiny, pooling=pooling, bits=bits, thresholds=np.zeros(bits, np.float32))
    assert model.encode(random_texts(9)).bits.shape == (9, bits // 8)


def test_no_padding_goes_through_a_packed_model(tiny):
    codes = tiny.encode(random_texts(50, seed=12))
    assert codes.padded_tokens == codes.n_tokens.sum()


@pytest.mark.parametrize("positions", [("cls",), ("mean",), ("max",), ("last",), ("first_3",)])
def test_packed_and_padded_texts_have_the_same_features(tiny, positions):
    pooling = Pooling(layers=(0, 2), positions=positions)
    bits = pooling.dim(32)
    packs = with_changes(tiny, pooling=pooling, bits=bits, thresholds=np.zeros(bits, np.float32))
    pads = padding(packs)
    texts = random_texts(60, seed=13)
    np.testing.assert_allclose(packs.features(texts), pads.features(texts), atol=2e-5)


def test_a_different_model_gives_different_codes(tiny, tmp_path):
    other = make_tiny_base(tmp_path / "other", seed=1)
    bundle = dataclasses.replace(
        tiny.bundle, base_id=str(other), base_files=encoder.base.find(str(other)).file_hashes()
    )
    texts = random_texts(20)
    assert bundle.fingerprint != tiny.fingerprint
    assert not np.array_equal(Encoder(bundle, device="cpu").encode(texts).bits, tiny.encode(texts).bits)

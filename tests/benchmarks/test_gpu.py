from __future__ import annotations

import dataclasses
import json
import sys

import numpy as np
import pytest
import torch

import encoder
from benchmarks import child, gpu, random_model
from benchmarks.random_model import SHAPES
from benchmarks.rivals_gpu import best_rival, padded_loop, sentence_transformers
from encoder import bits
from tests.conftest import optional

# Hides the packages that a machine with torch and transformers alone does not have.
WITHOUT = """
import sys
for name in ("apache_beam", "pyarrow", "sentence_transformers", "pandas", "sklearn"):
    sys.modules[name] = None
from benchmarks.gpu import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture(scope="module", params=list(SHAPES))
def tiny_model(request, tmp_path_factory):
    """Return a tiny random model: its shape, its folder, words, its tokenizer."""
    shape = SHAPES[request.param].tiny()
    rng = np.random.default_rng(0)
    words = random_model.make_words(500, rng)
    tokenizer = random_model.train_tokenizer(shape, words, rng)
    folder = random_model.save(shape, tokenizer, tmp_path_factory.mktemp("random"), gpu.MAX_TOKENS)
    return shape, folder, words, tokenizer


@pytest.mark.slow
def test_a_machine_with_torch_and_transformers_alone_runs_it(tmp_path):
    options = ["--device", "cpu", "--quick", "--cases", "roberta-large-corpus", "--output", str(tmp_path / "lines")]
    ended = child.run([sys.executable, "-c", WITHOUT, *options], {"OMP_NUM_THREADS": "1"})
    figures = json.loads((tmp_path / "lines").read_text())
    assert figures["case"] == "roberta-large-corpus"
    assert set(figures["contenders"]) == {gpu.OURS, gpu.RIVAL, gpu.TOKENISING}
    assert all(contender["per_second"] > 0 for contender in figures["contenders"].values())
    assert "instead of sentence-transformers (ModuleNotFoundError" in figures["settings"][gpu.RIVAL]
    assert 0 < figures["share_of_plain_products"] < 1
    assert figures["bits_differing_from_float32"] < 0.01  # not 0 where the processor has bfloat16
    assert "Compared with plain matrix products" in ended.printed


def test_words_are_distinct_and_the_frequent_ones_short():
    rng = np.random.default_rng(0)
    words = random_model.make_words(2000, rng)
    assert len(set(words)) == 2000
    drawn = [len(words[i]) for i in random_model.draw(words, 5000, rng)]
    assert np.mean(drawn) < np.mean([len(word) for word in words])
    assert max(random_model.draw(words[:3], 1000, rng)) == 2


@pytest.mark.parametrize("tokens", [3, 32, 500])
def test_texts_have_about_the_tokens_asked_for(tiny_model, tokens):
    _, _, words, tokenizer = tiny_model
    texts = random_model.make_texts(tokenizer, words, np.full(40, tokens), seed=0)
    token_counts = [len(tokenizer.encode(text).ids) for text in texts]
    assert len(texts) == 40
    assert min(token_counts) >= 3
    assert abs(np.mean(token_counts) - tokens) < 3


def test_lengths_have_the_corpus_spread(tmp_path):
    drawn = random_model.draw_lengths(20_000, random_model.CORPUS_LENGTHS, seed=0)
    assert 20 < np.median(drawn) < 28  # 24 tokens; the mean is 40
    assert 35 < drawn.mean() < 45
    assert drawn.max() == 512
    (tmp_path / "own.json").write_text(json.dumps({"texts": [0, 0, 0, 3, 0, 1]}))
    own = random_model.draw_lengths(400, tmp_path / "own.json", seed=0)
    assert set(own.tolist()) == {3, 5}
    assert 250 < (own == 3).sum() < 350


def test_rivals_give_the_encoders_vectors(tiny_model):
    shape, folder, words, tokenizer = tiny_model
    optional("sentence_transformers")
    texts = random_model.make_texts(tokenizer, words, np.arange(3, 43), seed=1)
    expected = encoder.load(gpu._bundle(folder, shape), "cpu", "float32").features(texts)
    for build in (sentence_transformers, padded_loop):
        vectors = build(folder, torch.device("cpu"), gpu.MAX_TOKENS)(texts, 7)
        assert vectors.dtype == np.float16
        np.testing.assert_allclose(vectors, expected, atol=0.03)


def test_the_rival_is_taken_at_its_best_batch_size(tiny_model, monkeypatch):
    from benchmarks import rivals_gpu

    used = []

    def build(*_):
        return lambda texts, size: used.append(size)

    monkeypatch.setattr(rivals_gpu, "sentence_transformers", build)
    monkeypatch.setattr(rivals_gpu, "best_setting", lambda settings, run, thread: settings[1])
    encode, note = best_rival(tiny_model[1], torch.device("cpu"), 512, ["a"], (2, 4, 8))
    encode(["b"])
    assert used[-1] == 4
    assert note == "sentence-transformers; SDPA, batches of 4"


def test_differing_bits_are_told_apart(tiny_model):
    shape, folder, words, tokenizer = tiny_model
    texts = random_model.make_texts(tokenizer, words, np.full(300, 12), seed=1)
    half = encoder.load(gpu._bundle(folder, shape), "cpu", "bfloat16")
    codes = half.encode(texts).bits
    share = gpu._differing(texts, codes, half)
    assert 0 < share < 0.1
    assert gpu._differing(texts, ~codes, half) == pytest.approx(1 - share, abs=1e-4)
    assert bits.hamming_distance(codes, codes) == 0


@pytest.mark.parametrize("name", list(SHAPES))
def test_tiny_shapes_differ_in_size_alone(name):
    shape = SHAPES[name]
    assert shape.tiny().family == shape.family
    assert all(
        small < large for small, large in zip(dataclasses.astuple(shape.tiny())[1:], dataclasses.astuple(shape)[1:])
    )

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import encoder
import heads
from benchmarks import (
    agreement,
    child,
    corpus,
    encode,
    heads_cost,
    kernel,
    label,
    make_corpus,
    random_store,
    read,
    rivals_beam,
    rivals_onnx,
    roofline,
)
from benchmarks.rivals import Task
from pipelines import annotate
from tests.conftest import optional, random_texts
from transforms.match import match_shards


def test_flops_match_torchs_counter_on_the_tiny_model(tiny_base):
    from transformers import BertModel

    model = BertModel.from_pretrained(tiny_base, add_pooling_layer=False, attn_implementation="eager").eval()
    ids = torch.randint(4, 20, (5, 17))
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(input_ids=ids, attention_mask=torch.ones_like(ids))
    config = model.config
    counted = roofline.model_flops([17] * 5, config.num_hidden_layers, config.hidden_size, config.intermediate_size)
    assert counted == counter.get_total_flops()


def test_flops_of_plain_products_match_torchs_counter():
    products = roofline.plain_products(24, width=16, inner=40, dtype=torch.float32)
    with FlopCounterMode(display=False) as counter:
        products()
    assert counter.get_total_flops() == 24 * roofline.product_flops(16, 40)


def test_random_store_is_readable_by_label(tiny_bundle, tiny_heads, tmp_path):
    store = random_store.write(tmp_path / "store", 150, encoder.describe(str(tiny_bundle)), block_rows=8)
    folders = [str(folder) for folder in tiny_heads.values()]
    arguments = ["--store", str(store), "--encoder", str(tiny_bundle), "--no_progress", "--heads", *folders]
    summary = annotate.run_label(arguments)
    assert summary.labelled == dict.fromkeys(tiny_heads, 150)
    assert summary.exit_code == 0
    assert summary.plan["units"] == 2  # 19 blocks, 16 a unit


def test_kernels_rivals_give_what_the_head_gives():
    head = kernel.random_head(64, 5)
    codes = np.random.default_rng(0).integers(0, 256, (3000, 8), np.uint8)
    np.testing.assert_allclose(kernel.numpy_logits(head)(codes), head.logits(codes), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("classes", [2, 5])
def test_scikit_learn_labels_as_the_head_does(classes):
    optional("sklearn")
    head = kernel.random_head(64, classes)
    codes = np.random.default_rng(0).integers(0, 256, (500, 8), np.uint8)
    predicted = kernel.scikit_learn(head).predict(np.unpackbits(codes, axis=1))
    assert [head.labels[i] for i in head.predict(codes).label_index] == predicted.tolist()


def test_texts_come_back_from_a_corpus_of_every_format(tmp_path):
    texts = [f"{text} {i}" for i, text in enumerate(random_texts(60, seed=3))]
    make_corpus.make(texts, tmp_path / "corpus")
    assert sorted(corpus.all_texts(tmp_path / "corpus")) == sorted(texts)
    assert len(set(corpus.sample(tmp_path / "corpus", 20))) == 20
    with pytest.raises(ValueError, match="holds 60 texts but 61 are asked for"):
        corpus.sample(tmp_path / "corpus", 61)


def test_read_compares_equal_rows_in_every_format(tmp_path):
    for path in read.write_shards(random_texts(30, seed=4), 50, tmp_path):
        (shard,) = match_shards([str(path)], str(tmp_path), corpus.READING)
        ours = [text for block in corpus.read_shard(shard) for text in block.table["text"].to_pylist()]
        assert ours == read.read_with_pyarrow(path, threads=False)["text"].to_pylist()
        assert len(ours) == 50


@pytest.mark.parametrize("task", ["sentiment", "news_topics"])  # one label a document, and several
def test_labels_agree_where_codes_are_the_same(task):
    head = heads.load(task)
    codes = np.random.default_rng(0).integers(0, 256, (20, head.bits // 8), np.uint8)
    other = codes.copy()
    other[0] = np.packbits(head.weights[0] > 0)  # the highest and the lowest score of the first class
    codes[0] = ~other[0]
    same = agreement.same_labels(head, codes, other)
    assert same[1:].all()
    assert not same[0]


def test_last_layer_of_the_default_bundle_is_the_bundle_of_the_bare_model():
    default = encoder.describe("default")
    bare = encoder.describe(str(default.find_base().folder))
    assert encode._last_layer(default).fingerprint == bare.fingerprint


def test_beams_run_inference_gives_the_encoders_vectors(tiny_base, tmp_path, monkeypatch):
    monkeypatch.setattr(rivals_beam, "BATCH_SIZES", (4,))
    monkeypatch.setattr(rivals_beam, "precisions", lambda: ("float32",))
    texts = random_texts(20, seed=5)
    ours = encoder.load(str(tiny_base), "cpu", "float32")
    rival = rivals_beam.run_inference_best(Task(str(tiny_base), ours.bundle.max_tokens, texts[:4], tmp_path, {}))
    np.testing.assert_allclose(rival.encode(texts), ours.features(texts), atol=1e-5)


def test_many_heads_are_copies_under_other_names():
    copies = heads_cost.many_heads(16)
    assert len({head.task for head in copies}) == 16
    assert copies[8].fingerprint == copies[0].fingerprint == heads.load(heads.bundled()[0]).fingerprint
    assert heads_cost.counts(16) == [1, 2, 4, 8, 16]


def test_sorted_batches_hold_every_text_once_and_keep_to_the_budget():
    token_ids = [[1] * length for length in (3, 9, 1, 4, 4, 2)]
    batches = list(rivals_onnx.sorted_batches(token_ids, batch_tokens=9))
    assert sorted(row for rows, _, _ in batches for row in rows) == list(range(6))
    for rows, ids, mask in batches:
        assert ids.size <= 9
        assert mask.sum(axis=1).tolist() == [len(token_ids[row]) for row in rows]


def test_child_is_measured_without_its_parents_memory():
    ballast = np.ones(200 << 20, np.uint8)
    ended = child.run([sys.executable, "-c", "print('hello')"])
    assert ended.printed == "hello\n"
    assert ended.peak_mb < 100 < ballast.nbytes / 2**20


def test_child_that_fails_says_so():
    with pytest.raises(child.ChildError, match="ended with 3"):
        child.run([sys.executable, "-c", "raise SystemExit(3)"])


@pytest.mark.slow
def test_label_and_its_kernel_run_at_tiny_sizes(tmp_path):
    optional("sklearn")
    printed = child.run([sys.executable, "-m", "benchmarks.kernel", "64", "1"], label.ONE_THREAD).printed
    entries = json.loads(printed.splitlines()[-1])
    assert len(entries) == len(kernel.SHAPES) + len(heads.bundled())
    assert all(entry["logits"]["ours"]["per_second"] > 0 for entry in entries)

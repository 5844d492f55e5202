"""Which runner an encoder gets, and how runners count the tokens of a batch."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from encoder import Pooling
from encoder.base import find
from encoder.forward import varlen
from encoder.forward.load import load_runner
from encoder.forward.packed import PackedRunner
from encoder.forward.padded import PaddedRunner
from encoder.forward.varlen import VarlenRunner
from encoder.tokenize import Tokenizer
from tests.encoder.alone import random_bundle
from tests.encoder.forward.test_varlen import text_by_text

CPU = torch.device("cpu")
LENGTHS = np.array([30, 10, 10, 5])


@pytest.fixture
def padded(tiny_base, tmp_path) -> PaddedRunner:
    bundle = random_bundle(tmp_path, "gpt2", tiny_base, ("mean",))
    return load_runner(bundle.find_base(), bundle.pooling, None, CPU, torch.float32)


def packed(tiny_base) -> PackedRunner:
    return load_runner(find(str(tiny_base)), Pooling((2, 3)), None, CPU, torch.float32)


def test_families_that_run_from_their_file_are_packed_on_a_processor_and_others_padded(tiny_base, padded):
    assert type(packed(tiny_base)) is PackedRunner
    assert type(padded) is PaddedRunner


@pytest.mark.parametrize("runs", [True, False])
def test_the_kernel_of_a_gpu_is_taken_where_it_runs(tiny_base, monkeypatch, runs):
    monkeypatch.setattr(varlen, "available", lambda *_: runs)
    runner = packed(tiny_base)
    assert type(runner) is (VarlenRunner if runs else PackedRunner)


def test_a_device_without_the_kernel_gets_padded_texts(tiny_base):
    runner = load_runner(find(str(tiny_base)), Pooling((2, 3)), None, torch.device("meta"), torch.float32)
    assert type(runner) is PaddedRunner


def test_texts_end_to_end_fill_a_batch_by_their_tokens_and_padded_ones_by_the_longest(tiny_base, padded):
    runner = packed(tiny_base)
    assert runner.count_tokens(LENGTHS) == 55
    assert padded.count_tokens(LENGTHS) == 120
    assert [runner.count_rows(LENGTHS, tokens) for tokens in (1, 49, 50, 1000)] == [1, 2, 3, 4]
    assert [padded.count_rows(LENGTHS, tokens) for tokens in (1, 59, 60, 90)] == [1, 1, 2, 3]


def test_all_runners_pool_the_same_features(tiny_base, monkeypatch):
    base, pooling = find(str(tiny_base)), Pooling((1, 3), ("mean", "cls", "first_2"))
    windows = Tokenizer(base.folder, 32, "", "truncate", 0)(
        ["good film", "a long dull plot of the story", "great", "bad"]
    )
    rows = np.argsort(-windows.lengths, kind="stable")
    expected = load_runner(base, pooling, None, CPU, torch.float32).run(windows, rows)
    assert expected.shape == (4, pooling.dim(32))
    monkeypatch.setattr(varlen, "available", lambda *_: True)
    monkeypatch.setattr(varlen, "kernel", lambda: text_by_text)
    torch.testing.assert_close(load_runner(base, pooling, None, CPU, torch.float32).run(windows, rows), expected)
    monkeypatch.setattr("encoder.forward.load.transformer.load", lambda *_: None)
    padded = load_runner(base, pooling, None, CPU, torch.float32)
    assert type(padded) is PaddedRunner
    torch.testing.assert_close(padded.run(windows, rows), expected)

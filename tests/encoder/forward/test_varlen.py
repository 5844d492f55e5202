"""What a GPU runs, on a processor: torch's attention kernel is replaced by attention text by text."""

from __future__ import annotations

import inspect
import itertools
import logging

import pytest
import torch

from encoder.forward import varlen
from encoder.pooling import Pooling

LENGTHS = [5, 1, 3, 3, 2]
BORDERS = torch.tensor([0, 5, 6, 9, 12, 14], dtype=torch.int32)


def loosely(query, key, value, begins, *_):
    """Attend between any borders."""
    out = torch.empty_like(query)
    for start, stop in itertools.pairwise(begins.tolist()):
        q, k, v = (tensor[start:stop].transpose(0, 1) for tensor in (query, key, value))
        out[start:stop] = ((q @ k.mT) * query.shape[-1] ** -0.5).softmax(-1).matmul(v).transpose(0, 1)
    return out


def text_by_text(query, key, value, begins, key_begins, longest, longest_key):
    """Attend as torch.nn.attention.varlen.varlen_attn does, (tokens, heads, size) in and out, in plain operations."""
    assert begins.dtype == torch.int32
    assert longest == longest_key == begins.diff().max()
    assert begins is key_begins
    return loosely(query, key, value, begins)


@pytest.mark.parametrize("position", ["cls", "mean", "max", "last", "first_1", "first_2", "first_4", "first_9"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_pooling_end_to_end_is_pooling_of_padded_texts(position, dtype):
    pooling = Pooling(layers=(2, 0), positions=tuple(dict.fromkeys((position, "mean"))))
    hidden = [torch.randn(14, 6, generator=torch.Generator().manual_seed(layer)).to(dtype) - 1 for layer in range(3)]
    mask = torch.arange(5) < torch.tensor(LENGTHS)[:, None]
    padded = [torch.full((5, 5, 6), 99.0, dtype=dtype) for _ in hidden]
    for frame, flat in zip(padded, hidden):
        frame[mask] = flat
    found = varlen.pool(pooling, tuple(hidden), BORDERS)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, pooling(tuple(padded), mask))


def test_average_segments_takes_the_rows_between_borders():
    rows = torch.tensor([[1.0, 2.0], [3.0, 4.0], [10.0, 20.0]])
    assert varlen.average_segments(rows, torch.tensor([0, 2, 3])).tolist() == [[2, 3], [10, 20]]


def test_attention_stays_within_a_text(monkeypatch):
    monkeypatch.setattr(varlen, "kernel", lambda: text_by_text)
    q, k, v = torch.randn(3, 14, 4, 8, generator=torch.Generator().manual_seed(0))
    batch = varlen.Batch(torch.zeros(14), torch.zeros(14), BORDERS, max_tokens=5)
    attend = torch.nn.functional.scaled_dot_product_attention
    parts = zip(*(tensor.transpose(0, 1).split(LENGTHS, dim=1) for tensor in (q, k, v)))
    expected = torch.cat([attend(*part) for part in parts], dim=1).transpose(0, 1)
    torch.testing.assert_close(varlen.attention(batch)(q, k, v), expected)


def test_the_kernel_takes_the_arguments_it_is_given():
    kernel = varlen.kernel()
    if kernel is None:
        pytest.skip("torch before 2.10")
    names = list(inspect.signature(kernel).parameters)[:7]
    assert names == ["query", "key", "value", "cu_seq_q", "cu_seq_k", "max_q", "max_k"]


@pytest.mark.parametrize(
    ("device", "dtype", "suits"),
    [("cuda", torch.bfloat16, True), ("cuda", torch.float32, False), ("cpu", torch.bfloat16, False)],
)
def test_the_kernel_is_made_for_half_precision_on_a_gpu(device, dtype, suits):
    assert varlen.suits(torch.device(device), dtype) == suits


@pytest.fixture
def on_a_processor(monkeypatch):
    """Let the kernel be tried out here: gives what calls a kernel in its place, on four heads of eight."""
    monkeypatch.setattr(varlen, "suits", lambda *_: True)

    def available(attend) -> bool:
        monkeypatch.setattr(varlen, "kernel", lambda: attend)
        return varlen.available(4, 8, torch.device("cpu"), torch.bfloat16)

    return available


def test_a_kernel_that_gives_the_exact_sums_is_taken(on_a_processor):
    assert on_a_processor(text_by_text)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda q, k, v, *_: v,  # each token sees itself alone
        lambda q, k, v, begins, *_: loosely(q, k, v, begins[[0, -1]]),  # all texts are one
        lambda q, k, v, begins, *_: loosely(4 * q, k, v, begins),  # another scale
        lambda q, k, v, begins, *_: loosely(q, k, v, begins).flip(1),  # heads in another order
        lambda q, *_: torch.full_like(q, torch.nan),
    ],
)
def test_a_kernel_that_is_off_is_not_taken(on_a_processor, caplog, wrong):
    assert not on_a_processor(wrong)
    assert "attention over texts of different lengths is off by" in caplog.text


def test_a_kernel_that_fails_or_is_not_there_leaves_texts_padded(on_a_processor, caplog):
    def broken(*_):
        raise RuntimeError("no kernel image")

    for kernel, said in ((broken, "no kernel image"), (None, "needs torch 2.10")):
        with caplog.at_level(logging.WARNING):
            assert not on_a_processor(kernel)
        assert said in caplog.text

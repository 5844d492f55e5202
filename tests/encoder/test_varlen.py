"""What a GPU runs, on a processor: torch's attention kernel is replaced by attention text by text."""

from __future__ import annotations

import inspect
import itertools
import logging

import pytest
import torch

from encoder import varlen
from encoder.pooling import Pooling

LENGTHS = [5, 1, 3, 3, 2]
BORDERS = torch.tensor([0, 5, 6, 9, 12, 14], dtype=torch.int32)


def text_by_text(query, key, value, begins, key_begins, longest, longest_key):
    """Attend as torch.nn.attention.varlen.varlen_attn does, (tokens, heads, size) in and out, in plain operations."""
    assert begins.dtype == torch.int32
    assert longest == longest_key == begins.diff().max()
    assert begins is key_begins
    out = torch.empty_like(query)
    for start, stop in itertools.pairwise(begins):
        q, k, v = (tensor[start:stop].transpose(0, 1) for tensor in (query, key, value))
        out[start:stop] = ((q @ k.mT) * query.shape[-1] ** -0.5).softmax(-1).matmul(v).transpose(0, 1)
    return out


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


def test_average_takes_the_rows_between_borders():
    rows = torch.tensor([[1.0, 2.0], [3.0, 4.0], [10.0, 20.0]])
    assert varlen.average(rows, torch.tensor([0, 2, 3])).tolist() == [[2, 3], [10, 20]]


def test_attention_stays_within_a_text(monkeypatch):
    monkeypatch.setattr(varlen, "kernel", lambda: text_by_text)
    q, k, v = torch.randn(3, 14, 4, 8, generator=torch.Generator().manual_seed(0))
    batch = varlen.Batch(torch.zeros(14), torch.zeros(14), BORDERS, longest=5)
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


class Device:
    """Stand for a GPU: a type that tensors can be made on."""

    type = "cuda"


@pytest.fixture
def zeros_anywhere(monkeypatch):
    """Make tensors on the processor whatever the device."""
    for name in ("zeros", "tensor"):
        make = getattr(torch, name)
        monkeypatch.setattr(torch, name, lambda *args, make=make, device=None, **more: make(*args, **more))


def test_only_what_the_kernel_can_do_is_asked_of_it(monkeypatch, zeros_anywhere):
    asked = []

    def attend(query, *rest):
        asked.append(tuple(query.shape))
        return query

    monkeypatch.setattr(varlen, "kernel", lambda: attend)
    assert varlen.available(4, 8, Device, torch.bfloat16)
    assert asked == [(2, 4, 8)]
    assert not varlen.available(4, 8, Device, torch.float32)
    assert not varlen.available(4, 8, torch.device("cpu"), torch.bfloat16)
    assert len(asked) == 1


def test_a_kernel_that_fails_or_is_not_there_leaves_texts_padded(monkeypatch, zeros_anywhere, caplog):
    def broken(*_):
        raise RuntimeError("no kernel image")

    for kernel, said in ((lambda: broken, "no kernel image"), (lambda: None, "2.10 has it")):
        monkeypatch.setattr(varlen, "kernel", kernel)
        with caplog.at_level(logging.WARNING):
            assert not varlen.available(4, 8, Device, torch.bfloat16)
        assert said in caplog.text

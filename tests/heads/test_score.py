from __future__ import annotations

import numpy as np
import pytest
import torch

from heads import score
from heads.calibrate import portable_exp, probabilities
from tests.heads.data import KINDS, make_head, random_codes


@pytest.fixture
def threads():
    """Puts torch's number of threads back after the test."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def exact_sums(codes, weights):
    signs = np.unpackbits(codes, axis=1).astype(np.int64) * 2 - 1
    return signs @ weights.T.astype(np.int64)


@pytest.mark.parametrize("bits", [8, 64, 1024, 1152, 4096])
@pytest.mark.parametrize("classes", [1, 2, 7, 44])
def test_both_kernels_give_the_exact_integer_sums(bits, classes):
    limit = score.weight_limit(bits)
    rng = np.random.default_rng(bits + classes)
    weights = rng.integers(-limit, limit + 1, (classes, bits)).astype(np.int16)
    codes = random_codes(50, bits)
    wanted = exact_sums(codes, weights)
    assert np.array_equal(score.product_sums(codes, weights), wanted)
    assert np.array_equal(score.table_sums(codes, score.byte_table(weights)), wanted)


@pytest.mark.parametrize("bits", [8, 512, 520, 1152, 8192, 2**16])
@pytest.mark.parametrize("sign", [-1, 1])
def test_sums_stay_exact_with_every_weight_at_the_limit(bits, sign):
    weights = np.full((2, bits), sign * score.weight_limit(bits), np.int16)
    codes = np.stack([np.zeros(bits // 8, np.uint8), np.full(bits // 8, 255, np.uint8)])
    wanted = exact_sums(codes, weights)
    assert np.abs(wanted).max() < 2**24
    assert np.array_equal(score.product_sums(codes, weights), wanted)
    assert np.array_equal(score.table_sums(codes, score.byte_table(weights)), wanted)


def test_weight_limit_is_the_largest_that_stays_below_two_to_the_24th():
    for bits in (520, 1024, 1152, 4096):
        assert score.weight_limit(bits) * bits < 2**24 <= (score.weight_limit(bits) + 1) * bits
    assert score.weight_limit(8) == 32767


def test_first_bit_of_a_byte_is_its_highest_as_packbits_has_it():
    weights = np.zeros((1, 16), np.int16)
    weights[0, 8] = 5
    codes = np.packbits(np.eye(16, dtype=np.uint8), axis=1)
    sums = score.product_sums(codes, weights)
    assert sums[:, 0].tolist() == [5 if i == 8 else -5 for i in range(16)]


def test_kernels_cross_chunk_borders():
    rows = 2 * max(score.CHUNK_ROWS, score.TABLE_CHUNK_ROWS) + 3
    codes, head = random_codes(rows, 64), make_head(bits=64)
    table = score.byte_table(head.weights)
    wanted = exact_sums(codes, head.weights)
    assert np.array_equal(score.product_sums(codes, head.weights), wanted)
    assert np.array_equal(score.table_sums(codes, table), wanted)


def test_table_is_left_where_it_would_be_too_large():
    assert score.table_pays(44, 1152)
    assert not score.table_pays(5000, 4096)


@pytest.mark.parametrize("kind", KINDS)
def test_scores_are_the_same_bytes_row_by_row_in_chunks_and_together(kind):
    head, codes = make_head(kind), random_codes(300)
    together = head.score(codes)
    one_by_one = np.concatenate([head.score(codes[i : i + 1]) for i in range(len(codes))])
    in_chunks = np.concatenate([head.score(part) for part in np.array_split(codes, 7)])
    backwards = head.score(codes[::-1])[::-1]
    assert together.tobytes() == one_by_one.tobytes() == in_chunks.tobytes() == backwards.tobytes()


@pytest.mark.parametrize("kind", KINDS)
def test_scores_are_the_same_bytes_with_one_thread_and_two(kind, threads):
    head, codes = make_head(kind, bits=1152), random_codes(3000, 1152)
    threads(1)
    with_one = head.score(codes).tobytes()
    threads(2)
    assert head.score(codes).tobytes() == with_one


@pytest.mark.parametrize("kind", KINDS)
def test_scores_are_the_same_bytes_by_either_kernel(kind, monkeypatch):
    head, codes = make_head(kind), random_codes(100)
    monkeypatch.setattr(score, "table_pays", lambda classes, bits: True)
    by_table = head.score(codes).tobytes()
    monkeypatch.setattr(score, "table_pays", lambda classes, bits: False)
    assert head.score(codes).tobytes() == by_table


def test_scores_cross_the_chunk_border_of_the_head(monkeypatch):
    head, codes = make_head("multi"), random_codes(100)
    wanted = head.score(codes).tobytes()
    monkeypatch.setattr("heads.head.CHUNK_ROWS", 33)
    assert head.score(codes).tobytes() == wanted


def test_portable_exp_is_right_to_the_last_digit_but_one():
    x = np.linspace(-87, 87, 200_001, dtype=np.float32)
    true = np.exp(x.astype(np.float64))
    assert np.max(np.abs(portable_exp(x) - true) / true) < 1.2e-7
    assert portable_exp(np.float32([0]))[0] == 1
    assert np.isfinite(portable_exp(np.float32([-np.inf, np.inf]))).all()


def test_portable_exp_keeps_its_bytes_on_every_machine():
    x = np.linspace(-80, 80, 9, dtype=np.float32)
    pinned = "baecbf05c9702d1492bc9c2233a40d310000803f4458e74d6a10515ce5edbc6acebb2a79"
    assert portable_exp(x).tobytes().hex() == pinned


def test_probabilities_are_softmax_and_sigmoid():
    logits = np.random.default_rng(0).normal(0, 5, (200, 6)).astype(np.float32)
    powers = np.exp(logits.astype(np.float64) / 1.5)
    softmax = probabilities(logits, "single", 1.5)
    assert softmax.dtype == np.float32
    np.testing.assert_allclose(softmax, powers / powers.sum(axis=1, keepdims=True), rtol=2e-6)
    sigmoid = probabilities(logits, "multi", 1.5)
    np.testing.assert_allclose(sigmoid, powers / (1 + powers), rtol=2e-6)


@pytest.mark.parametrize("kind", ["single", "multi"])
def test_huge_logits_give_probabilities_not_nan(kind):
    scores = probabilities(np.float32([[1e30, -1e30, 0], [500, 400, -500]]), kind, 0.05)
    assert np.isfinite(scores).all()
    assert scores.min() >= 0
    assert scores.max() <= 1

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

from heads import score
from heads.calibrate import portable_exp, probabilities
from tests.heads.data import KINDS, make_head, random_codes


@pytest.fixture
def threads():
    """Restore torch's number of threads after the test."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def exact_sums(codes, weights):
    signs = np.unpackbits(codes, axis=1).astype(np.int64) * 2 - 1
    return signs @ weights.T.astype(np.int64)


int8 = pytest.param(
    "int8", marks=pytest.mark.skipif(not score.has_int8_instructions(), reason="the processor has neither VNNI nor AMX")
)
KERNELS = ("matmul", "lookup_table", int8)


def sums_by(kernel, codes, weights):
    if kernel == "matmul":
        return score.matmul_sums(codes, weights)
    if kernel == "lookup_table":
        return score.lookup_table_sums(codes, score.lookup_table(weights))
    return score.int8_sums(codes, score.int8_digits(weights), weights)


def choose(kernel, monkeypatch):
    """Make every head take one kernel."""
    monkeypatch.setattr(score, "prefer_int8", lambda: kernel == "int8")
    monkeypatch.setattr(score, "prefer_lookup_table", lambda classes, bits: kernel == "lookup_table")


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("bits", [8, 64, 1024, 1152, 4096])
@pytest.mark.parametrize("classes", [1, 2, 7, 44])
def test_every_kernel_gives_the_exact_integer_sums(kernel, bits, classes):
    limit = score.weight_limit(bits)
    rng = np.random.default_rng(bits + classes)
    weights = rng.integers(-limit, limit + 1, (classes, bits)).astype(np.int16)
    codes = random_codes(50, bits)
    sums = sums_by(kernel, codes, weights)
    assert sums.dtype == np.float32
    assert np.array_equal(sums.T, exact_sums(codes, weights))


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("bits", [8, 512, 520, 1152, 8192, 2**16])
@pytest.mark.parametrize("sign", [-1, 1])
def test_sums_stay_exact_with_every_weight_at_the_limit(kernel, bits, sign):
    weights = np.full((2, bits), sign * score.weight_limit(bits), np.int16)
    codes = np.stack([np.zeros(bits // 8, np.uint8), np.full(bits // 8, 255, np.uint8)])
    wanted = exact_sums(codes, weights)
    assert np.abs(wanted).max() < 2**24
    assert np.array_equal(sums_by(kernel, codes, weights).T, wanted)


def test_weight_limit_is_the_largest_that_stays_below_two_to_the_24th():
    for bits in (520, 1024, 1152, 4096):
        assert score.weight_limit(bits) * bits < 2**24 <= (score.weight_limit(bits) + 1) * bits
    assert score.weight_limit(8) == 32767


@pytest.mark.parametrize("kernel", KERNELS)
def test_first_bit_of_a_byte_is_its_highest_as_packbits_has_it(kernel):
    weights = np.zeros((1, 16), np.int16)
    weights[0, 8] = 5
    codes = np.packbits(np.eye(16, dtype=np.uint8), axis=1)
    assert sums_by(kernel, codes, weights)[0].tolist() == [5 if i == 8 else -5 for i in range(16)]


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("rows", [0, 1, 63, 64, 65, 700])
def test_kernels_cross_chunk_borders(kernel, rows, monkeypatch):
    monkeypatch.setattr(score, "CHUNK_BYTES", 1)  # 64 rows, the least
    monkeypatch.setattr(score, "TABLE_CHUNK_ROWS", 64)
    codes, head = random_codes(rows, 64), make_head(bits=64)
    assert np.array_equal(sums_by(kernel, codes, head.weights).T, exact_sums(codes, head.weights))


@pytest.mark.parametrize("kernel", KERNELS)
def test_kernels_read_codes_that_are_not_contiguous(kernel):
    codes, head = random_codes(200, 128)[::2, ::2], make_head(bits=64)
    assert np.array_equal(sums_by(kernel, codes, head.weights).T, exact_sums(codes, head.weights))


@pytest.mark.parametrize("largest", [0, 1, 127, 128, 6241, 32639, 32640, 32767])
def test_digits_add_up_to_the_weights_and_are_as_few_as_can_be(largest):
    weights = np.array([[-largest, largest, 0, largest // 2, 1 - largest]], np.int16)
    digits = score.int8_digits(weights)
    assert digits.dtype == np.int8
    assert np.array_equal(sum(digit.astype(int) * 256**i for i, digit in enumerate(digits)), weights)
    assert len(digits) == (1 if largest < 128 else 2 if largest < 32640 else 3)


def test_a_table_that_is_too_large_for_the_caches_is_not_preferred():
    assert score.prefer_lookup_table(44, 1152)
    assert not score.prefer_lookup_table(5000, 4096)


def test_a_process_without_torch_scores_without_importing_it():
    program = (
        "import sys, numpy as np; from tests.heads.data import *; make_head().score(random_codes(9)); "
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def saturating_product(left, right):
    """Multiply as processors without VNNI do: the sum of two products is cut to 16 bits."""
    pairs = left.int()[:, :, None].mul(right.int()).unflatten(1, (-1, 2)).sum(dim=2)
    return pairs.clamp(-(2**15), 2**15 - 1).sum(dim=1).int()


@pytest.mark.parametrize("missing", ["_is_vnni_supported", "_int_mm", "mkldnn", "exact"])
def test_int8_is_not_preferred_where_it_is_absent_or_slow_or_inexact(missing, monkeypatch):
    monkeypatch.setattr(torch.cpu, "_is_vnni_supported", lambda: missing != "_is_vnni_supported", raising=False)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: missing != "mkldnn")
    if missing == "_int_mm":
        monkeypatch.delattr(torch, "_int_mm")
    elif missing == "exact":
        monkeypatch.setattr(torch, "_int_mm", saturating_product, raising=False)
    assert not score.has_int8_instructions.__wrapped__()


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
def test_scores_are_the_same_bytes_by_every_kernel(kind, monkeypatch):
    head, codes = make_head(kind), random_codes(100)
    found = set()
    for kernel in ("matmul", "lookup_table", *(["int8"] if score.has_int8_instructions() else [])):
        choose(kernel, monkeypatch)
        found.add(head.score(codes).tobytes())
    assert len(found) == 1


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

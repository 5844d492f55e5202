from __future__ import annotations

import itertools
import threading

import numpy as np
import pytest

from encoder.prefetch import prefetch, split_into_chunks
from tests.conftest import random_texts


def test_chunks_hold_every_text_once_longest_first():
    texts = random_texts(200, seed=1)
    chunks = split_into_chunks(texts, chunk_tokens=300, max_tokens=None)
    assert sorted(np.concatenate(chunks).tolist()) == list(range(200))
    assert 5 <= len(chunks) <= 40
    lengths = [[len(texts[i]) // 4 for i in chunk] for chunk in chunks]
    assert all(min(left) >= max(right) for left, right in itertools.pairwise(lengths))


def test_chunks_are_of_like_size_though_texts_are_not():
    texts = ["x" * 4 * length for length in [1000] * 4 + [10] * 400]
    tokens = [sum(len(texts[i]) // 4 for i in chunk) for chunk in split_into_chunks(texts, 2000, None)]
    assert max(tokens) <= 2000 + 1000
    assert min(tokens[:-1]) >= 1000


def test_what_is_not_read_of_a_text_does_not_fill_a_chunk():
    texts = ["x" * 40_000] * 100
    assert len(split_into_chunks(texts, chunk_tokens=2500, max_tokens=100)) == 4
    assert len(split_into_chunks(texts, chunk_tokens=2500, max_tokens=None)) == 100


def test_a_small_block_is_cut_as_well():
    assert len(split_into_chunks(["same length"] * 40, chunk_tokens=100_000, max_tokens=None)) == 4
    assert [chunk.tolist() for chunk in split_into_chunks([""], 100_000, None)] == [[0]]
    assert split_into_chunks([], 100_000, None) == []


def test_results_come_in_order_though_threads_end_in_another():
    second_done = threading.Event()

    def wait_for_the_second(item: int) -> int:
        if item == 0:
            assert second_done.wait(10)  # never set, were the items done one after the other
        elif item == 1:
            second_done.set()
        return item * 10

    assert list(prefetch(wait_for_the_second, range(6), threads=2)) == [0, 10, 20, 30, 40, 50]


def test_no_more_is_begun_than_is_soon_needed():
    taken = []
    results = prefetch(lambda item: item, (taken.append(item) for item in range(100)), threads=2)
    next(results)
    results.close()
    assert len(taken) == 4  # the one that was given, two under way, one that waits


def test_an_error_in_a_thread_reaches_the_caller_in_its_place():
    def fail_at_three(item: int) -> int:
        if item == 3:
            raise ValueError("number three")
        return item

    results = prefetch(fail_at_three, range(1000))
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="number three"):
        next(results)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("prefetch")]


def test_leaving_early_ends_the_threads():
    results = prefetch(lambda item: item, range(1000))
    assert next(results) == 0
    results.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("prefetch")]

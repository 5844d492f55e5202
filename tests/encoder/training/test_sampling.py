from __future__ import annotations

import itertools

import numpy as np
import pytest

from encoder.training.sampling import batches, shares, split_by_tokens, split_evenly

LENGTHS = [np.random.default_rng(i).integers(3, 40, n) for i, n in enumerate((50, 400, 30))]


def take(count: int, seed: int = 0, batch_texts: int = 8):
    return list(itertools.islice(batches(LENGTHS, shares([50, 400, 30], 0.5), batch_texts, seed), count))


@pytest.mark.parametrize(("power", "expected"), [(0, [0.5, 0.5]), (1, [0.1, 0.9]), (0.5, [0.25, 0.75])])
def test_tasks_are_drawn_by_their_size_to_a_power(power, expected):
    np.testing.assert_allclose(shares([100, 900], power), expected)


def test_a_large_power_of_large_sizes_draws_the_largest_alone():
    np.testing.assert_allclose(shares([45_000, 1_400], 400), [1, 0])


def test_unlabelled_texts_take_their_share_of_all_draws():
    np.testing.assert_allclose(shares([100, 900], 0.5, 10, 0.2), [0.2, 0.6, 0.2])
    np.testing.assert_allclose(shares([100, 900], 0.5, 0, 0.2), [0.25, 0.75])


def test_the_same_seed_draws_the_same_batches_and_another_others():
    same = [all(map(np.array_equal, a, b)) for a, b in zip(take(40), take(40))]
    assert all(same)
    assert not all(np.array_equal(a.row, b.row) for a, b in zip(take(40), take(40, seed=1)))


def test_every_batch_is_full_and_its_longest_text_first():
    for batch in take(50):
        lengths = [LENGTHS[s][r] for s, r in zip(*batch)]
        assert len(lengths) == 8
        assert lengths == sorted(lengths, reverse=True)


def test_a_batch_holds_texts_of_like_length_of_several_tasks():
    taken = take(64)
    padding = [1 - np.mean(ls) / max(ls) for ls in ([LENGTHS[s][r] for s, r in zip(*batch)] for batch in taken)]
    assert np.mean(padding) < 0.1
    assert np.mean([len(np.unique(batch.source)) > 1 for batch in taken]) > 0.9


def test_no_row_is_drawn_again_before_all_of_its_task_were():
    drawn = np.concatenate([batch.row[batch.source == 1] for batch in take(16 * 7)])
    assert len(drawn) > 400
    counts = np.bincount(drawn, minlength=400)
    assert counts.max() - counts.min() <= 1


def test_shares_are_held_to_over_many_batches():
    counts = np.bincount(np.concatenate([batch.source for batch in take(480)]), minlength=3)
    np.testing.assert_allclose(counts / counts.sum(), shares([50, 400, 30], 0.5), atol=0.03)


def test_passes_hold_no_more_tokens_than_asked_and_every_row_once():
    lengths = np.array([50, 40, 30, 9, 8, 7, 3])
    cuts = split_by_tokens(lengths, 60)
    assert [lengths[cut].tolist() for cut in cuts] == [[50], [40], [30, 9], [8, 7, 3]]
    assert split_by_tokens(lengths, 1) == [slice(i, i + 1) for i in range(7)]


def test_passes_that_compare_their_rows_are_of_one_size():
    lengths = np.array([50, 40, 30, 9, 8, 7, 3])
    assert split_evenly(lengths, 350) == [slice(0, 7)]
    assert split_evenly(lengths, 349) == [slice(0, 3), slice(3, 7)]
    assert split_evenly(lengths, 100) == [slice(0, 1), slice(1, 3), slice(3, 5), slice(5, 7)]
    longest = np.array([282] * 32)  # 29 fit: not 29 and 3
    assert split_evenly(longest, 8192) == [slice(0, 16), slice(16, 32)]
    assert split_evenly(lengths[:0], 60) == []

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from pipelines.models.labelled import DataError
from pipelines.models.split import hold_out


def texts(count: int) -> list[str]:
    return [f"text {number}" for number in range(count)]


def shuffled(values: list) -> list:
    return [values[i] for i in np.random.default_rng(3).permutation(len(values))]


def test_each_label_gives_its_share_and_rows_keep_their_order():
    labels = shuffled(["a"] * 700 + ["b"] * 200 + ["c"] * 100)
    (fitted, fitted_labels), (held, held_labels) = hold_out((texts(1000), labels), "single", 0.2)
    counts = Counter(held_labels)
    assert all(abs(counts[label] - rows) <= 1 for label, rows in (("a", 140), ("b", 40), ("c", 20)))
    assert sorted(fitted + held) == sorted(texts(1000))
    for part, its_labels in ((fitted, fitted_labels), (held, held_labels)):
        rows = [int(text.split()[1]) for text in part]
        assert rows == sorted(rows)
        assert its_labels == [labels[row] for row in rows]


def test_rows_are_drawn_at_random_within_a_label_and_each_time_alike():
    rows = texts(400), ["a", "b"] * 200
    _, (held, _) = hold_out(rows, "single", 0.25)
    numbers = np.array([int(text.split()[1]) for text in held])
    assert abs(numbers.mean() - 200) < 40
    assert len(set(np.diff(numbers))) > 5
    assert hold_out(rows, "single", 0.25)[1][0] == held


def test_a_label_of_one_row_stays_in_training():
    labels = ["a"] * 50 + [f"rare {number}" for number in range(50)]
    (_, fitted), (_, held) = hold_out((texts(100), labels), "single", 0.3)
    assert set(fitted) == set(labels)
    assert set(held) == {"a"}


def test_rows_of_several_labels_are_split_by_their_rarest_one():
    labels = shuffled([["common"]] * 300 + [["common", "rare"]] * 100 + [[]] * 100 + [["once"]])
    (_, fitted), (_, held) = hold_out((texts(501), labels), "multi", 0.2)
    assert abs(sum("rare" in row for row in held) - 20) <= 1
    assert abs(held.count([]) - 20) <= 1
    assert ["once"] in fitted


def test_numbers_are_held_out_over_their_whole_range():
    values = np.random.default_rng(0).gamma(1, size=500).tolist()
    (_, fitted), (_, held) = hold_out((texts(500), values), "regression", 0.2)
    ranks = np.searchsorted(np.sort(values), np.sort(held))
    assert (ranks // 5).tolist() == list(range(100))
    assert len(fitted) == 400


def test_no_text_is_in_both():
    (fitted, _), (held, _) = hold_out((texts(50) * 4, ["a", "b"] * 100), "single", 0.1)
    assert not set(fitted) & set(held)
    assert (len(fitted), len(held)) == (180, 20)


def test_too_few_rows_to_hold_any_out_are_refused():
    with pytest.raises(
        DataError, match=r"the 3 training rows are too few to hold out 0.2 of them .* give --validation"
    ):
        hold_out((texts(3), ["a", "b", "a"]), "single", 0.2)

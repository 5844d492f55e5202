from __future__ import annotations

import numpy as np
import pytest

from encoder.training.tasks import sample_rows
from encoder.training.validation import score


def test_single_labels_are_scored_by_accuracy():
    assert score(np.array([[1, 0], [0, 1], [0, 1]], np.float32), np.array([0, 1, 0]), "single") == pytest.approx(2 / 3)


def test_multi_labels_are_scored_by_micro_f1():
    logits = np.array([[1, -1], [1, 1]], np.float32)
    assert score(logits, np.array([[True, False], [False, True]]), "multi") == pytest.approx(4 / 5)
    assert score(-np.ones((2, 2), np.float32), np.zeros((2, 2), bool), "multi") == 0


def test_regressions_are_scored_by_correlation():
    values = np.array([1.0, 2.0, 4.0])
    assert score((3 * values[:, None] + 1).astype(np.float32), values, "regression") == pytest.approx(1)
    assert score(-values[:, None].astype(np.float32), values, "regression") == pytest.approx(-1)
    assert score(np.ones((3, 1), np.float32), values, "regression") == 0


def test_the_same_rows_are_looked_at_each_time():
    assert sample_rows(5, 10, 0).tolist() == [0, 1, 2, 3, 4]
    rows = sample_rows(1000, 10, 0)
    assert len(set(rows.tolist())) == 10
    assert np.array_equal(rows, sample_rows(1000, 10, 0))

from __future__ import annotations

import numpy as np
import pytest

from study.records import by_task, mean, percent_mean, sampling_error, select

RECORDS = [
    {"task": "a", "seed": 0, "value": 0.5, "code": "bits"},
    {"task": "b", "seed": 0, "value": 0.7, "code": "bits"},
    {"task": "a", "seed": 1, "value": 0.6, "code": "bits"},
    {"task": "b", "seed": 1, "value": 0.8, "code": "bits"},
    {"task": "a", "seed": 2, "value": 0.9, "code": "bits"},  # its other task is still to come
    {"task": "a", "seed": None, "value": 0.1, "code": "floats"},
]


def test_spread_is_of_the_seeds_means():
    found = mean(select(RECORDS, code="bits"))
    assert found.value == pytest.approx(0.65)
    assert found.spread == pytest.approx(0.0707, abs=1e-4)
    assert found.seeds == 2
    assert percent_mean(found) == "65.0 ± 7.1"


def test_one_run_has_no_spread():
    assert percent_mean(mean(select(RECORDS, code="floats"))) == "10.0"
    assert percent_mean(mean([])) == "–"


def test_tasks_are_averaged_over_seeds():
    assert by_task(select(RECORDS, code="bits")) == pytest.approx({"a": 2 / 3, "b": 0.75})


def test_sampling_error_is_that_of_two_independent_draws():
    draws = np.random.default_rng(0)
    shares, rows = {"a": 0.9, "b": 0.3}, {"a": 50, "b": 400}
    means = [sum(draws.binomial(rows[t], shares[t], 20_000) / rows[t] for t in shares) / 2 for _ in range(2)]
    assert sampling_error(shares, rows) == pytest.approx(np.std(means[0] - means[1]), rel=0.03)

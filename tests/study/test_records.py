from __future__ import annotations

import pytest

from study.records import by_task, mean, percent_mean, select

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

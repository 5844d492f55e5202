from __future__ import annotations

import pytest

from study.costs import break_even, by_round, cheaper_up_to, cost

OURS = {"shared": 7.0, "each": 0.01}


@pytest.mark.parametrize(
    ("rival", "tasks"),
    [
        ({"shared": 0.0, "each": 7.5}, 1),  # the very first task is cheaper
        ({"shared": 0.0, "each": 3.6}, 2),
        ({"shared": 0.0, "each": 7.01}, 1),  # the same cost
        ({"shared": 0.0, "each": 1.0}, 8),
        ({"shared": 0.0, "each": 0.005}, None),
        ({"shared": 6.0, "each": 0.01}, None),
        ({"shared": 8.0, "each": 0.005}, None),  # cheaper at first, but not from some number on
    ],
)
def test_break_even_is_the_first_number_of_tasks_that_costs_no_more(rival, tasks):
    assert break_even(OURS, rival) == tasks
    if tasks is not None:
        assert cost(OURS, tasks) <= cost(rival, tasks)
        assert tasks == 1 or cost(OURS, tasks - 1) > cost(rival, tasks - 1)


@pytest.mark.parametrize(
    ("rival", "tasks"),
    [
        ({"shared": 8.0, "each": 0.005}, 200),
        ({"shared": 7.0, "each": 0.005}, None),  # more expensive from the first task
        ({"shared": 0.0, "each": 3.6}, None),  # cheaper from two tasks on, without a limit
        ({"shared": 8.0, "each": 0.01}, None),
    ],
)
def test_a_rival_that_is_dearer_at_first_is_cheaper_from_some_number_of_tasks_on(rival, tasks):
    assert cheaper_up_to(OURS, rival) == tasks
    if tasks is not None:
        assert cost(OURS, tasks - 1) <= cost(rival, tasks - 1)
        assert cost(OURS, tasks + 1) > cost(rival, tasks + 1)


def test_every_round_alone_has_its_verdict():
    seconds = {"encoder": [7.0, 3.03, 5.03], "fine-tuned": [6.0, 6.0, 6.0], "student": [4.0, 4.0, 4.0]}
    seconds |= {"heads": [3.2, 3.2, 3.2], "float heads": [0.0, 0.0, 0.0], "TF-IDF": [1.0, 1.0, 1.0]}
    found = by_round(seconds, documents=10, tasks=2)
    assert [one["break_even"] for one in found["student"]] == [2, 1, 2]
    assert [one["break_even"] for one in found["sentence embedding"]] == [None] * 3
    assert [one["cheaper_up_to"] for one in found["sentence embedding"]] == [None, 59, 19]

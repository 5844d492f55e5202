from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from encoder import EncoderError
from encoder.training.tasks import Rows, Task, digest
from tests.encoder.labelled import make_task


@pytest.mark.parametrize(
    ("kind", "targets", "message"),
    [
        ("single", np.zeros(4, np.int64), "task loud: the training rows have one class only"),
        ("multi", np.zeros((4, 3), bool), "task loud: no training row has a label"),
        ("regression", np.full(4, 2.5), "task loud: all training rows have the same value 2.5"),
        ("regression", np.array([1e200, -1e200, 0, 0]), "task loud: its values are too large, too close"),
        ("regression", np.array([0, 1e-200, 0, 0]), "task loud: its values are too large, too close"),
        ("regression", np.array([0, np.nan, 0, 0]), "task loud: its values are too large, too close"),
        ("single", np.zeros(3, np.int64), "as many targets as texts and at least one, not 3 and 4"),
    ],
)
def test_what_cannot_be_learned_is_refused(kind, targets, message):
    with pytest.raises(EncoderError, match=message):
        dataclasses.replace(make_task(kind=kind), train=Rows(["good"] * 4, targets))


def test_one_value_is_one_value_though_its_mean_is_rounded():
    values = np.full(90, 0.1)
    assert values.std() > 0
    with pytest.raises(EncoderError, match=r"all training rows have the same value 0\.1"):
        dataclasses.replace(make_task(kind="regression"), train=Rows(["good"] * 90, values))


def test_an_empty_split_is_refused():
    with pytest.raises(EncoderError, match="validation needs as many"):
        dataclasses.replace(make_task(), validation=Rows([], np.empty(0, np.int64)))


def test_the_digest_follows_every_text_and_target():
    task = make_task()
    first = digest([task], ["a"])
    assert digest([make_task()], ["a"]) == first
    other = Rows(task.train.texts, 1 - task.train.targets)
    for changed in (
        digest([dataclasses.replace(task, train=other)], ["a"]),
        digest([dataclasses.replace(task, validation=task.train)], ["a"]),
        digest([dataclasses.replace(task, name="x")], ["a"]),
        digest([task], ["b"]),
        digest([task], []),
        digest([task], ["a", ""]),
    ):
        assert changed != first


@pytest.mark.parametrize(
    ("kind", "targets", "message"),
    [
        ("single", np.array([0, 1, 5]), "numbers of its 2 classes"),
        ("single", np.array([0, 1, -1]), "numbers of its 2 classes"),
        ("multi", np.ones((3, 3), bool), "a column for each of 2 classes"),
    ],
)
def test_targets_that_are_not_of_the_classes_are_refused(kind, targets, message):
    rows = Rows(["a", "b", "c"], targets)
    with pytest.raises(EncoderError, match=message):
        Task("mine", kind, ("x", "y"), rows, rows)

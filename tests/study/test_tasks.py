from __future__ import annotations

import shutil

import pytest

from pipelines.models.labelled import DataError
from study import __main__ as study
from study import tasks
from study.settings import TASKS
from study.tasks import GROUPS, Split, few_shot, held_out_plan, make

SIBLINGS = [{"sst2", "sst5", "mpqa"}, {"tweet_offensive", "tweet_hate", "hate_offensive"}]


def test_every_task_is_held_out_once_with_its_siblings():
    plan = held_out_plan(TASKS)
    assert sorted(task for group in plan for task in group) == sorted(TASKS)
    for siblings in SIBLINGS:
        assert sum(siblings <= set(group) for group in plan) == 1


def test_plan_holds_tasks_of_no_known_kind_out_alone():
    assert held_out_plan(["sst2", "mine", "sst5"]) == [("sst2", "sst5"), ("mine",)]


def test_siblings_alone_leave_nothing_to_train_on():
    with pytest.raises(ValueError, match="nothing is left to train on"):
        held_out_plan(GROUPS[0])


def test_samples_are_the_same_every_time_and_capped(tiny_data, tiny_settings):
    first, again = (tasks.read(tiny_data / "trec", tiny_settings) for _ in range(2))
    assert first.digest == again.digest
    assert {name: len(split) for name, split in first.splits.items()} == {"train": 100, "validation": 60, "test": 60}
    cut = first.limit_rows(20, 10)
    assert cut.splits["train"].texts == first.splits["train"].texts[:20]
    assert len(cut.splits["test"]) == 10
    assert cut.digest != first.digest


@pytest.mark.parametrize(
    ("info", "message"),
    [
        ("[]", "info.json cannot be read"),
        ('{"labels": ["a", "a"]}', "lists a label twice"),
        ('{"kind": ["single"]}', "says kind"),
        ('{"kind": "regression"}', "is a regression"),
    ],
)
def test_an_invalid_description_is_rejected(tiny_data, tiny_settings, tmp_path, info, message):
    shutil.copytree(tiny_data / "trec", tmp_path / "trec")
    (tmp_path / "trec" / "info.json").write_text(info)
    with pytest.raises(DataError, match=message):
        tasks.read(tmp_path / "trec", tiny_settings)


@pytest.mark.parametrize("info", ["{}", '{"labels": null}'])
def test_classes_that_are_not_listed_are_those_of_the_training_rows(tiny_data, tiny_settings, tmp_path, info):
    shutil.copytree(tiny_data / "trec", tmp_path / "trec")
    (tmp_path / "trec" / "info.json").write_text(info)
    assert tasks.read(tmp_path / "trec", tiny_settings).classes == ("film", "long", "short")


def test_invalid_settings_are_rejected(tiny_data, tmp_path):
    places = ["--data", str(tiny_data), "--work", str(tmp_path), "--device", "cpu"]
    with pytest.raises(ValueError, match="--tasks names a task twice"):
        study.settings_of(study.parse([*places, "--tasks", "sst2", "trec", "sst2"]))
    with pytest.raises(ValueError, match="--shots needs 4 or more"):
        study.settings_of(study.parse([*places, "--shots", "2", "16"]))


def test_classes_without_a_training_row_leave_validation():
    splits = {"train": Split(["x", "y"], ["a", "b"]), "validation": Split(["v", "w"], ["a", "c"])}
    task = make("t", "single", ["c", "b", "a"], splits | {"test": Split(["z"], ["c"])})
    assert task.classes == ("b", "a")
    assert task.splits["validation"].texts == ["v"]
    assert task.splits["test"].labels == ["c"]


def test_few_shots_hold_so_many_rows_of_every_class(tiny_data, tiny_settings):
    task = tasks.read(tiny_data / "trec", tiny_settings)
    fit, choose = few_shot(task, 8, seed=1)
    assert not set(fit) & set(choose)
    labels = task.splits["train"].labels
    for name in task.classes:
        assert sum(labels[i] == name for i in fit) == 6
        assert sum(labels[i] == name for i in choose) == 2
    assert few_shot(task, 8, seed=2)[0].tolist() != fit.tolist()


def test_a_task_says_how_many_test_texts_it_was_trained_on():
    splits = {"train": Split(["a", "b", "c"], ["x", "y", "x"]), "validation": Split(["d"], ["x"])}
    task = make("mood", "single", ("x", "y"), splits | {"test": Split(["a", "a", "e", "b "], ["x"] * 4)})
    assert task.summary() == {
        "kind": "single", "classes": 2, "train": 3, "validation": 1, "test": 4, "test_in_train": 2
    }  # fmt: skip


def test_given_options_override_the_defaults_of_a_cpu(tiny_data, tmp_path):
    places = ["--data", str(tiny_data), "--work", str(tmp_path), "--device", "cpu"]
    assert study.settings_of(study.parse(places)).held_out_steps == 400
    asked = study.settings_of(study.parse([*places, "--held_out_steps", "9", "--rates", "1e-4"]))
    assert asked.held_out_steps == 9
    assert asked.train_steps is None
    assert asked.rates == (1e-4,)

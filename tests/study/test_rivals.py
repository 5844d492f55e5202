from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from heads.labels import to_targets
from study import rivals, steps, tasks
from study.context import Study
from study.progress import Progress
from study.rivals_finetune import Classifier, Recipe, batches, train
from study.settings import Settings

CPU = torch.device("cpu")
LOGITS = {"scores": np.array([0.5]), "train": np.zeros((1, 2), np.float32)}


def test_batches_hold_every_row_once_with_little_padding():
    lengths = np.random.default_rng(0).integers(1, 100, 1000)
    found = list(batches(lengths, np.random.default_rng(1)))
    assert sorted(np.concatenate(found).tolist()) == list(range(1000))
    padded = sum(len(rows) * lengths[rows].max() for rows in found)
    assert padded < 1.15 * lengths.sum()


def test_students_keep_the_first_or_every_second_layer(tiny_base):
    assert rivals.student_layers(6) == [(1, 2, 3), (1, 3, 5)]
    kept = Classifier(tiny_base, (1, 3), classes=2).base.encoder.layer
    assert len(kept) == 2
    whole = Classifier(tiny_base, (1, 2, 3), classes=2).base.encoder.layer
    torch.testing.assert_close(kept[1].output.dense.weight, whole[2].output.dense.weight)


@pytest.mark.parametrize("name", ["trec", "reuters_topics"])
def test_fine_tuning_learns_and_the_same_seed_gives_the_same_logits(name, tiny_data, tiny_settings, tiny_base):
    task = tasks.read(tiny_data / name, tiny_settings).limit_rows(32, 10)
    recipe = Recipe(layers=(1,), rate=1e-2, epochs=40, seed=0)
    first, again = (train(tiny_base, task, recipe, 32, CPU, half=False) for _ in range(2))
    np.testing.assert_array_equal(first["test"], again["test"])
    taught = train(tiny_base, task, recipe, 32, CPU, half=False, teacher=first["train"])
    assert not np.array_equal(taught["test"], first["test"])
    targets = to_targets(task.splits["train"].labels, task.kind, task.classes).values
    for logits in (first, taught):
        given = logits["train"] > 0 if task.kind == "multi" else logits["train"].argmax(1)
        often = np.unique(targets, return_counts=True)[1].max() / targets.size
        assert (given == targets).mean() > often + 0.03
        assert set(rivals.measure_logits(task, logits)) == {"value", "macro_f1", "validation"}


def test_classifiers_of_other_teachers_or_orders_of_classes_are_others(tiny_settings, monkeypatch):
    study, made = Study(tiny_settings), []
    monkeypatch.setattr(rivals, "train", lambda *given: made.append(given) or LOGITS)
    quiet = Progress(lambda line: None, work=1)
    one, other = Recipe((1,), 1e-3, 1, 0), Recipe((1,), 2e-3, 1, 0)
    task = study.tasks["trec"]
    turned = dataclasses.replace(task, classes=task.classes[::-1])

    def classifier(task, role, teacher):
        rivals._classifier(study, task, role, one, teacher, quiet)
        return len(made)

    assert [classifier(task, rivals.FINE_TUNED, None) for _ in range(2)] == [1, 1]
    assert classifier(turned, rivals.FINE_TUNED, None) == 2
    assert [classifier(task, rivals.STUDENT, (one, LOGITS["train"])) for _ in range(2)] == [3, 3]
    assert classifier(task, rivals.STUDENT, (other, LOGITS["train"])) == 4
    assert [given[-1] is None for given in made] == [True, True, False, False]


def test_models_are_trained_for_the_tasks_asked_for_and_no_figure_depends_on_which(tiny_settings, monkeypatch):
    some = dataclasses.replace(tiny_settings, rival_tasks=("trec", "no such task"))
    asked = []
    monkeypatch.setattr(rivals, "_classifier", lambda study, task, *_: asked.append(task.name) or LOGITS)
    monkeypatch.setattr(rivals, "measure_logits", lambda *_: {"value": 0.5})
    found = rivals._trainings(Study(some))
    assert set(asked) == {record["task"] for record in found} == {"trec"}
    assert some.decisive() == tiny_settings.decisive()
    few, all_of_them = (Study(settings) for settings in (some, tiny_settings))
    assert steps._key(few, "rivals") != steps._key(all_of_them, "rivals")
    assert steps._key(few, "costs") == steps._key(all_of_them, "costs")
    whole = Settings(Path(), Path())
    assert set(whole.rival_tasks) - set(whole.for_cpu().rival_tasks) == {"reuters_topics"}

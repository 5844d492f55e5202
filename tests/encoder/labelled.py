"""Make tasks for the tiny random model."""

from __future__ import annotations

import dataclasses

import numpy as np

from encoder.settings import BundleSettings
from encoder.training.options import TrainOptions
from encoder.training.tasks import Kind, Rows, Task
from encoder.training.train import train
from tests.conftest import random_texts

LOUD = ("good", "great", "laugh")


def rows(kind: Kind, count: int, seed: int) -> Rows:
    """Make texts labelled by the words they hold: a class, a set of classes, or how many."""
    texts = random_texts(count, seed, longest=8)
    held = np.array([[word in text.split() for word in LOUD] for text in texts])
    targets = {"single": held.any(1).astype(np.int64), "multi": held, "regression": held.sum(1).astype(np.float64)}
    return Rows(texts, targets[kind])


def make_task(name: str = "loud", kind: Kind = "single", train: int = 200, validation: int = 60, seed: int = 0) -> Task:
    classes = {"single": ("quiet", "loud"), "multi": LOUD, "regression": ()}[kind]
    return Task(name, kind, classes, rows(kind, train, seed), rows(kind, validation, seed + 1000))


QUICK = TrainOptions(steps=16, batch_texts=16, eval_steps=6, checkpoint_steps=4, eval_rows=40)
TASKS = [make_task("loud", "single"), make_task("themes", "multi", seed=1), make_task("stars", "regression", seed=2)]
UNEVEN = [make_task("loud", "single"), make_task("themes", "multi", train=70, seed=1)]
SAMPLE = random_texts(100, seed=7)


def quick(tiny_base, **changes):
    """Train on the tiny model; changes are of `TrainOptions`, `BundleSettings` or the arguments of `train`."""
    options = {k: changes.pop(k) for k in list(changes) if k in {f.name for f in dataclasses.fields(TrainOptions)}}
    made_of = {k: changes.pop(k) for k in list(changes) if k in {f.name for f in dataclasses.fields(BundleSettings)}}
    settings = BundleSettings(**{"name": "x", "base": str(tiny_base), "layers": (2, 3), "max_tokens": 32} | made_of)
    arguments = {"device": "cpu", "precision": "float32"} | changes
    tasks = arguments.pop("tasks", TASKS)
    sample = arguments.pop("sample", SAMPLE)
    return train(settings, tasks, sample, options=dataclasses.replace(QUICK, **options), **arguments)

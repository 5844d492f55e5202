"""Make tasks for the tiny random model."""

from __future__ import annotations

import numpy as np

from encoder.tasks import Kind, Rows, Task
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

"""The labelled rows that an encoder is trained on, as texts and arrays."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from encoder.base import EncoderError
from encoder.choices import LabelKind as Kind


@dataclass(frozen=True, eq=False)
class Rows:
    """n texts and their targets: single (n,) int64, multi (n, classes) bool, regression (n,) float64."""

    texts: list[str]
    targets: np.ndarray

    def __len__(self) -> int:
        return len(self.texts)


@dataclass(frozen=True, eq=False)
class Task:
    """One task of a training.

    Attributes:
        name: unique among the tasks.
        kind: "single" (one label), "multi" (any number of labels) or "regression" (a number).
        classes: in the order of the targets' numbers or columns; empty for regression.
        train: rows to learn from.
        validation: rows that choose the best state and the end of the training.
    """

    name: str
    kind: Kind
    classes: tuple[str, ...]
    train: Rows
    validation: Rows

    def __post_init__(self) -> None:
        for split, rows in (("training", self.train), ("validation", self.validation)):
            if len(rows.texts) != len(rows.targets) or len(rows) == 0:
                raise EncoderError(
                    f"task {self.name}: {split} needs as many targets as texts and at least one, "
                    f"not {len(rows.targets)} and {len(rows.texts)}"
                )
        targets = self.train.targets
        if self.kind == "single" and not 0 <= targets.min() <= targets.max() < len(self.classes):
            raise EncoderError(f"task {self.name}: training targets must be numbers of its {len(self.classes)} classes")
        if self.kind == "multi" and targets.shape[1:] != (len(self.classes),):
            raise EncoderError(
                f"task {self.name}: training targets need a column for each of {len(self.classes)} classes"
            )
        if self.kind == "single" and len(np.unique(targets)) < 2:
            raise EncoderError(f"task {self.name}: the training rows have one class only; training needs two")
        if self.kind == "multi" and not targets.any():
            raise EncoderError(f"task {self.name}: no training row has a label")
        if self.kind == "regression":
            if targets.min() == targets.max():
                raise EncoderError(f"task {self.name}: all training rows have the same value {targets[0]}")
            with np.errstate(over="ignore"):
                spread = targets.std()
            if not 0 < spread < np.inf:
                raise EncoderError(
                    f"task {self.name}: its values are too large, too close to each other, or not numbers"
                )

    @property
    def outputs(self) -> int:
        """Return the number of outputs of the task's head."""
        return len(self.classes) or 1


def sample_rows(count: int, max_rows: int, seed: int) -> np.ndarray:
    """Draw up to `max_rows` of `count` rows without replacement: (rows,) int64, ascending. They follow from the arguments."""
    if count <= max_rows:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).choice(count, max_rows, replace=False))


def digest(tasks: list[Task], unlabelled: list[str]) -> str:
    """Return the hex SHA-256 over all texts and targets: a checkpoint is resumed only on the same rows."""
    sha256 = hashlib.sha256()

    def add(texts: list[str]) -> None:
        for text in texts:
            content = text.encode("utf-8", "surrogatepass")
            sha256.update(len(content).to_bytes(8, "little") + content)

    for task in tasks:
        add([task.name, task.kind, *task.classes])
        for rows in (task.train, task.validation):
            add(rows.texts)
            sha256.update(np.ascontiguousarray(rows.targets).tobytes())
    add(unlabelled)
    return sha256.hexdigest()

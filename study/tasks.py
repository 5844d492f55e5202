"""Read fixed samples of the labelled tasks, and define which tasks are held out together."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from encoder.training.tasks import Rows, Task
from heads.calibrate import Kind
from heads.labels import to_targets
from pipelines.models.labelled import DataError, read_labelled
from pipelines.models.task_folders import read_info
from study.settings import Settings

SPLITS = ("train", "validation", "test")

# The tasks of a group are held out together, so that no encoder is trained on a sibling of a task it is tested on.
# `movie_reviews_long` is film sentiment, like sst2. Each group costs a training, so there are only four.
GROUPS = (
    ("sst2", "sst5", "mpqa", "movie_reviews_long"),
    ("tweet_offensive", "tweet_hate", "hate_offensive"),
    ("trec", "ag_news", "reuters_topics"),
    ("tweet_emotion", "tweet_sentiment", "tweet_emoji"),
)


@dataclasses.dataclass(frozen=True, eq=False)
class Split:
    """Texts and their labels in the form that `heads.fit` takes."""

    texts: list[str]
    labels: list[Any]

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, rows: np.ndarray | Sequence[int]) -> Split:
        return Split([self.texts[i] for i in rows], [self.labels[i] for i in rows])


@dataclasses.dataclass(frozen=True, eq=False)
class Labelled:
    """A labelled task, each split limited to the study's number of rows.

    Attributes:
        kind: "single" or "multi".
        classes: those of the training rows, in the data's order.
        digest: hash of all texts and labels.
    """

    name: str
    kind: Kind
    classes: tuple[str, ...]
    splits: dict[str, Split]
    digest: str

    @property
    def metric(self) -> str:
        """The name of the task's figure: accuracy, or micro F1 if a text has several labels."""
        return "micro_f1" if self.kind == "multi" else "accuracy"

    def summary(self) -> dict[str, Any]:
        """Return the sizes of the task, and how many of its test texts are also training texts."""
        known = set(self.splits["train"].texts)
        seen = sum(text in known for text in self.splits["test"].texts)
        rows = {name: len(split) for name, split in self.splits.items()}
        return {"kind": self.kind, "classes": len(self.classes), **rows, "test_in_train": seen}

    def training_task(self) -> Task:
        """Return the training and validation rows in the form that encoders are trained on."""
        rows = {
            name: Rows(self.splits[name].texts, to_targets(self.splits[name].labels, self.kind, self.classes).values)
            for name in ("train", "validation")
        }
        return Task(self.name, self.kind, self.classes, rows["train"], rows["validation"])

    def limit_rows(self, train_rows: int, test_rows: int) -> Labelled:
        """Return the task with at most `train_rows` training, half as many validation, and `test_rows` test rows."""
        max_rows = {"train": train_rows, "validation": max(1, train_rows // 2), "test": test_rows}
        splits = {name: split.take(range(min(len(split), max_rows[name]))) for name, split in self.splits.items()}
        return make(self.name, self.kind, self.classes, splits)


def make(name: str, kind: Kind, classes: Sequence[str], splits: dict[str, Split]) -> Labelled:
    """Return a task. Labels without a training row are left out of the classes and of the validation split."""
    known = label_names(splits["train"].labels, kind)
    splits = splits | {"validation": restrict(splits["validation"], kind, known)[0]}
    content = json.dumps([[splits[s].texts, splits[s].labels] for s in SPLITS], ensure_ascii=False)
    digest = hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()[:20]
    return Labelled(name, kind, tuple(c for c in classes if c in known), splits, digest)


def label_names(labels: Sequence[Any], kind: str) -> set[str]:
    """Return the names that occur in labels."""
    return {name for row in labels for name in ([row] if kind == "single" else row)}


def restrict(split: Split, kind: str, known: set[str]) -> tuple[Split, list[int]]:
    """Leave out labels that a head does not know: rows of a single-label task, labels of a row of a multi-label task.

    Returns:
        The remaining split, and the numbers of the rows that remain.
    """
    if kind == "single":
        rows = [i for i, label in enumerate(split.labels) if label in known]
        return split.take(rows), rows
    labels = [[name for name in row if name in known] for row in split.labels]
    return Split(split.texts, labels), list(range(len(split)))


def read(folder: Path, settings: Settings) -> Labelled:
    """Read a task from its folder: a fixed sample of each split, of at most the settings' number of rows."""
    if not (folder / "info.json").is_file():
        raise DataError(f"{folder} has no info.json; set --data to the folder that contains the task folders")
    kind, labels = read_info(folder)
    if kind == "regression":
        raise DataError(f"task {folder.name} is a regression; the study takes only single-label and multi-label tasks")
    max_rows = {"train": settings.train_rows, "validation": settings.validation_rows, "test": settings.test_rows}
    splits = {}
    for name in SPLITS:
        split = Split(*read_labelled(str(folder / f"{name}.parquet"), "text", "label", kind))
        splits[name] = split.take(np.random.default_rng(0).permutation(len(split))[: max_rows[name]])
    return make(folder.name, kind, labels or sorted(label_names(splits["train"].labels, kind)), splits)


def held_out_plan(tasks: Sequence[str]) -> list[tuple[str, ...]]:
    """Return the groups of tasks that are held out together: each task is in one group, with its siblings."""
    groups = [tuple(task for task in group if task in tasks) for group in GROUPS]
    known = {task for group in GROUPS for task in group}
    groups += [(task,) for task in tasks if task not in known]
    groups = [group for group in groups if group]
    if len(groups) < 2:
        raise ValueError(
            f"tasks {', '.join(tasks)} are all siblings: when they are held out nothing is left to train on"
        )
    return groups


def few_shot(task: Labelled, shots: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Sample `shots` training rows per class; return rows to fit on, and a quarter to choose the regularisation on."""
    if task.kind != "single":
        raise ValueError(f"task {task.name} is {task.kind}; few-shot samples are for single-label tasks only")
    rng = np.random.default_rng(seed)
    labels = np.array(task.splits["train"].labels, object)
    fit, choose = [], []
    for label in task.classes:
        rows = rng.permutation(np.flatnonzero(labels == label))[:shots]
        held = len(rows) // 4
        choose.extend(rows[:held].tolist())
        fit.extend(rows[held:].tolist())
    return np.array(fit, np.int64), np.array(choose, np.int64)

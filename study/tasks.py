"""Read the labelled tasks as the study uses them: fixed samples of their rows, and which are held out together."""

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

# Held out together, so that no sibling of a tested task was trained on. `movie_reviews_long` is film sentiment, as sst2 is.
# Each group costs a training: four keep the study short.
GROUPS = (
    ("sst2", "sst5", "mpqa", "movie_reviews_long"),
    ("tweet_offensive", "tweet_hate", "hate_offensive"),
    ("trec", "ag_news", "reuters_topics"),
    ("tweet_emotion", "tweet_sentiment", "tweet_emoji"),
)


@dataclasses.dataclass(frozen=True, eq=False)
class Split:
    """Hold texts and their labels as `heads.fit` takes them."""

    texts: list[str]
    labels: list[Any]

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, rows: np.ndarray | Sequence[int]) -> Split:
        return Split([self.texts[i] for i in rows], [self.labels[i] for i in rows])


@dataclasses.dataclass(frozen=True, eq=False)
class Labelled:
    """Hold one task: its splits, cut to the study's rows.

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
        """Name the figure that counts: accuracy, or micro F1 where a text has several labels."""
        return "micro_f1" if self.kind == "multi" else "accuracy"

    def about(self) -> dict[str, Any]:
        """Say how large the task is, and how many of its test texts stand word for word in the training rows."""
        known = set(self.splits["train"].texts)
        seen = sum(text in known for text in self.splits["test"].texts)
        rows = {name: len(split) for name, split in self.splits.items()}
        return {"kind": self.kind, "classes": len(self.classes), **rows, "test_in_train": seen}

    def training_task(self) -> Task:
        """Return the task as encoders are trained on it: training and validation rows."""
        rows = {
            name: Rows(self.splits[name].texts, to_targets(self.splits[name].labels, self.kind, self.classes).values)
            for name in ("train", "validation")
        }
        return Task(self.name, self.kind, self.classes, rows["train"], rows["validation"])

    def cut(self, train_rows: int, test_rows: int) -> Labelled:
        """Return the task with at most so many training rows, half as many for validation, and test rows."""
        max_rows = {"train": train_rows, "validation": max(1, train_rows // 2), "test": test_rows}
        splits = {name: split.take(range(min(len(split), max_rows[name]))) for name, split in self.splits.items()}
        return make(self.name, self.kind, self.classes, splits)


def make(name: str, kind: Kind, classes: Sequence[str], splits: dict[str, Split]) -> Labelled:
    """Make a task of splits; what no training row has is left out of classes and of validation."""
    known = label_names(splits["train"].labels, kind)
    splits = splits | {"validation": restrict(splits["validation"], kind, known)[0]}
    content = json.dumps([[splits[s].texts, splits[s].labels] for s in SPLITS], ensure_ascii=False)
    digest = hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()[:20]
    return Labelled(name, kind, tuple(c for c in classes if c in known), splits, digest)


def label_names(labels: Sequence[Any], kind: str) -> set[str]:
    """Return the names that labels hold."""
    return {name for row in labels for name in ([row] if kind == "single" else row)}


def restrict(split: Split, kind: str, known: set[str]) -> tuple[Split, list[int]]:
    """Leave out what a head cannot know: rows of other labels, or the other labels of a row; also says which rows stay."""
    if kind == "single":
        rows = [i for i, label in enumerate(split.labels) if label in known]
        return split.take(rows), rows
    labels = [[name for name in row if name in known] for row in split.labels]
    return Split(split.texts, labels), list(range(len(split)))


def read(folder: Path, settings: Settings) -> Labelled:
    """Read a task's folder; of each split a sample of the settings' rows, the same one every time."""
    if not (folder / "info.json").is_file():
        raise DataError(f"{folder} holds no info.json; --data needs the folder of labelled tasks")
    kind, labels = read_info(folder)
    if kind == "regression":
        raise DataError(f"task {folder.name} is a regression; the study compares single and multi-label tasks")
    max_rows = {"train": settings.train_rows, "validation": settings.validation_rows, "test": settings.test_rows}
    splits = {}
    for name in SPLITS:
        split = Split(*read_labelled(str(folder / f"{name}.parquet"), "text", "label", kind))
        splits[name] = split.take(np.random.default_rng(0).permutation(len(split))[: max_rows[name]])
    return make(folder.name, kind, labels or sorted(label_names(splits["train"].labels, kind)), splits)


def held_out_plan(tasks: Sequence[str]) -> list[tuple[str, ...]]:
    """Cut tasks into groups that are held out together: each task in one group, with its siblings."""
    groups = [tuple(task for task in group if task in tasks) for group in GROUPS]
    known = {task for group in GROUPS for task in group}
    groups += [(task,) for task in tasks if task not in known]
    groups = [group for group in groups if group]
    if len(groups) < 2:
        raise ValueError(f"tasks {', '.join(tasks)} are all siblings: with them held out nothing is left to train on")
    return groups


def few_shot(task: Labelled, shots: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw `shots` training rows a class: rows to fit on and rows that choose the strength, a quarter of them."""
    if task.kind != "single":
        raise ValueError(f"task {task.name} is {task.kind}; a few examples a class are drawn for single labels only")
    rng = np.random.default_rng(seed)
    labels = np.array(task.splits["train"].labels, object)
    fit, choose = [], []
    for label in task.classes:
        rows = rng.permutation(np.flatnonzero(labels == label))[:shots]
        held = len(rows) // 4
        choose.extend(rows[:held].tolist())
        fit.extend(rows[held:].tolist())
    return np.array(fit, np.int64), np.array(choose, np.int64)

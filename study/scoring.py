"""Fit heads on bits or floats as `train-head` does, and measure them once on the test split."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

import heads
from heads.calibrate import Kind, fit_threshold
from heads.labels import to_targets
from heads.score import one_thread
from study.tasks import Labelled, label_names, restrict

NO_ENCODER = "0" * 64


def fit_head(task: Labelled, inputs: Callable[[str], np.ndarray], rows: dict[str, list[int]]) -> Any:
    """Fit a head on packed bits (uint8) or on floats, which are standardised.

    Args:
        rows: lists of training rows: "fit" to fit on (default: all), and "choose" to choose the regularisation on
            (default: the validation split).
    """
    train, split = inputs("train"), task.splits["train"]
    fit = rows.get("fit", slice(None))
    fitted = split.take(rows["fit"]) if "fit" in rows else split
    known = label_names(fitted.labels, task.kind)
    if "choose" in rows:
        choosing, known_rows = restrict(split.take(rows["choose"]), task.kind, known)
        chosen = train[rows["choose"]][known_rows]
    else:
        choosing, known_rows = restrict(task.splits["validation"], task.kind, known)
        chosen = inputs("validation")[known_rows]
    classes = tuple(name for name in task.classes if name in known)
    validation = (chosen, choosing.labels)
    with one_thread():  # another order of sums would give another head from the same data
        if train.dtype == np.uint8:
            return heads.fit(
                train[fit],
                fitted.labels,
                task=task.name,
                kind=task.kind,
                validation=validation,
                encoder_fingerprint=NO_ENCODER,
                classes=classes,
            )
        return heads.fit_features(train[fit], fitted.labels, kind=task.kind, validation=validation, classes=classes)


def fit_and_measure(
    task: Labelled, inputs: Callable[[str], np.ndarray], rows: dict[str, list[int]]
) -> dict[str, float | None]:
    """Fit a head and measure it: test accuracy (or micro F1) as "value", macro F1, and the validation figure."""
    head = fit_head(task, inputs, rows)
    measured = figures(task, head, inputs("test"), "test")
    if "choose" not in rows:
        measured["validation"] = figures(task, head, inputs("validation"), "validation")["value"]
    return measured


def figures(task: Labelled, head: Any, inputs: np.ndarray, split: str) -> dict[str, Any]:
    """Measure a head, or an object with the same interface, on one split."""
    measured = heads.evaluate.evaluate(head, inputs, task.splits[split].labels)
    return {"value": measured[task.metric], "macro_f1": measured["macro_f1"]}


@dataclasses.dataclass(frozen=True, eq=False)
class Scores:
    """A head whose inputs are the scores (n, classes) themselves, so that they are measured as a head's scores are."""

    kind: Kind
    labels: tuple[str, ...]
    thresholds: np.ndarray

    def score(self, scores: np.ndarray) -> np.ndarray:
        return scores


def measure_scores(task: Labelled, validation: np.ndarray, test: np.ndarray | None = None) -> dict[str, float | None]:
    """Measure scores (n, classes) float32 of the validation rows and, if given, of the test rows.

    The threshold of a multi-label task is the best one on validation.
    """
    thresholds = np.empty(0, np.float32)
    if task.kind == "multi":
        targets = to_targets(task.splits["validation"].labels, task.kind, task.classes).values
        thresholds = np.full(len(task.classes), fit_threshold(validation, targets)[0], np.float32)
    head = Scores(task.kind, task.classes, thresholds)
    measured = {} if test is None else figures(task, head, test, "test")
    return measured | {"validation": figures(task, head, validation, "validation")["value"]}

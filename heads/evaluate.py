"""Measure a head, or its float twin, on labelled rows, and format the figures for people."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from heads import metrics
from heads.calibrate import Kind
from heads.errors import HeadError
from heads.labels import Targets, to_targets

NOT_IN_TRAINING = "(not in training)"
MAX_CONFUSION_CLASSES = 50  # the matrix grows with the square: 5,000 classes would take 100 MB
MAX_CONFUSED_PAIRS = 20
NAMES = {
    "accuracy": "accuracy",
    "micro_f1": "micro F1",
    "macro_f1": "macro F1",
    "exact_match": "all labels right",
    "expected_calibration_error": "expected calibration error",
    "pearson": "Pearson",
    "spearman": "Spearman",
    "rmse": "RMSE",
}


class Predictor(Protocol):
    """What can be measured: `heads.Head`, or what `heads.fit_features` returns."""

    @property
    def kind(self) -> Kind: ...

    @property
    def labels(self) -> tuple[str, ...]: ...

    @property
    def thresholds(self) -> np.ndarray: ...

    def score(self, inputs: np.ndarray, /) -> np.ndarray: ...


def evaluate(head: Predictor, inputs: np.ndarray, labels: Sequence[Any]) -> dict[str, Any]:
    """Measure a head on labelled rows.

    A label that the head does not know counts as wrong: its row cannot be right, and it is one more class with F1 0.

    Args:
        head: the head.
        inputs: n rows of what `head.score` takes.
        labels: a label a row, as for `heads.fit`.

    Returns:
        figures as JSON values, None where undefined, and `rows`.
        single: accuracy, macro_f1, expected_calibration_error (of the winner's probability), confusion (rows truth,
        columns predicted) and confusion_rows, their labels; with more than 50 classes most_confused instead, [truth,
        predicted, rows] of up to 20 pairs.
        multi: micro_f1, macro_f1, exact_match, expected_calibration_error (over every class of every row).
        regression: pearson, spearman, rmse.

    Raises:
        HeadError: there are no rows, not as many labels as rows, or labels of another kind.
    """
    if len(inputs) != len(labels) or len(inputs) == 0:
        raise HeadError(f"cannot measure on {len(inputs)} rows with {len(labels)} labels")
    targets = to_targets(labels, head.kind, head.labels)
    scores = head.score(inputs)
    if head.kind == "regression":
        figures = _measure_regression(targets.values, scores[:, 0])
    elif head.kind == "single":
        figures = _measure_single(targets.values, scores, head.labels)
    else:
        figures = _measure_multi(targets, scores, head.thresholds)
    for name, value in figures.items():
        if isinstance(value, float):
            figures[name] = round(value, 6) if math.isfinite(value) else None
    return {"rows": len(inputs), **figures}


def _measure_single(
    truth: np.ndarray,
    scores: np.ndarray,
    labels: tuple[str, ...],
) -> dict[str, Any]:
    predicted = scores.argmax(axis=1)
    known = len(labels)
    truth_row = np.where(truth < 0, known, truth)
    counted = (truth_row[truth_row == predicted], predicted, truth_row)
    by_class = [np.bincount(rows, minlength=known + 1) for rows in counted]
    return {
        "accuracy": metrics.accuracy(truth, predicted),
        "macro_f1": metrics.macro_f1(*by_class),
        "expected_calibration_error": metrics.expected_calibration_error(
            scores.max(axis=1),
            truth == predicted,
        ),
        **_confusion(truth_row, predicted, [*labels, NOT_IN_TRAINING]),
    }


def _confusion(truth: np.ndarray, predicted: np.ndarray, names: list[str]) -> dict[str, Any]:
    """Count which classes are confused: all pairs of a few classes, the most frequent pairs of many."""
    classes, known = len(names), len(names) - 1  # the last one stands for labels not in training
    if known > MAX_CONFUSION_CLASSES:
        wrong = truth != predicted
        pairs, counts = np.unique(truth[wrong] * classes + predicted[wrong], return_counts=True)
        first = np.argsort(-counts, kind="stable")[:MAX_CONFUSED_PAIRS]
        return {
            "most_confused": [
                [names[pair // classes], names[pair % classes], count]
                for pair, count in zip(pairs[first].tolist(), counts[first].tolist())
            ]
        }
    counts = metrics.confusion_matrix(truth, predicted, classes)
    rows = classes if counts[-1].any() else known
    return {"confusion": counts[:rows, :known].tolist(), "confusion_rows": names[:rows]}


def _measure_multi(targets: Targets, scores: np.ndarray, thresholds: np.ndarray) -> dict[str, Any]:
    truth, unseen = targets.values, list(targets.unseen.values())
    given = scores >= thresholds
    none = np.zeros(len(unseen), np.int64)
    hits = np.concatenate([(given & truth).sum(axis=0), none])
    predicted = np.concatenate([given.sum(axis=0), none])
    actual = np.concatenate([truth.sum(axis=0), np.array(unseen, np.int64)])
    return {
        "micro_f1": metrics.micro_f1(hits, predicted, actual),
        "macro_f1": metrics.macro_f1(hits, predicted, actual),
        "exact_match": float(((given == truth).all(axis=1) & targets.known).mean()),
        "expected_calibration_error": metrics.expected_calibration_error(
            scores.ravel(),
            truth.ravel(),
        ),
    }


def _measure_regression(truth: np.ndarray, values: np.ndarray) -> dict[str, Any]:
    return {
        "pearson": metrics.pearson(truth, values),
        "spearman": metrics.spearman(truth, values),
        "rmse": metrics.rmse(truth, values),
    }


def format_report(
    figures: dict[str, Any],
    *,
    title: str,
    float_figures: dict[str, Any] | None = None,
) -> str:
    """Format what `evaluate` returned: a line a figure, then the confusion matrix where there is one.

    Args:
        figures: what `evaluate` returned for the head.
        title: the first words of the report.
        float_figures: what it returned for the same rows with float features, for a second column.
    """
    lines = [f"{title}: {figures['rows']:,} rows", ""]
    if float_figures is not None:
        lines.append(f"{'':28}{'bits':>9}{'float':>9}{'cost':>9}")
    for name, words in NAMES.items():
        if name in figures:
            lines.append(_figure_line(words, figures[name], (float_figures or {}).get(name)))
    if "confusion" in figures:
        lines += ["", *_confusion_lines(figures["confusion"], figures["confusion_rows"])]
    if figures.get("most_confused"):
        lines += ["", "most confused (rows: truth → predicted)"]
        lines += [f"{count:>8,}: {truth} → {predicted}" for truth, predicted, count in figures["most_confused"]]
    return "\n".join(lines) + "\n"


def _figure_line(words: str, bits: float | None, floats: float | None) -> str:
    shown = [f"{'-' if value is None else format(value, '.4f'):>9}" for value in (bits, floats)]
    if floats is None:
        return f"{words:28}{shown[0]}"
    cost = "" if bits is None else f"{floats - bits:+9.4f}"
    return f"{words:28}{''.join(shown)}{cost}"


def _confusion_lines(confusion: list[list[int]], row_labels: list[str]) -> list[str]:
    counts = np.array(confusion)
    known = counts.shape[1]
    width = max(5, len(f"{counts.max():,}") + 1)
    label_width = min(24, max(len(label) for label in row_labels)) + 4
    header = "".join(f"{column + 1:>{width}}" for column in range(known))
    lines = ["confusion (rows: truth, columns: predicted, by the rows' numbers)"]
    lines.append(f"{'':{label_width}}{header}   recall precision")
    for row, label in enumerate(row_labels):
        name = f"{row + 1:>2} {label}" if row < known else f" - {label}"
        cells = "".join(f"{count:>{width},}" for count in counts[row])
        hits = counts[row, row] if row < known else 0
        recall = _share(hits, counts[row].sum())
        precision = _share(hits, counts[:, row].sum()) if row < known else f"{'-':>9}"
        lines.append(f"{name[:label_width]:{label_width}}{cells}{recall}{precision:>10}")
    return lines


def _share(part: int, whole: int) -> str:
    return f"{part / whole:>9.3f}" if whole else f"{'-':>9}"

"""Compute metrics from arrays, in NumPy."""

from __future__ import annotations

import numpy as np

ECE_BINS = 15


def accuracy(truth: np.ndarray, predicted: np.ndarray) -> float:
    """Compute the share of equal entries of two arrays (n,)."""
    return float((truth == predicted).mean())


def confusion_matrix(truth: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Count rows by class: truth and predicted (n,) int give (classes, classes), truth first."""
    cells = np.bincount(truth * classes + predicted, minlength=classes * classes)
    return cells.reshape(classes, classes)


def macro_f1(hits: np.ndarray, predicted: np.ndarray, actual: np.ndarray) -> float:
    """Average F1 over the classes that occur in the truth or among the predictions.

    hits, predicted and actual (classes,) count right predictions, all predictions and true rows.
    """
    occurs = predicted + actual > 0
    return float((2 * hits[occurs] / (predicted + actual)[occurs]).mean()) if occurs.any() else 0.0


def micro_f1(hits: np.ndarray, predicted: np.ndarray, actual: np.ndarray) -> float:
    """Compute F1 over the counts of all classes added up; 0 where there is nothing to find."""
    total = predicted.sum() + actual.sum()
    return float(2 * hits.sum() / total) if total else 0.0


def expected_calibration_error(confidence: np.ndarray, right: np.ndarray) -> float:
    """Average |confidence - share right| over 15 equal bins, each weighted by its rows.

    confidence (n,) in [0, 1], right (n,) bool. Guo et al., ICML 2017.
    """
    bins = np.clip(np.ceil(confidence * ECE_BINS).astype(np.int64) - 1, 0, ECE_BINS - 1)
    gap = np.bincount(bins, weights=confidence.astype(np.float64) - right, minlength=ECE_BINS)
    return float(np.abs(gap).sum() / len(confidence))


def pearson(truth: np.ndarray, predicted: np.ndarray) -> float:
    """Compute the linear correlation of two arrays (n,); NaN where one of them is constant."""
    x, y = truth - truth.mean(dtype=np.float64), predicted - predicted.mean(dtype=np.float64)
    scale = np.sqrt((x * x).sum() * (y * y).sum())
    return float((x * y).sum() / scale) if scale > 0 else float("nan")


def spearman(truth: np.ndarray, predicted: np.ndarray) -> float:
    """Compute the correlation of the ranks of two arrays (n,); ties share their mean rank."""
    return pearson(_ranks(truth), _ranks(predicted))


def rmse(truth: np.ndarray, predicted: np.ndarray) -> float:
    """Compute the root of the mean squared difference of two arrays (n,)."""
    return float(np.sqrt(np.square(truth.astype(np.float64) - predicted).mean()))


def _ranks(values: np.ndarray) -> np.ndarray:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[inverse]

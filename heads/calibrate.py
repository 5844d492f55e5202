"""Turn logits into calibrated probabilities and labels, the same bytes on every machine.

What runs when documents are labelled (`probabilities`, `decide`, `decide_logits`) consists of IEEE additions,
products, quotients and comparisons in a fixed order. It calls no libm function, and no reduction whose order depends on
the shape. So a score depends on its own row only, not on the batch, the processor or the build of a library.

`fit_temperature` is temperature scaling: Guo, Pleiss, Sun, Weinberger, "On Calibration of Modern Neural Networks", ICML
2017.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np

Kind = Literal["single", "multi", "regression"]
KINDS = ("single", "multi", "regression")
TEMPERATURES = (0.05, 20.0)  # the range searched; few or perfectly separated rows have no finite optimum


class SingleLabels(NamedTuple):
    """One label a row: label_index (n,) int32 and score (n,) float32, the probability of that label."""

    label_index: np.ndarray
    score: np.ndarray


class MultiLabels(NamedTuple):
    """Labels of n rows in Arrow's list layout: row i has the entries offsets[i] to offsets[i + 1].

    offsets (n + 1,) int32, label_index (total,) int32, scores (total,) float32. The labels of a row are sorted by
    falling score, then by class order.
    """

    offsets: np.ndarray
    label_index: np.ndarray
    scores: np.ndarray


def portable_exp(x: np.ndarray) -> np.ndarray:
    """Compute e**x for float32 x, clipped to [-87, 87], with products and sums only.

    Library exponentials differ in the last digit between processors. The coefficients are those of Cephes' expf; the
    error is below one unit in the last place.
    """
    x = np.clip(x, np.float32(-87), np.float32(87))
    k = np.rint(x * np.float32(1.44269504))
    r = x - k * np.float32(0.693359375) + k * np.float32(2.12194440e-4)
    y = np.full_like(r, 1.9875691500e-4)
    for coefficient in (1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 0.5):
        y *= r
        y += np.float32(coefficient)
    y *= r * r
    y += r
    y += np.float32(1)
    y *= ((k.astype(np.int32) + 127) << 23).view(np.float32)  # 2**k, by its exponent bits
    return y


def probabilities(logits: np.ndarray, kind: Kind, temperature: float) -> np.ndarray:
    """Compute the scores of a head from its logits: softmax (single), sigmoid (multi) or the values (regression).

    logits (n, outputs) float32 gives (n, outputs) float32.
    """
    if kind == "regression":
        return logits
    scaled = logits / np.float32(temperature)
    if kind == "multi":
        return np.float32(1) / (np.float32(1) + portable_exp(-scaled))
    powers = portable_exp(scaled - scaled.max(axis=1, keepdims=True))
    total = powers[:, 0].copy()
    for column in range(1, powers.shape[1]):  # in class order; np.sum's order varies with the shape
        total += powers[:, column]
    powers /= total[:, None]
    return powers


def decide(
    scores: np.ndarray,
    kind: Kind,
    thresholds: np.ndarray,
) -> SingleLabels | MultiLabels | np.ndarray:
    """Pick labels from scores (n, outputs) float32. The earlier class wins a tie.

    single: the class of the highest score. multi: every class whose score is at least its threshold; thresholds is
    (classes,) float32. regression: the values, (n,) float32.
    """
    if kind == "regression":
        return scores[:, 0].copy()
    columns = scores.T
    if kind == "single":
        best = columns[0].copy()
        for column in columns[1:]:
            np.maximum(best, column, out=best)
        return SingleLabels(_first_equal(columns, best), best)
    label_index, rows = np.nonzero(columns >= thresholds[:, None])
    return _lists(rows, label_index, scores[rows, label_index], scores.shape)


def decide_logits(
    logits: np.ndarray, kind: Kind, temperature: float, thresholds: np.ndarray
) -> SingleLabels | MultiLabels | np.ndarray:
    """Pick labels from logits (n, outputs) float32: the same bytes as `decide` from their probabilities.

    A row has few of many labels. For most classes a comparison of the logit shows, without an exponential, that the
    score is below the threshold.
    """
    if kind != "multi":
        return decide(probabilities(logits, kind, temperature), kind, thresholds)
    # The bound is below the threshold by more than a step of float32 just under one, and below its logit by a
    # thousandth. So rounding here decides nothing; the exact comparison follows.
    share = np.maximum(thresholds.astype(np.float64) - 2e-7, 1e-30)
    needed = np.where(thresholds > 1e-30, np.log(share) - np.log1p(-share), -np.inf)
    needed = ((needed - 1e-3 * (1 + np.abs(needed))) * temperature).astype(np.float32)
    columns = np.ascontiguousarray(logits.T)
    places = np.flatnonzero(columns >= needed[:, None])  # np.nonzero in two dimensions takes ten times as long
    label_index, rows = np.divmod(places, len(logits))
    scores = probabilities(columns.ravel()[places], kind, temperature)
    given = scores >= thresholds[label_index]
    return _lists(rows[given], label_index[given], scores[given], logits.shape)


def _first_equal(columns: np.ndarray, best: np.ndarray) -> np.ndarray:
    """Return the index of the first column that equals `best`: columns (classes, n), best (n,) give (n,) int32."""
    classes = len(columns)
    integer = np.uint8 if classes < 256 else np.int32
    from_last = np.zeros(len(best), integer)  # maxima of small integers take a tenth of the time of boolean indexing
    for index, column in enumerate(columns):
        np.maximum(from_last, np.multiply(column == best, integer(classes - index), dtype=integer), out=from_last)
    return classes - from_last.astype(np.int32)


def _lists(rows: np.ndarray, label_index: np.ndarray, scores: np.ndarray, shape: tuple[int, ...]) -> MultiLabels:
    """Convert the labels given to n rows, in any order, to lists; shape is (n, classes), scores lie in [0, 1]."""
    n, classes = shape
    # One integer holds row, falling score and class. Floats in [0, 1] have the order of their 30 bits. The integer
    # stays below 2**63 as long as n * classes is below 2**33. Sorting integers takes a tenth of the time of np.lexsort.
    falling = 0x3FFFFFFF - scores.view(np.int32).astype(np.int64)
    keys = (rows.astype(np.int64) << 30 | falling) * classes + label_index
    keys.sort()
    rest, label_index = np.divmod(keys, classes)
    offsets = np.zeros(n + 1, np.int32)
    np.cumsum(np.bincount(rest >> 30, minlength=n), out=offsets[1:])
    scores = (0x3FFFFFFF - (rest & 0x3FFFFFFF)).astype(np.int32).view(np.float32)
    return MultiLabels(offsets, label_index.astype(np.int32), scores)


def fit_temperature(logits: np.ndarray, targets: np.ndarray, kind: Kind) -> tuple[float, float]:
    """Find the temperature with the smallest log loss, by golden-section search.

    Args:
        logits: (n, classes) float32.
        targets: (n,) int for single, (n, classes) bool for multi.
        kind: "single" or "multi".

    Returns:
        the temperature, and its log loss.
    """
    logits = logits.astype(np.float64)
    if kind == "single":
        # Log loss needs only the distance of each class from the true one.
        gaps = logits - np.take_along_axis(logits, targets[:, None], axis=1)
    else:
        gaps = np.where(targets, -logits, logits)

    def log_loss(log_temperature: float) -> float:
        scaled = gaps / np.exp(log_temperature)
        if kind == "multi":
            return float(np.logaddexp(0, scaled).mean())
        top = scaled.max(axis=1)
        return float((np.log(np.exp(scaled - top[:, None]).sum(axis=1)) + top).mean())

    low, high = np.log(TEMPERATURES)
    ratio = (np.sqrt(5) - 1) / 2
    while high - low > 1e-4:
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        if log_loss(left) <= log_loss(right):
            high = right
        else:
            low = left
    middle = (low + high) / 2
    return float(np.float32(np.exp(middle))), log_loss(middle)


def fit_threshold(scores: np.ndarray, targets: np.ndarray) -> tuple[float, float]:
    """Find the threshold, one for all classes, with the best micro F1.

    It lies midway between the last score that is taken and the first one that is not.

    Args:
        scores: (n, classes) float32.
        targets: (n, classes) bool.

    Returns:
        the threshold, and its F1.
    """
    flat = scores.ravel()
    order = np.argsort(-flat, kind="stable")
    ranked = flat[order].astype(np.float64)
    hits = np.cumsum(targets.ravel()[order])
    f1 = 2 * hits / (np.arange(1, len(hits) + 1) + hits[-1])
    f1[:-1][ranked[:-1] == ranked[1:]] = -1  # equal scores are taken together or not at all
    best = int(f1.argmax())
    below = ranked[best + 1] if best + 1 < len(ranked) else 0.0
    threshold = np.float32((ranked[best] + below) / 2)
    if threshold <= below:  # neighbours in float32: the middle rounds to one of them
        threshold = np.float32(ranked[best])
    return float(threshold), float(f1[best])

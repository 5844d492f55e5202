"""Turn labels as people write them into arrays, in the same way for fitting and for measuring."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from heads.calibrate import Kind
from heads.errors import HeadError


class Targets(NamedTuple):
    """Labels as an array, and which of them are outside the classes.

    values: single (n,) int64, -1 for a label outside; multi (n, classes) bool; regression (n,) float64. unseen counts
    each label outside. known (n,) bool is true for rows without one.
    """

    values: np.ndarray
    unseen: Counter[str]
    known: np.ndarray


def find_classes(labels: Sequence[Any], kind: Kind) -> tuple[str, ...]:
    """Return the distinct labels, sorted; none for regression."""
    if kind == "regression":
        return ()
    return tuple(sorted({name for row in labels for name in _names(row, kind)}))


def to_targets(labels: Sequence[Any], kind: Kind, classes: Sequence[str]) -> Targets:
    """Encode labels: a string (single), a list of strings (multi) or a number (regression) a row.

    Raises:
        HeadError: a row is not of its kind, or is NaN or infinity.
    """
    unseen: Counter[str] = Counter()
    known = np.ones(len(labels), bool)
    if kind == "regression":
        return Targets(np.array([_number(row) for row in labels], np.float64), unseen, known)
    index = {name: position for position, name in enumerate(classes)}
    shape = (len(labels),) if kind == "single" else (len(labels), len(classes))
    values = np.full(shape, -1, np.int64) if kind == "single" else np.zeros(shape, bool)
    for i, row in enumerate(labels):
        for name in _names(row, kind):
            if name not in index:
                unseen[name] += 1
                known[i] = False
            elif kind == "single":
                values[i] = index[name]
            else:
                values[i, index[name]] = True
    return Targets(values, unseen, known)


def _names(row: Any, kind: Kind) -> set[str]:
    if kind == "single":
        wanted, names = "a string", [row]
    else:
        wanted = "a list of strings"
        names = list(row) if isinstance(row, (list, tuple, set, frozenset, np.ndarray)) else [None]
    if not all(isinstance(name, str) for name in names):
        raise HeadError(f"a label of kind {kind} must be {wanted}, but got {row!r}")
    return set(names)


def _number(row: Any) -> float:
    try:
        value = float(row)
    except (TypeError, ValueError):
        value = math.nan
    if isinstance(row, (str, bool)) or not math.isfinite(value):
        raise HeadError(f"a label of kind regression must be a finite number, but got {row!r}")
    return value

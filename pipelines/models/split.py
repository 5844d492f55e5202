"""Hold out labelled rows for validation: a deterministic split, stratified by label."""

from __future__ import annotations

from collections import Counter
from itertools import compress
from typing import Any

import numpy as np

from encoder.choices import LabelKind
from pipelines.models.labelled import DataError

Rows = tuple[list[str], list[Any]]  # texts and labels


def hold_out(rows: Rows, kind: LabelKind, share: float) -> tuple[Rows, Rows]:
    """Split labelled rows into training and validation rows; the same rows are split in the same way each time.

    The texts are sorted by stratum, at random within one, and validation takes every (1 / share)-th. A stratum is a label
    (single), the rarest label of a row (multi) or a range of values (regression). All rows of one text stay together.
    Training keeps a text with a label that no other training row has.

    Raises:
        DataError: no row is left for validation.
    """
    texts, labels = rows
    strata = dict(zip(reversed(texts), reversed(_strata(labels, kind))))  # of the first row of each text
    ordered = list(strata)
    ordered = [ordered[place] for place in np.random.default_rng(0).permutation(len(ordered))]
    ordered.sort(key=strata.__getitem__)
    taken = np.diff(np.floor(np.arange(len(ordered) + 1) * share + 0.5))
    held_out = {text for text, is_taken in zip(ordered, taken) if is_taken}
    known = {name for text, label in zip(texts, labels) if text not in held_out for name in _names(label, kind)}
    held_out -= {text for text, label in zip(texts, labels) if not known.issuperset(_names(label, kind))}
    if not held_out:
        raise DataError(
            f"the {len(texts)} training rows are too few to hold out {share:g} of them for validation; give --validation"
        )
    return _select(rows, [text not in held_out for text in texts]), _select(rows, [text in held_out for text in texts])


def _select(rows: Rows, chosen: list[bool]) -> Rows:
    texts, labels = rows
    return list(compress(texts, chosen)), list(compress(labels, chosen))


def _strata(labels: list[Any], kind: LabelKind) -> list[Any]:
    """Return the stratum of each row; strata can be sorted."""
    if kind != "multi":
        return labels
    counts = Counter(name for row in labels for name in row)
    return [min(((counts[name], name) for name in row), default=(0, "")) for row in labels]


def _names(label: Any, kind: LabelKind) -> list[str]:
    if kind == "multi":
        return label
    return [label] if kind == "single" else []

"""Check labelled training and validation rows before anything is fitted on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from heads.calibrate import KINDS, Kind
from heads.errors import HeadError
from heads.labels import find_classes, to_targets

Labels = Sequence[Any]


@dataclass(frozen=True)
class Problem:
    """The classes, and the targets of both sets.

    Attributes:
        kind: "single", "multi" or "regression".
        classes: the labels, in class order.
        training: the values of `labels.to_targets` for the training rows.
        validation: the same for the validation rows.
    """

    kind: Kind
    classes: tuple[str, ...]
    training: np.ndarray
    validation: np.ndarray

    @classmethod
    def check(
        cls,
        inputs: np.ndarray,
        labels: Labels,
        validation: tuple[np.ndarray, Labels],
        kind: Kind,
        classes: Sequence[str] | None,
    ) -> Problem:
        """Check both sets and encode their labels.

        Raises:
            HeadError: names what cannot be fitted.
        """
        if kind not in KINDS:
            raise HeadError(f"kind {kind!r} is none of {', '.join(KINDS)}")
        for name, rows, its_labels in (("training", inputs, labels), ("validation", *validation)):
            if len(rows) != len(its_labels):
                raise HeadError(f"{name} has {len(rows)} rows but {len(its_labels)} labels")
            if len(rows) == 0:
                raise HeadError(f"{name} is empty; give at least one labelled row")
        if inputs.shape[1] != validation[0].shape[1]:
            raise HeadError(
                f"training rows have {inputs.shape[1]} columns but validation rows have "
                f"{validation[0].shape[1]}; encode both with the same encoder"
            )
        seen = find_classes(labels, kind)
        order = seen if classes is None or kind == "regression" else tuple(classes)
        if len(set(order)) < len(order):
            raise HeadError(f"classes repeat: {order}")
        if set(order) != set(seen):
            _refuse("classes and the labels in training differ by", set(order) ^ set(seen))
        if kind == "single" and len(order) < 2:
            raise HeadError(f"training has one class only, {order[0]!r}; a head needs two or more")
        if kind == "multi" and not order:
            raise HeadError("training has no label on any row; a head needs one class or more")
        targets = to_targets(labels, kind, order)
        held_out = to_targets(validation[1], kind, order)
        if held_out.unseen:
            _refuse("validation has labels that training never saw", set(held_out.unseen))
        return cls(kind, order, targets.values, held_out.values)


def _refuse(what: str, names: set[str]) -> None:
    raise HeadError(f"{what}: {', '.join(map(repr, sorted(names)))}")

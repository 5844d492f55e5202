"""Check that the parts of a head fit each other, whether just fitted or read from a file."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from heads.calibrate import KINDS
from heads.errors import HeadError
from heads.score import weight_limit

MIN_LABELS = {"single": 2, "multi": 1, "regression": 0}


def check_task(task: str) -> None:
    """Check the name of a task, which becomes the name of a folder in the store.

    Raises:
        HeadError: the name has other characters than a-z, 0-9 and _, begins with _, or has more than 64 characters.
    """
    if not re.fullmatch("[a-z0-9][a-z0-9_]{0,63}", str(task)):
        raise HeadError(f"task name {task!r} does not match [a-z0-9][a-z0-9_]*, at most 64 characters")


def check_names(task: str, encoder_fingerprint: str) -> None:
    """Check the name of a task and the fingerprint of an encoder.

    Raises:
        HeadError: one of them is invalid.
    """
    check_task(task)
    if not re.fullmatch("[0-9a-f]{64}", str(encoder_fingerprint)):
        raise HeadError(f"encoder_fingerprint {encoder_fingerprint!r} is not 64 hex digits")


def check_parts(
    kind: str,
    labels: Sequence[str],
    *,
    weights: np.ndarray,
    scale: np.ndarray,
    bias: np.ndarray,
    thresholds: np.ndarray,
    temperature: float,
) -> None:
    """Check the parts of a head, named as the fields of `Head`.

    Raises:
        HeadError: names the first part that is wrong, what it should be and what it is.
    """
    if kind not in KINDS:
        raise HeadError(f"kind {kind!r} is none of {', '.join(KINDS)}")
    if len(labels) < MIN_LABELS[kind] or (kind == "regression" and labels):
        raise HeadError(f"a head of kind {kind} cannot have {len(labels)} labels")
    if not all(isinstance(label, str) for label in labels):
        raise HeadError(f"labels must be strings, but got {labels}")
    if len(set(labels)) < len(labels):
        raise HeadError(f"labels repeat: {labels}")
    outputs = len(labels) or 1
    bits = weights.shape[-1] if weights.ndim else 0
    if bits == 0 or bits % 8:
        raise HeadError(f"the number of bits must be a multiple of 8, but weights have {bits}")
    expected = (
        ("weights", weights, (outputs, bits), np.int16),
        ("scale", scale, (outputs,), np.float32),
        ("bias", bias, (outputs,), np.float32),
        ("thresholds", thresholds, (outputs if kind == "multi" else 0,), np.float32),
    )
    for name, array, shape, dtype in expected:
        if array.shape != shape or array.dtype != dtype:
            raise HeadError(
                f"{name} must be {shape} {np.dtype(dtype)} for {outputs} outputs of kind {kind}, but got "
                f"{array.shape} {array.dtype}"
            )
        if not np.isfinite(array).all():
            raise HeadError(f"{name} holds NaN or infinity")
    limit = weight_limit(bits)
    largest = int(np.abs(weights.astype(np.int32)).max())
    if largest > limit:
        raise HeadError(f"weights reach {largest}, but sums over {bits} bits are exact to {limit}")
    if not 0 < temperature < float("inf"):
        raise HeadError(f"temperature must be above 0, but is {temperature}")

"""Checks that the parts of a head fit each other, whether just fitted or read from a file."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from heads.calibrate import KINDS
from heads.errors import HeadError
from heads.score import weight_limit

if TYPE_CHECKING:
    from heads.head import Head


def check_task(task: str) -> None:
    """Raises HeadError for a task's name that cannot be one: it names a folder of the store."""
    if not re.fullmatch("[a-z0-9][a-z0-9_]{0,63}", str(task)):
        raise HeadError(
            f"task name {task!r} does not match [a-z0-9][a-z0-9_]*, at most 64 characters",
        )


def check_names(task: str, encoder_fingerprint: str) -> None:
    """Raises HeadError for a task's name or an encoder's fingerprint that cannot be one."""
    check_task(task)
    if not re.fullmatch("[0-9a-f]{64}", str(encoder_fingerprint)):
        raise HeadError(f"encoder_fingerprint {encoder_fingerprint!r} is not 64 hex digits")


def check_parts(head: Head) -> None:
    """Raises HeadError naming the first part that is wrong, what it should be and what it is."""
    check_names(head.task, head.encoder_fingerprint)
    if head.kind not in KINDS:
        raise HeadError(f"kind {head.kind!r} is none of {', '.join(KINDS)}")
    fewest = {"single": 2, "multi": 1, "regression": 0}[head.kind]
    if len(head.labels) < fewest or (head.kind == "regression" and head.labels):
        raise HeadError(f"a head of kind {head.kind} cannot have {len(head.labels)} labels")
    if not all(isinstance(label, str) for label in head.labels):
        raise HeadError(f"labels must be strings, but got {head.labels}")
    if len(set(head.labels)) < len(head.labels):
        raise HeadError(f"labels repeat: {head.labels}")
    outputs = len(head.labels) or 1
    bits = head.weights.shape[-1] if head.weights.ndim else 0
    if bits == 0 or bits % 8:
        raise HeadError(f"the number of bits must be a multiple of 8, but weights have {bits}")
    shapes = {
        "weights": ((outputs, bits), np.int16),
        "scale": ((outputs,), np.float32),
        "bias": ((outputs,), np.float32),
        "thresholds": ((outputs if head.kind == "multi" else 0,), np.float32),
    }
    for name, (shape, dtype) in shapes.items():
        array = getattr(head, name)
        if array.shape != shape or array.dtype != dtype:
            raise HeadError(
                f"{name} must be {shape} {np.dtype(dtype)} for {outputs} outputs of kind "
                f"{head.kind}, but got {array.shape} {array.dtype}"
            )
        if not np.isfinite(array).all():
            raise HeadError(f"{name} holds NaN or infinity")
    limit = weight_limit(bits)
    largest = int(np.abs(head.weights.astype(np.int32)).max())
    if largest > limit:
        raise HeadError(f"weights reach {largest}, but sums over {bits} bits are exact to {limit}")
    if not 0 < head.temperature < float("inf"):
        raise HeadError(f"temperature must be above 0, but is {head.temperature}")

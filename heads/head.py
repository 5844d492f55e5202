"""The head: integer weights that turn codes into the calibrated labels of one task.

Weights are integers small enough that their sums over a code are exact (see score.py). What follows is arithmetic in a
fixed order (see calibrate.py). So labels and scores are the same bytes for every batch size, number of threads, kernel
and machine.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from heads import storage
from heads.calibrate import Kind, MultiLabels, SingleLabels, decide_logits, probabilities
from heads.checks import check_names, check_parts
from heads.errors import HeadError
from heads.score import ExactWeights

CHUNK_ROWS = 8192
NO_THRESHOLDS = np.empty(0, np.float32)


@dataclass(frozen=True, eq=False)
class Head:
    """A linear model that labels codes for one task.

    The logit of a class is scale * (sum of its weights, + for a bit of 1, - for a bit of 0) + bias. The score is the
    softmax (single) or sigmoid (multi) of logit / temperature.

    Attributes:
        task: the name of the task.
        kind: "single", "multi" or "regression".
        labels: in class order; empty for regression.
        weights: (classes, bits) int16; regression has one row.
        scale: (classes,) float32.
        bias: (classes,) float32.
        encoder_fingerprint: the encoder whose codes it reads.
        temperature: divides the logits.
        thresholds: (classes,) float32 for multi: a label is given if its score is at least its threshold. Else empty.
        metrics: figures for people, as JSON values; not part of the fingerprint, nor are source and created_by.
        source: what it was fitted on.
        created_by: what fitted it.

    Raises:
        HeadError: the parts do not fit each other.
    """

    task: str
    kind: Kind
    labels: tuple[str, ...]
    weights: np.ndarray
    scale: np.ndarray
    bias: np.ndarray
    encoder_fingerprint: str
    temperature: float = 1.0
    thresholds: np.ndarray = field(default_factory=NO_THRESHOLDS.copy)
    metrics: dict[str, Any] = field(default_factory=dict)
    source: dict[str, Any] = field(default_factory=dict)
    created_by: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "labels", tuple(self.labels))
        check_names(self.task, self.encoder_fingerprint)
        check_parts(
            self.kind,
            self.labels,
            weights=self.weights,
            scale=self.scale,
            bias=self.bias,
            thresholds=self.thresholds,
            temperature=self.temperature,
        )

    @property
    def bits(self) -> int:
        """Return the number of bits of the codes that this head reads."""
        return self.weights.shape[1]

    @cached_property
    def fingerprint(self) -> str:
        """Return the hex SHA-256 over all that can change the output; task and metrics cannot."""
        words = [storage.FORMAT, self.kind, self.labels, self.bits, self.encoder_fingerprint]
        digest = hashlib.sha256(json.dumps(words).encode())
        digest.update(np.array(self.temperature, "<f4").tobytes())
        digest.update(self.weights.astype("<i2").tobytes())
        for array in (self.scale, self.bias, self.thresholds):
            digest.update(array.astype("<f4").tobytes())
        return digest.hexdigest()

    @cached_property
    def _exact_weights(self) -> ExactWeights:
        return ExactWeights(self.weights)

    def check_encoder(self, fingerprint: str) -> None:
        """Check that `fingerprint` is that of the encoder the head was fitted on.

        Raises:
            HeadError: it is another one.
        """
        if fingerprint != self.encoder_fingerprint:
            fitted_on, found = self.encoder_fingerprint[:8], fingerprint[:8]
            raise HeadError(
                f"head {self.task!r} was fitted on encoder {fitted_on}, not on {found}, whose codes it would read; "
                f"fit it again with train-head, or point --encoder at {fitted_on}"
            )

    def check_codes(self, bits: np.ndarray) -> None:
        """Check that `bits` are packed codes of this head's width.

        Raises:
            HeadError: they have another shape or dtype.
        """
        if bits.ndim != 2 or bits.dtype != np.uint8 or bits.shape[1] * 8 != self.bits:
            raise HeadError(
                f"head {self.task!r} reads codes of shape (n, {self.bits // 8}) uint8, but got "
                f"{bits.shape} {bits.dtype}; pack bits with numpy.packbits(..., axis=1)"
            )

    def logits(self, bits: np.ndarray) -> np.ndarray:
        """Compute the uncalibrated outputs of packed codes.

        bits (n, bits // 8) uint8, packed by `numpy.packbits`, gives (n, classes) float32, or (n, 1) for regression.

        Raises:
            HeadError: the codes have another shape or dtype.
        """
        self.check_codes(bits)
        return self.logits_of(self._exact_weights.sums(bits))

    def logits_of(self, sums: np.ndarray) -> np.ndarray:
        """Compute logits (n, classes) float32 from `ExactWeights.sums` (classes, n) float32."""
        logits = sums * self.scale[:, None]
        logits += self.bias[:, None]
        return logits.T

    def score(self, bits: np.ndarray) -> np.ndarray:
        """Compute calibrated probabilities, or the values of a regression.

        bits (n, bits // 8) uint8 gives (n, classes) float32, or (n, 1) for regression.
        """
        scores = np.empty((len(bits), len(self.weights)), np.float32)
        for start in range(0, max(len(bits), 1), CHUNK_ROWS):
            part = slice(start, start + CHUNK_ROWS)
            scores[part] = probabilities(self.logits(bits[part]), self.kind, self.temperature)
        return scores

    def predict(self, bits: np.ndarray) -> SingleLabels | MultiLabels | np.ndarray:
        """Label packed codes (n, bits // 8) uint8; returns what `calibrate.decide` does."""
        return self.predict_from(self.logits(bits))

    def predict_from(self, logits: np.ndarray) -> SingleLabels | MultiLabels | np.ndarray:
        """Label codes by their logits (n, classes) float32, as `predict` does."""
        return decide_logits(logits, self.kind, self.temperature, self.thresholds)

    def files(self) -> dict[str, bytes]:
        """Return the files of the head by name, the description last."""
        description = {
            "task": self.task,
            "kind": self.kind,
            "labels": list(self.labels),
            "bits": self.bits,
            "encoder_fingerprint": self.encoder_fingerprint,
            "fingerprint": self.fingerprint,
            "temperature": self.temperature,
            "metrics": self.metrics,
            "source": self.source,
            "created_by": self.created_by,
        }
        names = ("weights", "scale", "bias", "thresholds")
        return storage.head_files(description, {name: np.ascontiguousarray(getattr(self, name)) for name in names})

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write the files into `folder`; an earlier head there is replaced.

        Raises:
            HeadError: the folder holds something else, or cannot be written.
        """
        storage.HEAD_FOLDER.write(Path(folder), self.files())

    @classmethod
    def read(cls, folder: str | os.PathLike[str]) -> Head:
        """Read a head that `save` wrote.

        Raises:
            HeadError: a file is missing or damaged, the format is newer than this version knows, or the fingerprint of
                what was read is not the one in head.json.
        """
        fields = ("task", "kind", "labels", "encoder_fingerprint", "temperature")
        notes = ("metrics", "source", "created_by")
        needed = {*fields, *notes, "bits", "fingerprint"}
        description, arrays = storage.read_folder(Path(folder), needed)
        try:
            parts = {name: description[name] for name in (*fields, *notes)}
            head = cls(**parts, **arrays)
        except (HeadError, TypeError) as error:
            raise HeadError(f"the head in {folder} is damaged: {error}") from error
        for name in ("bits", "fingerprint"):
            found = getattr(head, name)
            if found != description[name]:
                raise HeadError(
                    f"the head in {folder} is damaged: head.json says {name} {description[name]}, "
                    f"its parts give {found}; copy or fit it again"
                )
        return head

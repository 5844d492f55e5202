"""Measure how a precision changes the output: bits that differ from float32, documents whose labels stay the same."""

from __future__ import annotations

import functools
from typing import Any, get_args

import numpy as np

import encoder
import heads
from benchmarks.harness import Table, in_thread, reason
from encoder import bits as bit_packing
from encoder.choices import Precision
from heads.calibrate import SingleLabels


def agreement(texts: list[str]) -> tuple[Table, dict[str, Any]]:
    """Encode texts in every precision, label them with the bundled heads, and compare the results with float32."""
    loaded = [heads.load(name) for name in heads.bundled()]
    reference = in_thread(lambda: _codes(texts, "float32"))
    rows: list[tuple[str, ...]] = []
    figures: dict[str, Any] = {}
    for precision in (p for p in get_args(Precision) if p not in ("auto", "float32")):
        try:
            bits = in_thread(functools.partial(_codes, texts, precision))
        except Exception as error:  # this machine does not support the precision
            figures[precision] = {"absent": reason(error)}
            rows.append((precision, "-", "-", "-", f"absent: {reason(error)}"))
            continue
        differing = bit_packing.hamming_distance(bits, reference)
        same = {head.task: float(np.mean(same_labels(head, bits, reference))) for head in loaded}
        mean, worst = float(np.mean(list(same.values()))), min(same, key=lambda task: same[task])
        figures[precision] = {
            "documents": len(texts),
            "differing_bits": round(differing, 5),
            "same_labels": round(mean, 4),
            "same_labels_by_head": {task: round(share, 4) for task, share in same.items()},
        }
        rows.append((precision, f"{differing:.2%}", f"{mean:.2%}", f"{same[worst]:.2%}", worst))
    title = f"Compared with float32, on {len(texts)} documents and {len(loaded)} heads"
    return Table(title, ("precision", "bits that differ", "same labels", "worst head", ""), rows), figures


def same_labels(head: heads.Head, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return for every row whether a head gives two codes exactly the same labels, (n,) bool."""
    if head.kind == "multi":
        above_a, above_b = (head.score(bits) >= head.thresholds for bits in (a, b))
        return (above_a == above_b).all(axis=1)
    labels_a, labels_b = head.predict(a), head.predict(b)
    if not (isinstance(labels_a, SingleLabels) and isinstance(labels_b, SingleLabels)):
        raise ValueError(f"head {head.task} is a regression head: it predicts numbers, not labels")
    return labels_a.label_index == labels_b.label_index


def _codes(texts: list[str], precision: Precision) -> np.ndarray:
    return encoder.load("default", "cpu", precision).encode(texts).bits

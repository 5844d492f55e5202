"""Score training heads on validation rows: one figure a task, higher is better."""

from __future__ import annotations

import numpy as np

from encoder.tasks import Kind


def score(logits: np.ndarray, targets: np.ndarray, kind: Kind) -> float:
    """Compute accuracy (single), micro F1 at even odds (multi) or Pearson's correlation (regression).

    logits (n, outputs) float32, targets as in `encoder.tasks.Rows`.
    """
    if kind == "single":
        return float((logits.argmax(1) == targets).mean())
    if kind == "multi":
        given = logits > 0
        found = given.sum() + targets.sum()
        return float(2 * (given & targets.astype(bool)).sum() / found) if found else 0.0
    values, truth = logits[:, 0] - logits[:, 0].mean(dtype=np.float64), targets - targets.mean(dtype=np.float64)
    scale = np.sqrt((values**2).sum() * (truth**2).sum())
    return float((values * truth).sum() / scale) if scale > 0 else 0.0


def sample_rows(count: int, most: int, seed: int) -> np.ndarray:
    """Draw up to `most` of `count` rows, always the same ones: (rows,) int64, ascending."""
    if count <= most:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).choice(count, most, replace=False))

"""Small heads and learnable codes for the tests of heads."""

from __future__ import annotations

import numpy as np

from heads import fit
from heads.head import Head
from heads.score import weight_limit

ENCODER = "3f9a2c1b" + "0" * 56
LABELS = {"single": ("bad", "fair", "good"), "multi": ("art", "law", "war"), "regression": ()}
KINDS = tuple(LABELS)


def random_codes(rows: int, bits: int = 256, seed: int = 0) -> np.ndarray:
    """Return random codes (rows, bits // 8) uint8."""
    return np.random.default_rng(seed).integers(0, 256, (rows, bits // 8), np.uint8)


def make_head(kind: str = "single", bits: int = 256, seed: int = 1, **parts) -> Head:
    """Return a head of three labels, or of none, with random weights over the whole range."""
    rng = np.random.default_rng(seed)
    outputs = len(LABELS[kind]) or 1
    limit = weight_limit(bits)
    settings = {
        "task": "mood",
        "kind": kind,
        "labels": LABELS[kind],
        "weights": rng.integers(-limit, limit + 1, (outputs, bits)).astype(np.int16),
        "scale": rng.uniform(0.5, 1, outputs).astype(np.float32) / np.float32(limit * bits**0.5),
        "bias": rng.standard_normal(outputs).astype(np.float32),
        "encoder_fingerprint": ENCODER,
        "temperature": 1.25 if kind != "regression" else 1.0,
        "thresholds": np.full(outputs if kind == "multi" else 0, 0.4, np.float32),
    }
    return Head(**settings | parts)


def labelled_codes(kind: str, rows: int, seed: int = 0, bits: int = 64, noise: float = 2.0):
    """Return random codes and the labels that a hidden linear model with noise gives them."""
    rng = np.random.default_rng(seed)
    signs = rng.choice([-1.0, 1.0], (rows, bits))
    hidden = np.random.default_rng(99).standard_normal((bits, 3))
    logits = signs @ hidden / bits**0.5 * 3 + noise * rng.gumbel(size=(rows, 3))
    codes = np.packbits(signs > 0, axis=1)
    names = LABELS[kind]
    if kind == "single":
        return codes, [names[i] for i in logits.argmax(axis=1)]
    if kind == "multi":
        return codes, [[names[i] for i in np.flatnonzero(row > 1)] for row in logits]
    return codes, logits[:, 0].tolist()


def fitted(kind, rows=600, **settings) -> Head:
    """Fit a head on synthetic rows whose labels its codes tell."""
    codes, labels = labelled_codes(kind, rows)
    settings = {"task": "mood", "encoder_fingerprint": ENCODER, "kind": kind} | settings
    return fit(codes, labels, validation=labelled_codes(kind, 300, seed=1), **settings)

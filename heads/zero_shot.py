"""Make a head from prompts that name its labels, without labelled rows.

The weights of a class are the features of its prompts, less those of the other classes. Features and codes come from
one encoder, so the bits of a text agree most with prompts of the same meaning. If texts without labels are given, the
weights are multiplied by the square root of the covariance of their bits: directions in which texts hardly differ then
count little. Discriminant analysis would take the inverse of the covariance. It brought every task close to chance:
what a prompt has in the directions of little variance is mostly its own wording.

Accuracy in %, the untrained base's layers 4 to 6, 500 validation rows a task (374 of tweet_emotion), on which the root
and the templates were chosen. Descriptions are one or two sentences a label; 1,000 texts are without labels:

                                   ag_news   trec   sst2   tweet_emotion
    the most frequent class           26.0   23.2   50.4            42.8
    names                             56.0   35.2   70.8            63.4
    names, unlabelled texts           77.6   38.8   71.6            59.4
    descriptions                      76.0   53.2   71.6            54.3
    descriptions, unlabelled texts    84.4   56.4   72.8            54.5
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from heads.checks import check_names
from heads.errors import HeadError
from heads.head import Head
from heads.score import quantize

TEMPLATES = ("This text is about {}.", "This text is {}.", "This text expresses {}.")
MIN_UNLABELLED_TEXTS = 64
# Spread of logits of unit weights where no texts tell it: about what the default encoder has on four tasks.
DEFAULT_SPREAD_PER_ROOT_BIT = 0.08


def prompts(label: str, descriptions: Sequence[str] = (), templates: Sequence[str] = TEMPLATES) -> list[str]:
    """Return the prompts of one label: its descriptions unchanged, or its name put into templates."""
    if descriptions:
        return list(descriptions)
    words = " ".join(label.lower().replace("_", " ").replace("/", " ").split())
    return [template.replace("{}", words) for template in templates]


def make(
    features: Sequence[np.ndarray],
    labels: Sequence[str],
    *,
    task: str,
    encoder_fingerprint: str,
    unlabelled: np.ndarray | None = None,
    source: dict[str, Any] | None = None,
    created_by: dict[str, Any] | None = None,
) -> Head:
    """Make a single-label head from the features of each label's prompts.

    Its scores are not calibrated, because there are no labelled rows; the metrics say so.

    Args:
        features: for each label (prompts, bits) float32: the features less the thresholds of the encoder.
        labels: the labels, in class order.
        task: the name of the head.
        encoder_fingerprint: the encoder that made the features.
        unlabelled: (n, bits // 8) uint8, codes of texts of the kind to be labelled.
        source: what the prompts are, for the description of the head.
        created_by: what makes the head, for its description.

    Raises:
        HeadError: these cannot make a head.
    """
    check_names(task, encoder_fingerprint)
    if len(labels) < 2 or len(set(labels)) < len(labels) or len(features) != len(labels):
        raise HeadError(f"a head needs two or more distinct labels, each with prompts, but got {list(labels)}")
    weights = np.stack([part.mean(axis=0, dtype=np.float64) for part in features])
    weights -= weights.mean(axis=0)
    bits = weights.shape[1]
    bias = np.zeros(len(labels))
    spread = DEFAULT_SPREAD_PER_ROOT_BIT * bits**0.5
    if unlabelled is None:
        weights = _unit(weights, labels)
    else:
        signs = _signs(unlabelled, bits)
        weights = _unit(root_covariance_product(weights, signs), labels)
        logits = signs @ weights.T
        # Half of the shift that makes the mean logits of all classes equal. Without it, a class whose prompts are close
        # to most texts wins too often; the whole shift would assume that classes are equally frequent.
        bias = -logits.mean(axis=0) / 2
        logits -= logits.mean(axis=1, keepdims=True)
        spread = float((logits - logits.mean(axis=0)).std())
    integers, scale = quantize(weights.astype(np.float32))
    return Head(
        task=task,
        kind="single",
        labels=tuple(labels),
        weights=integers,
        scale=scale,
        bias=bias.astype(np.float32),
        encoder_fingerprint=encoder_fingerprint,
        temperature=float(np.float32(max(spread, 1e-6))),
        metrics={
            "zero_shot": True,
            "training_rows": 0,
            "prompts": sum(len(part) for part in features),
            "unlabelled_rows": 0 if unlabelled is None else len(unlabelled),
            "calibrated": False,
        },
        source=source or {},
        created_by=created_by or {},
    )


def root_covariance_product(weights: np.ndarray, signs: np.ndarray) -> np.ndarray:
    """Multiply weights (classes, bits) float64 by the square root of the covariance of signs (n, bits)."""
    centred = signs - signs.mean(axis=0)
    values, axes = np.linalg.eigh(centred.T @ centred / len(signs))
    return weights @ axes * np.sqrt(np.maximum(values, 0)) @ axes.T


def check_unlabelled(texts: int) -> None:
    """Check, before they are encoded, that there are enough texts without labels.

    Raises:
        HeadError: there are too few.
    """
    if texts < MIN_UNLABELLED_TEXTS:
        raise HeadError(f"{texts} unlabelled texts are too few; give {MIN_UNLABELLED_TEXTS} or more, or none")


def _signs(codes: np.ndarray, bits: int) -> np.ndarray:
    if codes.ndim != 2 or codes.dtype != np.uint8 or codes.shape[1] * 8 != bits:
        raise HeadError(f"unlabelled codes must be (n, {bits // 8}) uint8, but got {codes.shape} {codes.dtype}")
    check_unlabelled(len(codes))
    return np.unpackbits(codes, axis=1).astype(np.float64) * 2 - 1


def _unit(weights: np.ndarray, labels: Sequence[str]) -> np.ndarray:
    norms = np.linalg.norm(weights, axis=1, keepdims=True)
    if not norms.min() > 1e-6 * max(norms.max(), 1e-12):
        raise HeadError(f"the prompts of {labels[int(norms.argmin())]!r} say nothing that the others do not")
    return weights / norms

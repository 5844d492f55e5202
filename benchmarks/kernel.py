"""Time how heads score packed codes on one core, beside NumPy and scikit-learn. `label` runs this as its own program."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import torch  # the kernel is faster where torch is imported, as it is in the pipelines

import heads
from benchmarks.harness import Contender, interleave, reason

SHAPES = ((1024, 2), (1024, 30), (1024, 100), (1152, 6), (1152, 30))  # bits, classes
NUMPY_CHUNK_ROWS = 1024  # their unpacked bits fit into the cache; a whole block is slower


def random_head(bits: int, classes: int, seed: int = 0) -> heads.Head:
    """Return a head with random weights."""
    rng = np.random.default_rng(seed)
    return heads.Head(
        task=f"random_{classes}",
        kind="single",
        labels=tuple(f"class_{i}" for i in range(classes)),
        weights=rng.integers(-1000, 1001, (classes, bits)).astype(np.int16),
        scale=np.full(classes, 1e-4, np.float32),
        bias=rng.standard_normal(classes).astype(np.float32),
        encoder_fingerprint="0" * 64,
    )


def numpy_logits(head: heads.Head) -> Callable[[np.ndarray], np.ndarray]:
    """Return a function like `Head.logits` that uses `numpy.unpackbits` and a float32 product per chunk of rows.

    Codes (n, bits // 8) uint8 in, logits (n, classes) float32 out. A bit means -1 or +1; the weights and the bias are
    changed so that they apply to bits of 0 and 1.
    """
    weights = (head.weights * head.scale[:, None]).T.astype(np.float32)
    doubled, bias = np.ascontiguousarray(2 * weights), head.bias - weights.sum(axis=0)

    def score(codes: np.ndarray) -> np.ndarray:
        logits = np.empty((len(codes), len(bias)), np.float32)
        for start in range(0, len(codes), NUMPY_CHUNK_ROWS):
            part = slice(start, start + NUMPY_CHUNK_ROWS)
            np.matmul(np.unpackbits(codes[part], axis=1).astype(np.float32), doubled, out=logits[part])
        logits += bias
        return logits

    return score


def scikit_learn(head: heads.Head) -> Any:
    """Return scikit-learn's LogisticRegression with a head's weights, for bits of 0 and 1."""
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression()
    weights = head.weights * head.scale[:, None].astype(np.float64)
    model.classes_ = np.array(head.labels)
    model.coef_, model.intercept_ = 2 * weights, head.bias - weights.sum(1)
    if len(head.labels) == 2:  # it has one row for two classes
        model.coef_, model.intercept_ = model.coef_[1:] - model.coef_[:1], model.intercept_[1:] - model.intercept_[:1]
    return model


def measure(head: heads.Head, rows: int, rounds: int) -> dict[str, Any]:
    """Time logits and labels of `rows` random codes and return the figures of every contender."""
    codes = np.random.default_rng(1).integers(0, 256, (rows, head.bits // 8), np.uint8)
    chunks = [codes[start : start + 4096] for start in range(0, rows, 4096)]  # blocks of the size that `label` reads
    logit_timing = interleave(
        [
            _contender("ours", head.logits, chunks),
            _contender("NumPy unpackbits + product", numpy_logits(head), chunks),
        ],
        rounds,
    )
    contenders = [_contender("ours", head.predict, chunks)]
    try:
        model = scikit_learn(head)
    except ImportError as error:
        absent = {"scikit-learn predict": reason(error)}
    else:
        absent = {}
        predict = lambda part: model.predict(np.unpackbits(part, axis=1))  # noqa: E731
        contenders.append(_contender("scikit-learn predict", predict, chunks))
    label_timing = interleave(contenders, rounds)
    label_timing.absent |= absent
    return {
        "head": head.task,
        "kind": head.kind,
        "bits": head.bits,
        "classes": len(head.weights),
        "logits": logit_timing.figures("ours", rows),
        "labels": label_timing.figures("ours", rows),
    }


def _contender(name: str, score: Any, chunks: list[np.ndarray]) -> Contender:
    return Contender(name, lambda: [score(part) for part in chunks], lambda: score(chunks[0]))


def main() -> None:
    rows, rounds = map(int, sys.argv[1:])
    torch.set_num_threads(1)
    shapes = [random_head(bits, classes) for bits, classes in SHAPES]
    loaded = [heads.load(name) for name in heads.bundled()]
    print(json.dumps([measure(head, rows, rounds) for head in [*shapes, *loaded]]))


if __name__ == "__main__":
    main()

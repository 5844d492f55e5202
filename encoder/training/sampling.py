"""Draw training batches: tasks by size to a power, rows without replacement, texts of similar length together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from encoder.tokenize import rows_that_fit

POOL_BATCHES = 16


class Batch(NamedTuple):
    """The rows of a batch, longest text first.

    Attributes:
        source: (n,) int64, the number of the task; unlabelled texts have the number after the last task.
        row: (n,) int64, the row among those of its source.
    """

    source: np.ndarray
    row: np.ndarray


def shares(sizes: Sequence[int], power: float, unlabelled: int = 0, unlabelled_share: float = 0.0) -> np.ndarray:
    """Compute the probability of each source, proportional to the task's size ** power: (sources,) float64, sum 1.

    If there are `unlabelled` texts, they are a last source with the probability `unlabelled_share`.
    """
    weights = (np.asarray(sizes, np.float64) / max(sizes)) ** power  # divided first: a large power would overflow
    weights /= weights.sum()
    if not unlabelled or not unlabelled_share:
        return weights
    return np.append(weights * (1 - unlabelled_share), unlabelled_share)


def batches(lengths: Sequence[np.ndarray], probabilities: np.ndarray, batch_texts: int, seed: int) -> Iterator[Batch]:
    """Yield batches without end. The same arguments give the same batches, so a resumed training skips the first ones.

    Rows are drawn into pools of several batches; a pool is sorted by length and split. So a batch holds rows of several
    sources, and little padding. All rows of a source are drawn once before any is drawn again.

    Args:
        lengths: tokens of each row, one array for each source.
        probabilities: (sources,) float64, from `shares`.
    """
    rng = np.random.default_rng(seed)
    queues = [np.empty(0, np.int64) for _ in lengths]
    while True:
        source = rng.choice(len(probabilities), size=POOL_BATCHES * batch_texts, p=probabilities)
        row = np.empty(len(source), np.int64)
        for number, source_lengths in enumerate(lengths):
            places = np.flatnonzero(source == number)
            while len(queues[number]) < len(places):
                queues[number] = np.concatenate([queues[number], rng.permutation(len(source_lengths))])
            row[places], queues[number] = queues[number][: len(places)], queues[number][len(places) :]
        length = np.array([lengths[s][r] for s, r in zip(source, row)])
        # Equal lengths in random order: otherwise a task whose texts all have one length would fill batches alone.
        order = np.lexsort((rng.random(len(length)), -length))
        for part in rng.permutation(POOL_BATCHES):
            places = order[part * batch_texts : (part + 1) * batch_texts]
            yield Batch(source[places], row[places])


def split_by_tokens(lengths: np.ndarray, batch_tokens: int) -> list[slice]:
    """Split rows, longest first, into passes of at most `batch_tokens` tokens, padding included, each of at least one row."""
    parts, start = [], 0
    while start < len(lengths):
        rows = rows_that_fit(int(lengths[start]), batch_tokens)
        parts.append(slice(start, min(start + rows, len(lengths))))
        start += rows
    return parts


def split_evenly(lengths: np.ndarray, batch_tokens: int) -> list[slice]:
    """Split rows, longest first, into passes of equal numbers of rows, of at most `batch_tokens` tokens, padding included.

    The numbers differ by one at most, so that the similarity loss never compares only a few rows.
    """
    rows = len(lengths)
    passes = -(-rows // rows_that_fit(int(lengths[0]), batch_tokens)) if rows else 0
    return [slice(rows * number // passes, rows * (number + 1) // passes) for number in range(passes)]

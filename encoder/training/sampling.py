"""Draw training batches: tasks by size to a power, rows without repeats, texts of like length together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from encoder.tokenize import rows_that_fit

POOL_BATCHES = 16


class Batch(NamedTuple):
    """Say which rows make a batch: source (n,) and row (n,) int64, longest text first."""

    source: np.ndarray
    row: np.ndarray


def shares(sizes: Sequence[int], power: float, unlabelled: int = 0, unlabelled_share: float = 0.0) -> np.ndarray:
    """Compute how often each source is drawn: size ** power of the tasks, normalised; (sources,) float64, sum 1.

    With `unlabelled` texts, a last source of its own takes `unlabelled_share` of all draws.
    """
    weights = (np.asarray(sizes, np.float64) / max(sizes)) ** power  # a large power of large sizes would overflow
    weights /= weights.sum()
    if not unlabelled or not unlabelled_share:
        return weights
    return np.append(weights * (1 - unlabelled_share), unlabelled_share)


def batches(lengths: Sequence[np.ndarray], drawn: np.ndarray, batch_texts: int, seed: int) -> Iterator[Batch]:
    """Give batches without end; the same arguments give the same batches, so a resumed training skips those it had.

    Rows are drawn into pools of several batches, a pool is sorted by length and cut: a batch holds rows of several sources
    and little padding. A source's rows are all drawn once before any is drawn again.

    Args:
        lengths: tokens of each row, one array a source.
        drawn: (sources,) float64, what `shares` gives.
    """
    rng = np.random.default_rng(seed)
    queues = [np.empty(0, np.int64) for _ in lengths]
    while True:
        source = rng.choice(len(drawn), size=POOL_BATCHES * batch_texts, p=drawn)
        row = np.empty(len(source), np.int64)
        for number, its_lengths in enumerate(lengths):
            here = np.flatnonzero(source == number)
            while len(queues[number]) < len(here):
                queues[number] = np.concatenate([queues[number], rng.permutation(len(its_lengths))])
            row[here], queues[number] = queues[number][: len(here)], queues[number][len(here) :]
        length = np.array([lengths[s][r] for s, r in zip(source, row)])
        # Equal lengths in random order, or a task whose texts are all of one length would fill batches alone.
        order = np.lexsort((rng.random(len(length)), -length))
        for part in rng.permutation(POOL_BATCHES):
            chosen = order[part * batch_texts : (part + 1) * batch_texts]
            yield Batch(source[chosen], row[chosen])


def cut_by_tokens(lengths: np.ndarray, batch_tokens: int) -> list[slice]:
    """Cut rows, longest first, into passes of at most `batch_tokens` padded tokens, each of one row at least."""
    cuts, start = [], 0
    while start < len(lengths):
        rows = rows_that_fit(int(lengths[start]), batch_tokens)
        cuts.append(slice(start, min(start + rows, len(lengths))))
        start += rows
    return cuts


def cut_evenly(lengths: np.ndarray, batch_tokens: int) -> list[slice]:
    """Cut rows, longest first, into passes of at most `batch_tokens` padded tokens, each of as many rows or one less.

    What is compared within a pass then never has few beside it.
    """
    rows = len(lengths)
    passes = -(-rows // rows_that_fit(int(lengths[0]), batch_tokens)) if rows else 0
    return [slice(rows * number // passes, rows * (number + 1) // passes) for number in range(passes)]

"""Tokenise the next texts in threads while the device works on the last ones."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import numpy as np

# While one thread makes arrays of a chunk, which takes the interpreter, the Rust tokenizer of the other does not.
THREADS = 2
BYTES_A_TOKEN = 4  # of English; only how evenly chunks are cut depends on it
SPECIAL_TOKENS = 2
LEAST_CHUNKS = 4  # of a small block too, or nothing would overlap

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def cut_chunks(texts: list[str], chunk_tokens: int, most_tokens: int | None) -> list[np.ndarray]:
    """Cut texts into chunks of about `chunk_tokens` tokens, the longest texts first.

    Lengths are guessed from UTF-8 bytes, so that the batches of a chunk, which are sorted by tokens, are of like length.

    Args:
        most_tokens: tokens that are read of a text, None for all.

    Returns:
        The numbers of each chunk's texts, int64; every text is in one chunk. They follow from the arguments alone.
    """
    if not texts:
        return []
    tokens = np.fromiter((len(text.encode("utf-8", "replace")) for text in texts), np.int64, len(texts))
    tokens = tokens // BYTES_A_TOKEN + SPECIAL_TOKENS
    order = np.argsort(-tokens, kind="stable")
    if most_tokens is not None:
        tokens = np.minimum(tokens, most_tokens)
    end = np.cumsum(tokens[order])
    chunk = (end - tokens[order]) // min(chunk_tokens, -(-int(end[-1]) // LEAST_CHUNKS))
    return np.split(order, np.flatnonzero(np.diff(chunk)) + 1)


def ahead(function: Callable[[_Item], _Result], items: Iterable[_Item], threads: int = THREADS) -> Iterator[_Result]:
    """Yield `function(item)` of every item, in order, while threads compute the next ones.

    An error of `function` is raised where its result would have come; what has not begun by then never begins. At most
    `threads` + 1 results wait. Close the iterator if it is left early.
    """
    items = iter(items)
    waiting: deque[Future[_Result]] = deque()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="ahead")
    try:
        waiting.extend(pool.submit(function, item) for item in itertools.islice(items, threads + 1))
        while waiting:
            result = waiting.popleft().result()
            waiting.extend(pool.submit(function, item) for item in itertools.islice(items, 1))
            yield result
    finally:
        pool.shutdown(cancel_futures=True)

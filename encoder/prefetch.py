"""Compute the next results in threads while the caller uses the last one."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import numpy as np

# While one thread makes arrays of a chunk, which holds the interpreter's lock, the other one runs the Rust tokenizer.
THREADS = 2
BYTES_PER_TOKEN = 4  # of English; other languages are split less evenly
SPECIAL_TOKENS = 2
MIN_CHUNKS = 4  # of a small block as well, so that tokenising and computing overlap

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def split_into_chunks(texts: list[str], chunk_tokens: int, max_tokens: int | None) -> list[np.ndarray]:
    """Split texts into chunks of about `chunk_tokens` tokens, the longest texts first.

    Lengths are estimated from UTF-8 bytes. The texts of a chunk are of similar length, and so are its batches.

    Args:
        max_tokens: tokens of a text that are read; None for all.

    Returns:
        The numbers of each chunk's texts, int64; every text is in one chunk. They follow from the arguments alone.
    """
    if not texts:
        return []
    tokens = np.fromiter((len(text.encode("utf-8", "replace")) for text in texts), np.int64, len(texts))
    tokens = tokens // BYTES_PER_TOKEN + SPECIAL_TOKENS
    order = np.argsort(-tokens, kind="stable")
    if max_tokens is not None:
        tokens = np.minimum(tokens, max_tokens)
    end = np.cumsum(tokens[order])
    chunk = (end - tokens[order]) // min(chunk_tokens, -(-int(end[-1]) // MIN_CHUNKS))
    return np.split(order, np.flatnonzero(np.diff(chunk)) + 1)


def prefetch(
    function: Callable[[_Item], _Result], items: Iterable[_Item], threads: int = THREADS
) -> Generator[_Result, None, None]:
    """Yield `function(item)` of every item, in order, while threads compute the next ones.

    An error of `function` is raised in place of its result; calls that have not started by then never start. At most
    `threads` + 1 results wait. Close the iterator if it is not read to the end.
    """
    items = iter(items)
    waiting: deque[Future[_Result]] = deque()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="prefetch")
    try:
        waiting.extend(pool.submit(function, item) for item in itertools.islice(items, threads + 1))
        while waiting:
            result = waiting.popleft().result()
            waiting.extend(pool.submit(function, item) for item in itertools.islice(items, 1))
            yield result
    finally:
        pool.shutdown(cancel_futures=True)

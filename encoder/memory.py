"""Give memory back to the system between blocks."""

from __future__ import annotations

import ctypes
import functools
import sys
from collections.abc import Callable


def return_free_memory() -> None:
    """Hand freed heap memory back to the system, where the C library is glibc; elsewhere do nothing.

    Batches of ever other shapes leave the heap full of holes, and a process that encodes for hours creeps up: 690 MB after
    the first 1,024 texts, 816 MB after 5,120. Trimmed after every block it stays where it was, for milliseconds.
    """
    trim = _malloc_trim()
    if trim is not None:
        trim(0)


@functools.cache
def _malloc_trim() -> Callable[[int], int] | None:
    if not sys.platform.startswith("linux"):
        return None
    return getattr(ctypes.CDLL(None), "malloc_trim", None)  # not there with musl

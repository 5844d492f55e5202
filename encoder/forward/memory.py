"""Return free memory to the operating system."""

from __future__ import annotations

import ctypes
import functools
import sys
from collections.abc import Callable


def return_free_memory() -> None:
    """Return freed heap memory to the operating system, if the C library is glibc; elsewhere do nothing.

    Batches of varying shapes fragment the glibc heap, so that the memory of a process that encodes for hours grows: 690 MB
    after the first 1,024 texts, 816 MB after 5,120. Trimming the heap after every block takes milliseconds and keeps it flat.
    """
    trim = _malloc_trim()
    if trim is not None:
        trim(0)


@functools.cache
def _malloc_trim() -> Callable[[int], int] | None:
    if not sys.platform.startswith("linux"):
        return None
    return getattr(ctypes.CDLL(None), "malloc_trim", None)  # musl has none

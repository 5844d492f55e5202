"""Say how long a row of long computations still takes."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

CACHED_SECONDS = 1.0  # what ends sooner was read, and tells nothing of the pace


class Progress:
    """Count work done and left, by the pace of what was computed now and not read from the cache."""

    def __init__(self, report: Callable[[str], None], work: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Take all the work there is, in whatever unit parts are given in."""
        self._report = report
        self._clock = clock
        self._left = work
        self._worked = self._seconds = 0.0

    @contextlib.contextmanager
    def part(self, name: str, work: float) -> Iterator[None]:
        """Time a part of the work, and report it with the time left where it was not cached."""
        started = self._clock()
        yield
        seconds = self._clock() - started
        self._left -= work
        if seconds > CACHED_SECONDS:
            self._worked += work
            self._seconds += seconds
            minutes = self._left * self._seconds / self._worked / 60
            self._report(f"{name}: {seconds:.0f} s; {minutes:.0f} min left in this step, if nothing more is cached")

"""Estimate the time left in a series of long computations."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

CACHED_SECONDS = 1.0  # a part that ends sooner was cached, and is not counted


class Progress:
    """The work done and left in a series, with the time left estimated from the parts that were not cached."""

    def __init__(self, report: Callable[[str], None], work: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Start a series.

        Args:
            work: total work, in the unit in which the parts are given.
        """
        self._report = report
        self._clock = clock
        self._left = work
        self._worked = self._seconds = 0.0

    @contextlib.contextmanager
    def part(self, name: str, work: float) -> Iterator[None]:
        """Time a part of the work; report it and the time left, unless it was cached."""
        started = self._clock()
        yield
        seconds = self._clock() - started
        self._left -= work
        if seconds > CACHED_SECONDS:
            self._worked += work
            self._seconds += seconds
            minutes = self._left * self._seconds / self._worked / 60
            self._report(f"{name}: {seconds:.0f} s; {minutes:.0f} min left in this step, if nothing more is cached")

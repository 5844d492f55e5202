"""Time contenders side by side: interleaved rounds, medians, ratios of the same round, a header, a table, one JSON line.

Knows nothing of encoders, heads or stores.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any


@dataclasses.dataclass(frozen=True)
class Contender:
    """Name one side of a comparison and what it does in one round.

    Attributes:
        name: what the table calls it.
        run: does the whole work once.
        warm_up: does a little of it, so that what happens once is not timed; None where nothing does.
        note: its settings, for the table.
    """

    name: str
    run: Callable[[], Any]
    warm_up: Callable[[], Any] | None = None
    note: str = ""


@dataclasses.dataclass
class Table:
    """Hold rows for people; every cell is already text."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]

    @classmethod
    def of(cls, title: str, figures: dict[str, Any]) -> Table:
        """Lay figures out by name, one a row."""
        return cls(title, ("figure", ""), [(name, str(value)) for name, value in figures.items()])

    def __str__(self) -> str:
        cells = [list(self.columns), *map(list, self.rows)]
        widths = [max(len(row[i]) for row in cells) for i in range(len(self.columns))]
        numeric = [all(row[i][:1].isdigit() or row[i] in ("", "-") for row in cells[1:]) for i in range(len(widths))]
        lines = [
            "  ".join(
                cell.rjust(w) if right else cell.ljust(w) for cell, w, right in zip(row, widths, numeric)
            ).rstrip()
            for row in cells
        ]
        return "\n".join([self.title, *(f"  {line}" for line in lines)])


@dataclasses.dataclass
class Report:
    """Hold what one benchmark found: tables for people, figures for programs."""

    benchmark: str
    tables: list[Table]
    figures: dict[str, Any]

    def print(self) -> str:
        """Print the tables, then one JSON line; returns that line."""
        line = json.dumps({"benchmark": self.benchmark, **self.figures}, ensure_ascii=False)
        print(*self.tables, line, sep="\n\n", end="\n\n", flush=True)
        return line


@dataclasses.dataclass
class Timing:
    """Hold the seconds of every contender by round, and why others have none."""

    seconds: dict[str, list[float]]
    absent: dict[str, str] = dataclasses.field(default_factory=dict)
    notes: dict[str, str] = dataclasses.field(default_factory=dict)

    def per_second(self, name: str, work: float) -> float:
        """Return the median rate of a contender that does `work` documents (or rows, …) a round."""
        return work / statistics.median(self.seconds[name])

    def ratios(self, name: str, against: str) -> list[float]:
        """Return how many times as fast `name` was as `against`, round by round."""
        return [theirs / ours for ours, theirs in zip(self.seconds[name], self.seconds[against])]

    def figures(self, ours: str, work: float) -> dict[str, Any]:
        """Return a JSON object: for every contender its rate and how many times as fast `ours` was."""
        figures: dict[str, Any] = {}
        for name in self.seconds:
            ratios = self.ratios(ours, name)
            figures[name] = {
                "ours_times_as_fast": round(statistics.median(ratios), 3),
                "ratios": [round(ratio, 3) for ratio in ratios],
                "per_second": round(self.per_second(name, work), 1),
            }
        return figures | {name: {"absent": reason} for name, reason in self.absent.items()}

    def table(self, title: str, ours: str, work: float, unit: str = "documents") -> Table:
        """Lay the comparison out: ratios first, the slowest rival last, what is absent at the end with its reason."""
        rows = []
        for name in sorted(self.seconds, key=lambda name: -self.per_second(name, work)):
            ratios = self.ratios(ours, name)
            spread = f"{min(ratios):.2f}–{max(ratios):.2f}"
            rate = f"{self.per_second(name, work):,.0f}"
            rows.append((f"{statistics.median(ratios):.2f}", spread, rate, name, self.notes.get(name, "")))
        rows += [("-", "-", "-", name, f"absent: {reason}") for name, reason in self.absent.items()]
        return Table(title, (f"{ours} ×", "rounds", f"{unit}/s", "contender", "settings"), rows)


def in_thread(function: Callable[[], Any]) -> Any:
    """Call in a thread of its own, as a Beam worker does.

    A main thread that has once computed keeps OpenMP threads; beside them every other thread's are throttled, by 4 to 8 %.
    """
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function).result()


def time_in_thread(
    function: Callable[[], Any],
    clock: Callable[[], float] = time.perf_counter,
    thread: ThreadPoolExecutor | None = None,
) -> float:
    """Return the seconds a call takes, in a fresh thread if none is given."""

    def timed() -> float:
        started = clock()
        function()
        return clock() - started

    return in_thread(timed) if thread is None else thread.submit(timed).result()


def interleave(
    contenders: Sequence[Contender],
    rounds: int,
    clock: Callable[[], float] = time.perf_counter,
    own_threads: bool = False,
) -> Timing:
    """Time every contender once a round, each round starting with the next one, so that drift hits all alike.

    A contender that throws is left out from there on, with its error as the reason.

    Args:
        own_threads: each contender keeps a thread of its own. On a GPU plans of kernels belong to a thread, and would be made
            again in every round; on a processor idle OpenMP threads slow the others, so there every call has a new one.
    """
    threads = {contender.name: ThreadPoolExecutor(1) for contender in contenders} if own_threads else {}
    timing = Timing({c.name: [] for c in contenders}, notes={c.name: c.note for c in contenders})
    left = list(contenders)

    def attempt(contender: Contender, function: Callable[[], Any]) -> None:
        try:
            seconds = time_in_thread(function, clock, threads.get(contender.name))
        except Exception as error:  # whatever a rival throws, the others are measured
            timing.seconds.pop(contender.name, None)
            timing.absent[contender.name] = reason(error)
            left.remove(contender)
            return
        if function is contender.run:
            timing.seconds[contender.name].append(seconds)

    for contender in list(left):
        if contender.warm_up is not None:
            attempt(contender, contender.warm_up)
    for round_ in range(rounds):
        say(f"round {round_ + 1} of {rounds}: {len(left)} contenders")
        first = round_ % max(1, len(left))
        for contender in [*left[first:], *left[:first]]:
            attempt(contender, contender.run)
    for thread in threads.values():
        thread.shutdown()
    return timing


def say(message: str) -> None:
    """Print what is being done on standard error."""
    print(f"  … {message}", file=sys.stderr, flush=True)


def reason(error: BaseException) -> str:
    """Return an error in one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__


def best_setting(settings: Sequence[Any], run: Callable[[Any], Any], thread: ThreadPoolExecutor | None = None) -> Any:
    """Return the setting with which `run` is the fastest: the best of two tries each, in turn.

    One with which it throws is not; if all do, the last error is raised. With a `thread` all tries are in that one.
    """
    seconds = {setting: float("inf") for setting in settings}
    failed = None
    for _ in range(2):
        for setting in settings:
            try:
                taken = time_in_thread(functools.partial(run, setting), thread=thread)
            except Exception as error:  # too large a batch, for one
                failed = error
                continue
            seconds[setting] = min(seconds[setting], taken)
    if failed is not None and min(seconds.values()) == float("inf"):
        raise failed
    return min(seconds, key=lambda setting: seconds[setting])


def median_seconds(function: Callable[[], Any], rounds: int) -> float:
    """Return the median seconds of a call, each in a fresh thread, after one call that warms up."""
    in_thread(function)
    return statistics.median(time_in_thread(function) for _ in range(rounds))

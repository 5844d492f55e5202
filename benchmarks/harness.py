"""Time contenders in interleaved rounds; report medians, ratios within each round, a table and one JSON line.

Does not depend on encoders, heads or stores.
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
    """One side of a comparison: its name and what it does in one round.

    Attributes:
        name: its name in the table.
        run: does the work of one round.
        warm_up: does a small part of it, so that one-time initialisation is not timed; None if there is none.
        note: its settings, for the table.
    """

    name: str
    run: Callable[[], Any]
    warm_up: Callable[[], Any] | None = None
    note: str = ""


@dataclasses.dataclass
class Table:
    """A table for people; every cell is text."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]

    @classmethod
    def of(cls, title: str, figures: dict[str, Any]) -> Table:
        """Return a table with one row per figure: its name and value."""
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
    """The result of one benchmark: tables for people, figures for programs."""

    benchmark: str
    tables: list[Table]
    figures: dict[str, Any]

    def print(self) -> str:
        """Print the tables, then one JSON line; return that line."""
        line = json.dumps({"benchmark": self.benchmark, **self.figures}, ensure_ascii=False)
        print(*self.tables, line, sep="\n\n", end="\n\n", flush=True)
        return line


@dataclasses.dataclass
class Timing:
    """Seconds of every contender by round; for contenders that failed, the reason (`absent`)."""

    seconds: dict[str, list[float]]
    absent: dict[str, str] = dataclasses.field(default_factory=dict)
    notes: dict[str, str] = dataclasses.field(default_factory=dict)

    def per_second(self, name: str, work: float) -> float:
        """Return the median rate of a contender whose round does `work` documents (or rows, …)."""
        return work / statistics.median(self.seconds[name])

    def ratios(self, name: str, against: str) -> list[float]:
        """Return for every round how many times as fast as `against` `name` was."""
        return [theirs / ours for ours, theirs in zip(self.seconds[name], self.seconds[against])]

    def figures(self, ours: str, work: float) -> dict[str, Any]:
        """Return for every contender its rate and how many times as fast `ours` was, as a JSON object."""
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
        """Return the comparison as a table: ratios first, fastest contender on top, absent ones at the end with the reason."""
        rows = []
        for name in sorted(self.seconds, key=lambda name: -self.per_second(name, work)):
            ratios = self.ratios(ours, name)
            spread = f"{min(ratios):.2f}–{max(ratios):.2f}"
            rate = f"{self.per_second(name, work):,.0f}"
            rows.append((f"{statistics.median(ratios):.2f}", spread, rate, name, self.notes.get(name, "")))
        rows += [("-", "-", "-", name, f"absent: {reason}") for name, reason in self.absent.items()]
        return Table(title, (f"{ours} ×", "rounds", f"{unit}/s", "contender", "settings"), rows)


def in_thread(function: Callable[[], Any]) -> Any:
    """Call a function in a new thread, as a Beam worker does, and return its result.

    A main thread that has computed keeps its OpenMP threads. They slow down those of all other threads by 4 to 8 %.
    """
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function).result()


def time_in_thread(
    function: Callable[[], Any],
    clock: Callable[[], float] = time.perf_counter,
    thread: ThreadPoolExecutor | None = None,
) -> float:
    """Return the seconds that a call takes, in a new thread if none is given."""

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
    """Time every contender once per round. Each round starts with the next contender, so that drift affects all equally.

    A contender that raises an error is absent from then on, with the error as the reason.

    Args:
        own_threads: each contender keeps its own thread. On a GPU kernel plans belong to a thread, and a new thread would
            make them again in every round. On a processor idle OpenMP threads slow down the others, so every call gets a
            new thread.
    """
    threads = {contender.name: ThreadPoolExecutor(1) for contender in contenders} if own_threads else {}
    timing = Timing({c.name: [] for c in contenders}, notes={c.name: c.note for c in contenders})
    remaining = list(contenders)

    def attempt(contender: Contender, function: Callable[[], Any]) -> None:
        try:
            seconds = time_in_thread(function, clock, threads.get(contender.name))
        except Exception as error:  # if one rival fails, the others are still measured
            timing.seconds.pop(contender.name, None)
            timing.absent[contender.name] = reason(error)
            remaining.remove(contender)
            return
        if function is contender.run:
            timing.seconds[contender.name].append(seconds)

    for contender in list(remaining):
        if contender.warm_up is not None:
            attempt(contender, contender.warm_up)
    for round_ in range(rounds):
        show_progress(f"round {round_ + 1} of {rounds}: {len(remaining)} contenders")
        first = round_ % max(1, len(remaining))
        for contender in [*remaining[first:], *remaining[:first]]:
            attempt(contender, contender.run)
    for thread in threads.values():
        thread.shutdown()
    return timing


def show_progress(message: str) -> None:
    """Print a message on standard error."""
    print(f"  … {message}", file=sys.stderr, flush=True)


def reason(error: BaseException) -> str:
    """Return an error's type and message in one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__


def best_setting(settings: Sequence[Any], run: Callable[[Any], Any], thread: ThreadPoolExecutor | None = None) -> Any:
    """Return the setting with which `run` is fastest, by the better of two interleaved tries each.

    A setting with which `run` raises an error is left out; if all do, the last error is raised. With `thread` given, all
    tries run in it.
    """
    seconds = {setting: float("inf") for setting in settings}
    last_error = None
    for _ in range(2):
        for setting in settings:
            try:
                elapsed = time_in_thread(functools.partial(run, setting), thread=thread)
            except Exception as error:  # a batch that is too large, for example
                last_error = error
                continue
            seconds[setting] = min(seconds[setting], elapsed)
    if last_error is not None and min(seconds.values()) == float("inf"):
        raise last_error
    return min(seconds, key=lambda setting: seconds[setting])


def median_seconds(function: Callable[[], Any], rounds: int) -> float:
    """Return the median seconds of a call, each in a new thread, after one call to warm up."""
    in_thread(function)
    return statistics.median(time_in_thread(function) for _ in range(rounds))

"""Select and average records. A record is one measurement: a dictionary with "task", "value" and what was measured."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

Record = dict[str, Any]


class Mean(NamedTuple):
    """A mean over tasks and seeds.

    Attributes:
        value: the mean.
        spread: standard deviation between seeds; None for one seed.
        seeds: number of seeds.
    """

    value: float
    spread: float | None
    seeds: int


def select(records: Iterable[Record], **where: Any) -> list[Record]:
    """Return the records whose fields have these values."""
    return [record for record in records if all(record.get(name) == value for name, value in where.items())]


def by_task(records: Iterable[Record]) -> dict[str, float]:
    """Return the mean over seeds of each task."""
    values: dict[str, list[float]] = {}
    for record in records:
        values.setdefault(record["task"], []).append(record["value"])
    return {task: statistics.fmean(of_task) for task, of_task in values.items()}


def mean(records: Sequence[Record], tasks: Iterable[str] | None = None) -> Mean | None:
    """Return the mean over tasks within each seed, averaged over seeds; None if there are no records.

    A seed without all the tasks of the others is left out, because its mean would be over different tasks.
    """
    wanted = None if tasks is None else set(tasks)
    seeds: dict[Any, dict[str, float]] = {}
    for record in records:
        if wanted is None or record["task"] in wanted:
            seeds.setdefault(record.get("seed"), {})[record["task"]] = record["value"]
    if not seeds:
        return None
    max_tasks = max(len(by_name) for by_name in seeds.values())
    means = [statistics.fmean(by_name.values()) for by_name in seeds.values() if len(by_name) == max_tasks]
    spread = statistics.stdev(means) if len(means) > 1 else None
    return Mean(statistics.fmean(means), spread, len(means))


def mean_value(records: Sequence[Record], tasks: Iterable[str] | None = None) -> float:
    """Return `mean(records, tasks).value`.

    Raises:
        ValueError: there are no records of these tasks.
    """
    average = mean(records, tasks)
    if average is None:
        raise ValueError("a mean needs at least one record")
    return average.value


def sampling_error(values: Mapping[str, float], rows: Mapping[str, int]) -> float:
    """Return the standard error of a difference between two means over tasks that is due to the sampling of test rows.

    It assumes that the errors of the two are independent. In practice both err on similar rows, so it is an upper bound.

    Args:
        values: share of correct rows, by task.
        rows: number of test rows, by task.
    """
    return math.sqrt(sum(2 * value * (1 - value) / rows[task] for task, value in values.items())) / len(values)


def percent(value: float | None, digits: int = 1) -> str:
    """Return a share as text, in per cent without the sign; a dash for None."""
    return "–" if value is None or math.isnan(value) else f"{100 * value:.{digits}f}"


def percent_mean(average: Mean | None, digits: int = 1) -> str:
    """Return a mean as text, in per cent, with its spread if there are several seeds."""
    if average is None:
        return "–"
    spread = "" if average.spread is None else f" ± {100 * average.spread:.{max(digits, 1)}f}"
    return percent(average.value, digits) + spread

"""Goals of the study, and whether the results meet them."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

from study.measure import ALL_LAYERS, BEFORE_THE_THRESHOLD, LAST_LAYER, LEARNED
from study.records import Record, by_task, mean, mean_value, percent_mean, select

SEEN_SHARE = 0.98
UNSEEN_GAIN = 0.015
WORST_LOSS = 0.01
BITS_LOSS = 0.005
BREAK_EVEN_TASKS = 2
TEN_TASKS = 1.05
GOAL_BITS = 1024


@dataclasses.dataclass(frozen=True)
class Goal:
    """A goal of the study.

    Attributes:
        asks: what the goal requires.
        measured: what was measured, in words.
        met: whether the measurement meets the goal; None if there is no measurement.
    """

    asks: str
    measured: str
    met: bool | None

    @property
    def verdict(self) -> str:
        return {True: "met", False: "**missed**", None: "not measured"}[self.met]


def all_goals(results: dict[str, dict[str, Any]]) -> list[Goal]:
    """Return all goals, judged by the results of the steps."""
    return [
        *_seen(results),
        *_unseen(results),
        _bits(results),
        *_costs(results),
    ]


def records_of(results: dict[str, dict[str, Any]], step: str) -> list[Record]:
    """Return a step's records; an empty list if it was not run."""
    return results.get(step, {}).get("records", [])


def seen_bits(results: dict) -> list[Record]:
    """Return the records of bits of encoders trained on all tasks."""
    return select(records_of(results, "trained"), encoder="multi-task", layers=ALL_LAYERS, code="bits")


def frozen_floats(results: dict) -> list[Record]:
    """Return the records of the base's last layer, as floats, on all rows."""
    records = select(records_of(results, "frozen"), layers=LAST_LAYER, code="floats")
    return [record for record in records if "shots" not in record]


def unseen_bits(results: dict) -> list[Record]:
    """Return the records of bits of encoders trained without the task and its siblings."""
    records = select(records_of(results, "trained"), encoder="left out", layers=ALL_LAYERS, code="bits")
    return [record for record in records if "shots" not in record]


def _seen(results: dict) -> list[Goal]:
    asks = f"seen tasks, bits: mean at least {SEEN_SHARE:.0%} of full fine-tuning for each task"
    above = "seen tasks, bits: mean above that of the distilled students"
    ours, tuned, student = (
        seen_bits(results),
        select(records_of(results, "rivals"), rival="fine-tuned"),
        select(records_of(results, "rivals"), rival="student"),
    )
    return [
        _compare(asks, ours, tuned, lambda a, b: (a / b >= SEEN_SHARE, f"{a / b:.1%} of it")),
        _compare(above, ours, student, lambda a, b: (a > b, f"{100 * (a - b):+.2f} points")),
    ]


def _unseen(results: dict) -> list[Goal]:
    ours, base = unseen_bits(results), frozen_floats(results)
    asks = f"unseen tasks, bits: mean at least {100 * UNSEEN_GAIN:g} points above the frozen last layer's floats"
    first = _compare(asks, ours, base, lambda a, b: (a - b >= UNSEEN_GAIN, f"{100 * (a - b):+.2f} points"))
    asks = f"unseen tasks, bits: no task more than {100 * WORST_LOSS:g} point below these floats"
    a, b = by_task(ours), by_task(base)
    shared = [task for task in a if task in b]
    if not shared:
        return [first, Goal(asks, "–", None)]
    lost = sorted((a[task] - b[task], task) for task in shared)
    below = [(gap, task) for gap, task in lost if gap < -WORST_LOSS]
    named = ", ".join(f"{task} {100 * gap:+.2f} points" for gap, task in below or lost[:1])
    measured = f"{len(below)} of {len(shared)} are: {named}" if below else f"worst: {named}"
    seeds = {record["seed"] for record in ours}
    if len(seeds) > 1:
        gap, task, seed = min((r["value"] - b[r["task"]], r["task"], r["seed"]) for r in ours if r["task"] in b)
        measured += f", on the mean of {len(seeds)} seeds; of single ones {task} {100 * gap:+.2f} points (seed {seed})"
    return [first, Goal(asks, measured, not below)]


def _bits(results: dict) -> Goal:
    asks = f"bits against the same encoder's floats: at most {100 * BITS_LOSS:g} points lost on average at {GOAL_BITS:,} bits"
    trained, frozen = (records_of(results, step) for step in ("trained_size", "size"))
    codes = (
        (LEARNED, BEFORE_THE_THRESHOLD, trained, "a projection learned with the encoder"),
        ("ITQ rotation", "float32", trained, "trained encoder, ITQ rotation"),
        ("ITQ rotation", "float32", frozen, "frozen base alone, ITQ rotation"),
    )
    for code, before, records, note in codes:
        bits = [record for record in select(records, method=code) if record["bytes"] * 8 == GOAL_BITS]
        floats = [r for r in select(records, method=before) if before == "float32" or r["bytes"] == 4 * GOAL_BITS]
        if bits and floats:
            whole = select(records, method="float32") if before != "float32" else []
            if whole:
                alike = [record for record in bits if record["seed"] in {other["seed"] for other in whole}]
                note += f"; {100 * (mean_value(alike) - mean_value(whole)):+.2f} against all layers' floats"
            return _compare(asks, bits, floats, functools.partial(_loses_little, note=note))
    return Goal(asks, "–", None)


def _loses_little(bits: float, floats: float, note: str) -> tuple[bool, str]:
    return floats - bits <= BITS_LOSS, f"{100 * (bits - floats):+.2f} points ({note})"


def _costs(results: dict) -> list[Goal]:
    even = f"cheaper than distilled students from {BREAK_EVEN_TASKS} tasks on, or fewer"
    ten = f"ten tasks cost at most {TEN_TASKS} of one"
    costs = results.get("costs")
    if not costs:
        return [Goal(even, "–", None), Goal(ten, "–", None)]
    tasks, ratio = costs["break_even"]["student"], costs["ten_over_one"]
    measured = "never" if tasks is None else f"from {tasks} on"
    rounds = [one["break_even"] for one in costs["by_round"]["student"]]
    if set(rounds) == {tasks}:
        measured += f", by the medians and in each of {len(rounds)} rounds"
    else:
        measured += f"; in single rounds: {', '.join('never' if one is None else str(one) for one in rounds)}"
    return [
        Goal(even, measured, tasks is not None and tasks <= BREAK_EVEN_TASKS),
        Goal(ten, f"{ratio:.3f}", ratio <= TEN_TASKS),
    ]


def _compare(
    asks: str, ours: list[Record], theirs: list[Record], judge: Callable[[float, float], tuple[bool, str]]
) -> Goal:
    """Compare means over the tasks for which both have figures.

    Args:
        judge: takes our mean and theirs, and returns whether the goal is met, and the difference in words.
    """
    shared = by_task(ours).keys() & by_task(theirs).keys()
    if not shared:
        return Goal(asks, "–", None)
    met, difference = judge(mean_value(ours, shared), mean_value(theirs, shared))
    means = (percent_mean(mean(records, shared)) for records in (ours, theirs))
    measured = f"{' against '.join(means)} on {len(shared)} tasks: {difference}"
    reversals = []
    if len(shared) > 2:
        for task in sorted(shared):
            others = shared - {task}
            other, without = judge(mean_value(ours, others), mean_value(theirs, others))
            if other != met:
                reversals.append(f"without {task} {without}")
    if reversals:
        measured += f"; the verdict hangs on single tasks: {', '.join(reversals)}"
    return Goal(asks, measured, bool(met))

"""Draw the plots of the benchmarks as SVG."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73")  # of Okabe and Ito: colour-blind people can distinguish them
GREY = "#999999"
SIZE_OF_COSTS = (6.4, 4.0)


def costs(figures: Sequence[dict[str, Any]], path: Path) -> None:
    """Draw the cost of a million documents against the number of tasks."""
    figure = Figure(figsize=SIZE_OF_COSTS, layout="constrained")
    axes = figure.subplots()
    tasks = [cost["tasks"] for cost in figures]
    lines = (
        ("models_seconds_per_million", "one model per task", "s"),
        ("ours_seconds_per_million", "one encoder, one head per task", "o"),
        ("labels_alone_seconds_per_million", "heads on stored codes", "^"),
    )
    for (key, label, marker), colour in zip(lines, COLOURS):
        axes.plot(tasks, [cost[key] for cost in figures], label=label, color=colour, marker=marker)
    axes.set(xscale="log", yscale="log", xlabel="tasks", ylabel="seconds per million documents")
    axes.set_xticks(tasks, [str(count) for count in tasks])
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, metadata={"Date": None})


def rates(per_second: dict[str, float], ours: Sequence[str], path: Path) -> None:
    """Draw documents per second by contender as bars, the first on top."""
    figure = Figure(figsize=(7.2, 0.6 + 0.32 * len(per_second)), layout="constrained")
    axes = figure.subplots()
    names = list(per_second)[::-1]
    values = [per_second[name] for name in names]
    bars = axes.barh(names, values, color=[COLOURS[0] if name in ours else GREY for name in names])
    axes.bar_label(bars, [f"{value:,.0f}" for value in values], padding=3, fontsize=8)
    axes.set(xlabel="documents per second", xlim=(0, 1.1 * max(values)))
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, metadata={"Date": None})

"""Draw the study's plots as SVG, in colours that colour-blind people can distinguish (Okabe and Ito)."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from study.records import Record, mean_value, select

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999933")
MARKERS = "osD^vPX*"


def size(encoders: Sequence[tuple[str, list[Record]]], path: Path) -> str:
    """Draw mean accuracy against bytes per document, one panel per encoder.

    Returns:
        The file's name, or the reason why there is no plot.
    """
    figure = _figure((4.6 * len(encoders) + 2.2, 4.2))
    if isinstance(figure, str):
        return figure
    panels = figure.subplots(1, len(encoders), sharey=True, squeeze=False)[0]
    methods = sorted({record["method"] for _, records in encoders for record in records})
    for axes, (name, records) in zip(panels, encoders):
        for number, method in enumerate(methods):
            mine = select(records, method=method)  # empty if this encoder has no such code: the legend still names it
            sizes = sorted({record["bytes"] for record in mine})
            values = [100 * mean_value(select(mine, bytes=size)) for size in sizes]
            style = {"color": COLOURS[number % len(COLOURS)], "marker": MARKERS[(number // 2) % len(MARKERS)]}
            axes.plot(sizes, values, label=method, linewidth=1, markersize=5, **style)
        axes.set(xscale="log", xlabel="bytes a document", title=name)
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("mean accuracy, %")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper", fontsize=7)
    return _save(figure, path)


def costs(
    models: dict[str, dict[str, float]],
    curves: Sequence[tuple[str, dict[str, float]]],
    tasks: Sequence[str],
    path: Path,
) -> str:
    """Draw cost per document, and mean accuracy over the first T tasks, against T.

    Accuracies are over the tasks for which all curves have figures. A name has the same colour in both panels.

    Returns:
        The file's name, or the reason why there is no plot.
    """
    figure = _figure((10, 4.2))
    if isinstance(figure, str):
        return figure
    left, right = figure.subplots(1, 2)
    counts = list(range(1, len(tasks) + 1))
    names = list(dict.fromkeys([*models, *(name for name, _ in curves)]))
    styles = {
        name: {"color": COLOURS[number % len(COLOURS)], "marker": MARKERS[number % len(MARKERS)], "markersize": 4}
        for number, name in enumerate(names)
    }
    for name, model in models.items():
        values = [1000 * (model["shared"] + count * model["each"]) for count in counts]
        left.plot(counts, values, label=name, **styles[name])
    left.set(xlabel="tasks", ylabel="ms a document", yscale="log", title="cost")
    count, means = means_over_tasks(curves, tasks)
    for name, values in means.items():
        right.plot(range(1, count + 1), values, label=name, **styles[name])
    title = "accuracy" if count == len(tasks) else f"accuracy, the {count} tasks that all have figures for"
    right.set(xlabel="tasks", ylabel="mean accuracy over the first T tasks, %", title=title)
    for axes in (left, right):
        axes.grid(alpha=0.3)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(fontsize=7)
    return _save(figure, path)


def means_over_tasks(
    curves: Sequence[tuple[str, dict[str, float]]], tasks: Sequence[str]
) -> tuple[int, dict[str, list[float]]]:
    """Return the number of tasks for which all curves have figures, and the means in % over the first 1, 2, … of them."""
    shared = [task for task in tasks if all(task in values for _, values in curves)]
    first = [shared[: count + 1] for count in range(len(shared))]
    means = {name: [100 * statistics.fmean(values[task] for task in part) for part in first] for name, values in curves}
    return len(shared), means


def _figure(inches: tuple[float, float]) -> Any:
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return "matplotlib is not installed; pip install 'encode-once[bench]'"
    return Figure(figsize=inches, layout="constrained")


def _save(figure: Any, path: Path) -> str:
    import matplotlib

    temporary = path.with_name(f".{path.name}.tmp")
    with matplotlib.rc_context({"svg.hashsalt": path.name}):  # the same figures give the same bytes
        figure.savefig(temporary, format="svg", metadata={"Date": None})
    temporary.replace(path)
    return path.name

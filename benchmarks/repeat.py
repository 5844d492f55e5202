"""Time a run with nothing to do, and one new head over finished codes, shell to shell."""

from __future__ import annotations

import shutil
import statistics

from benchmarks import child
from benchmarks.harness import Report, Table
from benchmarks.settings import Settings

NEW_HEAD = "topic"


def run(settings: Settings) -> Report:
    store = settings.work / "store-whole"  # as `memory` leaves it
    command = child.annotate(settings.corpus, store)
    child.run(command)  # finishes it, or makes it where `memory` has not
    nothing, heads, graphs = [], [], []
    for _ in range(settings.rounds):
        nothing.append(child.run(command).seconds)
        shutil.rmtree(store / "labels" / f"task={NEW_HEAD}")
        heads.append(child.run(command).seconds)
        summary = child.last_summary(store)
        if list(summary["labelled"]) != [NEW_HEAD] or summary["documents"]:
            raise child.ChildError(f"more was done than one head: {summary}")
        graphs.append(summary["seconds"])
    documents = summary["labelled"][NEW_HEAD]
    figures = {
        "nothing_to_do_shell_seconds": round(statistics.median(nothing), 2),
        "new_head_shell_seconds": round(statistics.median(heads), 2),
        "new_head_graph_seconds": round(statistics.median(graphs), 2),
        "documents": documents,
        "rounds": settings.rounds,
    }
    return Report("repeat", [Table.of(f"The same command again, {documents} documents", figures)], figures)

"""Time a run with nothing to do, and a run that adds one head to a finished store, from start to exit."""

from __future__ import annotations

import shutil
import statistics

from benchmarks import child
from benchmarks.harness import Report, Table
from benchmarks.settings import Settings

NEW_HEAD = "topic"


def run(settings: Settings) -> Report:
    store = settings.work / "store-whole"  # `memory` writes it
    command = child.annotate(settings.corpus, store)
    child.run(command)  # completes the store, or creates it if `memory` did not run
    idle_seconds, head_seconds, graph_seconds = [], [], []
    for _ in range(settings.rounds):
        idle_seconds.append(child.run(command).seconds)
        shutil.rmtree(store / "labels" / f"task={NEW_HEAD}")
        head_seconds.append(child.run(command).seconds)
        summary = child.last_summary(store)
        if list(summary["labelled"]) != [NEW_HEAD] or summary["documents"]:
            raise child.ChildError(f"the run did more than add the head {NEW_HEAD}: {summary}")
        graph_seconds.append(summary["seconds"])
    documents = summary["labelled"][NEW_HEAD]
    figures = {
        "nothing_to_do_shell_seconds": round(statistics.median(idle_seconds), 2),
        "new_head_shell_seconds": round(statistics.median(head_seconds), 2),
        "new_head_graph_seconds": round(statistics.median(graph_seconds), 2),
        "documents": documents,
        "rounds": settings.rounds,
    }
    return Report("repeat", [Table.of(f"Run the same command again, {documents} documents", figures)], figures)

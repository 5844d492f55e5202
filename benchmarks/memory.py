"""Compare the peak memory of annotating a corpus with that of a quarter of it; measure the encoder's share of the time."""

from __future__ import annotations

import shutil
from typing import Any

from benchmarks import child, corpus, make_corpus
from benchmarks.harness import Report, Table
from benchmarks.settings import Settings


def run(settings: Settings) -> Report:
    quarter = settings.work / "quarter"
    shutil.rmtree(quarter, ignore_errors=True)
    make_corpus.make(corpus.all_texts(settings.corpus)[::4], quarter)
    figures: dict[str, Any] = {}
    for name, folder in (("quarter", quarter), ("whole", settings.corpus)):
        store = settings.work / f"store-{name}"
        shutil.rmtree(store, ignore_errors=True)
        ended = child.run(child.annotate(folder, store))
        summary = child.last_summary(store)
        figures[name] = {
            "peak_mb": round(ended.peak_mb),
            "documents": summary["documents"],
            "documents_per_second": summary["documents_per_second"],
            "shell_seconds": round(ended.seconds, 1),
            "encoding_share_of_time": round(summary["encode_seconds"] / summary["seconds"], 4),
            "tokens": summary["tokens"],
            "padding_share": round(summary["padding_share"], 4),
        }
    ratio = figures["peak_ratio"] = round(figures["whole"]["peak_mb"] / figures["quarter"]["peak_mb"], 3)
    rows = [(*map(str, figures[name].values()), name) for name in ("quarter", "whole")]
    title = f"Peak memory of annotate: {ratio:.2f} × with four times the documents"
    return Report("memory", [Table(title, (*figures["whole"], "corpus"), rows)], figures)

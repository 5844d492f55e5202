"""Measure labelling: the kernel on one core beside other libraries, and the whole job on stores of two sizes."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import sys
from pathlib import Path
from typing import Any

import encoder
import heads
from benchmarks import child, random_store
from benchmarks.harness import Report, Table
from benchmarks.settings import Settings

ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"), "1"
)


def run(settings: Settings) -> Report:
    kernels = kernel(settings)
    jobs = job(settings)
    return Report("label", [*_kernel_tables(kernels), _job_table(jobs)], {"kernels": kernels, "job": jobs})


def kernel(settings: Settings) -> list[dict[str, Any]]:
    """Run `benchmarks.kernel` in a process with one thread, on one core where the system supports it; return its figures."""
    command = [sys.executable, "-m", "benchmarks.kernel", str(settings.kernel_rows), str(settings.rounds)]
    can_pin = hasattr(os, "sched_setaffinity")
    cores = os.sched_getaffinity(0) if can_pin else set()
    try:
        if can_pin:
            os.sched_setaffinity(0, {max(cores)})  # the child inherits it
        printed = child.run(command, ONE_THREAD).printed
    finally:
        if can_pin:
            os.sched_setaffinity(0, cores)
    return json.loads(printed.splitlines()[-1])


def job(settings: Settings) -> dict[str, Any]:
    """Run `encode-once label` with the bundled heads on random stores of both sizes, interleaved; return the figures.

    The labels are removed before every run.
    """
    bundle = encoder.describe("default")
    stores = {n: random_store.write(settings.work / f"random-{n}", n, bundle) for n in settings.label_documents}
    seconds: dict[int, list[float]] = {n: [] for n in stores}
    shell_seconds: dict[int, list[float]] = {n: [] for n in stores}
    peaks: dict[int, list[float]] = {n: [] for n in stores}
    for _ in range(settings.rounds):
        for documents, store in stores.items():
            ended, graph_seconds = label_once(store, documents)
            seconds[documents].append(graph_seconds)
            shell_seconds[documents].append(ended.seconds)
            peaks[documents].append(ended.peak_mb)
    for store in stores.values():
        shutil.rmtree(store)
    small, large = settings.label_documents
    sizes = {
        str(n): {
            "documents_per_second": round(n / statistics.median(seconds[n])),
            "graph_seconds": [round(s, 2) for s in seconds[n]],
            "shell_documents_per_second": round(n / statistics.median(shell_seconds[n])),
            "peak_mb": round(max(peaks[n])),
        }
        for n in stores
    }
    ratio = round(max(peaks[large]) / max(peaks[small]), 3)
    return {"heads": len(heads.bundled()), "sizes": sizes, "peak_ratio_large_to_small": ratio}


def label_once(store: Path, documents: int) -> tuple[child.Ended, float]:
    """Label a store without labels in a new process; return its result, and the seconds of the graph alone."""
    shutil.rmtree(store / "labels", ignore_errors=True)
    ended = child.run([*child.PROGRAM, "label", "--store", str(store), "--no_progress"])
    summary = child.last_summary(store)
    labelled = summary["labelled"]
    if set(labelled.values()) != {documents} or len(labelled) != len(heads.bundled()):
        raise child.ChildError(
            f"label labelled {labelled}, expected {documents} documents for each of the bundled heads"
        )
    return ended, summary["seconds"]


def _kernel_tables(kernels: list[dict[str, Any]]) -> list[Table]:
    tables = []
    for output, rival in (("logits", "NumPy unpackbits + product"), ("labels", "scikit-learn predict")):
        rows = []
        for entry in kernels:
            ours, theirs = entry[output]["ours"]["per_second"], entry[output][rival]
            cells = (f"{theirs['ours_times_as_fast']:.2f}", f"{ours:,.0f}", f"{theirs['per_second']:,.0f}", "")
            if "absent" in theirs:
                cells = ("-", f"{ours:,.0f}", "-", f"absent: {theirs['absent']}")
            rows.append((*cells[:3], str(entry["bits"]), str(entry["classes"]), entry["head"], cells[3]))
        columns = ("ours ×", "ours, documents/s", "theirs", "bits", "classes", "head", "")
        tables.append(Table(f"One core, {output}: compared with {rival}", columns, rows))
    return tables


def _job_table(jobs: dict[str, Any]) -> Table:
    rows = [
        (
            f"{int(n):,}",
            f"{size['documents_per_second']:,}",
            f"{size['shell_documents_per_second']:,}",
            f"{size['peak_mb']:,}",
        )
        for n, size in jobs["sizes"].items()
    ]
    title = f"The whole label job, {jobs['heads']} heads; peak memory {jobs['peak_ratio_large_to_small']:.2f} × on the larger"
    return Table(title, ("documents", "documents/s", "shell to shell", "peak MB"), rows)

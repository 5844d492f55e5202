"""Run the steps of the study and store their results, so that one page can combine the steps of several runs."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import json
import time
from collections.abc import Sequence
from typing import Any

from benchmarks import machine
from encoder.training.options import TrainOptions
from encoder.training.tasks import digest
from study.cache import write_text
from study.context import Study

# name: (module, function, what it measures), in the order in which they run
STEPS = {
    "frozen": ("frozen", "run", "the frozen base, all rows and few"),
    "pooling": ("pooling", "run", "poolings of the frozen base"),
    "size": ("size", "run", "sizes of code of the frozen base"),
    "trained": ("trained", "run", "encoders trained on all tasks, and with siblings left out"),
    "trained_pooling": ("pooling", "run_trained", "poolings of the trained encoder"),
    "trained_size": ("size", "run_trained", "sizes of code of the trained encoder"),
    "stability": ("stability", "run", "precisions, batch sizes, devices; windows beside truncation"),
    "rivals": ("rivals", "run", "fine-tuned models, students, sentence embeddings, TF-IDF, label names"),
    "costs": ("costs", "run", "time a document of every rival, in one run"),
}


def run(study: Study, asked: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Run the requested steps, read the stored results of the others, and return all results by step.

    Each result is what the step returned, the "seconds" of its computation, and the machine as "ran_on".
    """
    folder = study.settings.work / "results"
    folder.mkdir(parents=True, exist_ok=True)
    paths = {name: folder / f"{name}-{_key(study, name)}.json" for name in STEPS}
    for name, (module, function, description) in STEPS.items():
        if name in asked:
            path = paths[name]
            study.report(f"step {name}: {description}")
            before, started = study.cache.spent_seconds, time.monotonic()
            result = getattr(importlib.import_module(f"study.{module}"), function)(study)
            seconds = round(study.cache.spent_seconds - before, 1)
            ran_on = machine.line()
            if path.exists():  # the first run is the complete one: cached results hide the time of nested ones
                first = json.loads(path.read_text(encoding="utf-8"))
                seconds, ran_on = max(seconds, first["seconds"]), first["ran_on"]
            result |= {"seconds": seconds, "ran_on": ran_on}
            write_text(path, json.dumps(result, ensure_ascii=False))
            study.report(f"step {name}: {result['seconds']:.0f} s of work, {time.monotonic() - started:.0f} s now")
    # Read at the end: other processes may have run some of them in the meantime.
    return {name: json.loads(path.read_text(encoding="utf-8")) for name, path in paths.items() if path.exists()}


def _key(study: Study, step: str) -> str:
    """Return a hash of the settings, rows, base model and training defaults, and of the tasks that rivals train for."""
    decisive = [
        study.settings.decisive(),
        {name: task.digest for name, task in study.tasks.items()},
        digest([], study.unlabelled),
        dataclasses.asdict(TrainOptions()),
        study.base_hashes,
    ]
    if step == "rivals":
        decisive.append(sorted(set(study.settings.rival_tasks) & set(study.tasks)))
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()[:16]

"""Compare codes of many sizes: bytes per document against mean accuracy."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from encoder import Bundle
from study import encoders
from study.codes import Apply, Code, all_codes
from study.context import Features, Inputs, Study
from study.measure import BEFORE_THE_THRESHOLD, LEARNED
from study.records import Record


def run(study: Study) -> dict[str, Any]:
    """Measure the frozen base's codes."""
    return {"records": code_records(study, encoders.frozen(study), "frozen", {"encoder": "frozen", "seed": None})}


def run_trained(study: Study) -> dict[str, Any]:
    """Measure the codes of the encoder trained on all tasks, and those of encoders whose projection is trained."""
    settings = study.settings
    first = settings.rival_seeds[0]
    fields = {"encoder": "multi-task", "seed": first}
    records = code_records(study, encoders.trained(study, first), f"multi-task-{first}", fields)
    for seed, bits in itertools.product(settings.rival_seeds, settings.learned_sizes):
        records += _learned_records(study, seed, bits)
        study.report(f"learned projection to {bits} bits, seed {seed}: measured")
    return {"records": records}


def _learned_records(study: Study, seed: int, bits: int) -> list[Record]:
    """Measure an encoder whose projection is trained: its bits, the floats before the threshold, its first bits."""
    settings = study.settings
    bundle = encoders.trained(study, seed, bits=bits)
    codes = [(LEARNED, bits, "bits"), (BEFORE_THE_THRESHOLD, bits, "floats")]
    codes += [(f"first of {bits:,} learned", size, "bits") for size in settings.sizes if size < bits]
    records = []
    for name in settings.tasks:
        task = study.tasks[name]
        features = study.features(bundle, f"learned-{bits}-{seed}", task)
        rows = {"fit": list(range(min(settings.size_rows, len(task.splits["train"]))))}
        for method, size, code in codes:
            key: dict[str, Any] = features.key | {"code": code}
            inputs: Inputs = features.bits if code == "bits" else features.floats
            stored, label = size / 8 if code == "bits" else 4.0 * size, code
            if size < bits:
                key, inputs, label = key | {"first": size}, _first(features, size // 8), f"first-{size}"
            fields = {"task": name, "method": method, "bytes": stored, "metric": task.metric}
            figures = study.head(f"learned-{bits}-{label}", task, key, inputs, rows)
            records.append(fields | {"encoder": "multi-task", "seed": seed} | figures)
    return records


def _first(features: Features, count: int) -> Inputs:
    """Return a function from a split's name to the first `count` bytes of its codes."""
    return lambda split: np.ascontiguousarray(features.bits(split)[:, :count])


def code_records(study: Study, bundle: Bundle, name: str, fields: dict[str, Any]) -> list[Record]:
    """Measure every code of an encoder's features on every task, with all heads on the same training rows."""
    settings = study.settings
    codes = all_codes(bundle.bits, study.width, settings.sizes)
    features = {task: study.features(bundle, name, study.tasks[task]) for task in settings.tasks}
    sample: list[np.ndarray] = []
    records = []
    for code in codes:
        fitted: list[Apply] = []
        for task_name in settings.tasks:
            task, of = study.tasks[task_name], features[task_name]
            rows = {"fit": list(range(min(settings.size_rows, len(task.splits["train"]))))}
            key = of.key | {"code": code.name, "sample": [f.key for f in features.values()]}

            def inputs(split: str, of: Features = of, code: Code = code, fitted: list[Apply] = fitted) -> np.ndarray:
                if not fitted:
                    if not sample:
                        sample.append(_sample(study, features))
                    fitted.append(code.fit(sample[0]))
                return fitted[0](of.floats(split))

            measured_of = {"task": task_name, "method": code.method, "bytes": code.bytes_a_document}
            figures = study.head(f"{name}-{code.name}", task, key, inputs, rows)
            records.append(measured_of | {"metric": task.metric} | fields | figures)
        study.report(f"{name}, {code.name}: measured")
    return records


def _sample(study: Study, features: dict) -> np.ndarray:
    """Return the features (rows, dim) float32 of training rows, equally many of each task."""
    each = -(-study.settings.calibrate_rows // len(features))
    return np.concatenate([of.floats("train")[:each] for of in features.values()])

"""Measure encoders by a linear head per task, on floats and on bits, with all training rows and with few."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from encoder import Bundle
from study.context import Features, Inputs, Study
from study.records import Record
from study.tasks import few_shot

CODES = ("floats", "bits")
LAST_LAYER = "last layer"
ROTATED_BITS = "rotated bits"
LEARNED, BEFORE_THE_THRESHOLD = "learned projection", "learned projection, float32"
ALL_LAYERS = "all layers"


def encoder_records(
    study: Study,
    bundle: Bundle,
    name: str,
    tasks: Sequence[str],
    fields: dict[str, Any],
    layers: Sequence[str] = (ALL_LAYERS,),
    shots: Sequence[int] = (),
) -> list[Record]:
    """Measure an encoder that pools the mean of each of its layers.

    Args:
        name: name of the encoder, for people.
        fields: further fields of every record.
        layers: which features to measure: those of all layers, of the last layer, or both.
        shots: numbers of examples per class. Single-label tasks also get heads on so few rows.
    """
    records = []
    for task_name in tasks:
        task = study.tasks[task_name]
        features = study.features(bundle, name, task)
        for which in layers:
            for code in CODES:
                key, inputs = view(study, features, which, code)
                record = {"task": task_name, "layers": which, "code": code, "metric": task.metric} | fields
                records.append(record | study.head(f"{name}-{which}-{code}", task, key, inputs))
        if task.kind != "single":
            continue
        for few in shots:
            for seed in study.settings.seeds if fields.get("seed") is None else (fields["seed"],):
                fit, choose = few_shot(task, few, seed)
                rows = {"fit": fit.tolist(), "choose": choose.tolist()}
                for code in CODES:
                    key, inputs = view(study, features, ALL_LAYERS, code)
                    record = {"task": task_name, "layers": ALL_LAYERS, "code": code, "metric": task.metric} | fields
                    figures = study.head(f"{name}-{few}-shots-{code}", task, key, inputs, rows)
                    records.append(record | {"seed": seed, "shots": few} | figures)
        study.report(f"{name}, {task_name}: measured")
    return records


def view(study: Study, features: Features, layers: str, code: str) -> tuple[dict[str, Any], Inputs]:
    """Return the cache key of the floats or bits of some layers, and a function from a split's name to them."""
    width = features.width if layers == LAST_LAYER else None
    key = features.key | {"code": code, "last_columns": width}

    def inputs(split: str) -> np.ndarray:
        if code == "bits":
            bits = features.bits(split)
            return bits if width is None else np.ascontiguousarray(bits[:, -width // 8 :])
        floats = features.floats(split)
        return floats if width is None else np.ascontiguousarray(floats[:, -width:])

    return key, inputs

"""Compare poolings: positions × layers, as floats and as bits, of the frozen base and of a trained encoder.

One pass computes the features of every layer at every position. They are measured and not stored.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from encoder import Bundle, Pooling
from encoder import bits as bit_packing
from study import encoders
from study.cache import Step
from study.context import Study
from study.measure import ALL_LAYERS, CODES, LAST_LAYER
from study.records import Record, mean_value, select
from study.scoring import fit_and_measure
from study.tasks import Labelled

POOLINGS = Step("poolings", 1)
LAST_THREE = "last three"


def run(study: Study) -> dict[str, Any]:
    """Measure the frozen base's poolings."""
    return {"records": wide_records(study, _wide(study), "frozen")}


def run_trained(study: Study) -> dict[str, Any]:
    """Measure all poolings of one trained encoder, and encoders that are trained with the best poolings."""
    settings = study.settings
    seed = settings.rival_seeds[0]
    wide = _wide(study)
    records = wide_records(study, encoders.repool(study, wide, encoders.trained(study, seed)), "trained")
    frozen = wide_records(study, wide, "frozen")
    combinations = [(layers, position) for layers in layer_sets(study) for position in settings.positions]
    best = sorted(combinations, key=lambda c: -_validation(frozen, *c))[: settings.trained_poolings]
    for layers, position in best:
        bundle = encoders.trained(study, seed, layers=layer_sets(study)[layers], positions=(position,))
        for name in settings.tasks:
            task = study.tasks[name].limit_rows(settings.pooling_rows, settings.pooling_test_rows)
            features = study.features(bundle, f"trained-{position}-{layers}", task)
            for code in CODES:
                inputs = features.bits if code == "bits" else features.floats
                fields = _fields(name, task, "trained so", position, layers, code)
                key = features.key | {"code": code}
                records.append(fields | study.head(f"trained-{position}-{layers}-{code}", task, key, inputs))
    return {"records": records}


def layer_sets(study: Study) -> dict[str, tuple[int, ...]]:
    """Return the sets of layers by name."""
    return {LAST_LAYER: study.layers[-1:], LAST_THREE: study.layers[-3:], ALL_LAYERS: study.layers}


def wide_records(study: Study, bundle: Bundle, name: str) -> list[Record]:
    """Measure every pooling that a bundle of all layers and positions contains."""
    settings = study.settings
    records = []
    for task_name in settings.tasks:
        task = study.tasks[task_name].limit_rows(settings.pooling_rows, settings.pooling_test_rows)
        inputs = {"encoder": bundle.fingerprint, "task": task.digest, "sets": layer_sets(study)}
        inputs |= {"precision": settings.precision, "device": settings.device}
        records += study.cache.value(
            POOLINGS, f"{name}-{task_name}", inputs, functools.partial(_measure, study, bundle, name, task)
        )
        study.report(f"poolings of the {name} encoder, {task_name}: measured")
    return records


def columns(bundle: Bundle, width: int, layers: tuple[int, ...], position: str) -> np.ndarray:
    """Return the columns of a wide bundle's features that are the features of one pooling, in its order."""
    parts, start = [], 0
    for layer in bundle.pooling.layers:
        for at in bundle.pooling.positions:
            size = Pooling((layer,), (at,)).dim(width)
            if layer in layers and at == position:
                parts.append(np.arange(start, start + size))
            start += size
    return np.concatenate(parts)


def _measure(study: Study, bundle: Bundle, name: str, task: Labelled) -> list[Record]:
    """Measure all poolings on one task."""
    records = []
    encoded = {split: study.load(bundle).features(rows.texts) for split, rows in task.splits.items()}
    for layers, numbers in layer_sets(study).items():
        for position in study.settings.positions:
            indices = columns(bundle, study.width, numbers, position)
            floats = {split: np.ascontiguousarray(features[:, indices]) for split, features in encoded.items()}
            bits = {split: bit_packing.pack(part > bundle.thresholds[indices]) for split, part in floats.items()}
            for code, of in (("floats", floats), ("bits", bits)):
                fields = _fields(task.name, task, name, position, layers, code) | {"dims": len(indices)}
                records.append(fields | fit_and_measure(task, of.__getitem__, {}))
    return records


def _fields(name: str, task: Labelled, encoder: str, position: str, layers: str, code: str) -> Record:
    fields = {"task": name, "encoder": encoder, "position": position, "layers": layers}
    return fields | {"code": code, "metric": task.metric, "seed": None}


def _validation(records: list[Record], layers: str, position: str) -> float:
    chosen = select(records, layers=layers, position=position, code="bits")
    return mean_value([record | {"value": record["validation"]} for record in chosen])


def _wide(study: Study) -> Bundle:
    return encoders.frozen(study, layer_sets(study)[ALL_LAYERS], study.settings.positions)

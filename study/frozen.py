"""Measure the frozen base: last layer and all layers; floats, bits and rotated bits; all rows and few."""

from __future__ import annotations

from typing import Any

import numpy as np

from encoder import bits as bit_packing
from encoder.projection import project
from study import encoders
from study.context import Study
from study.measure import ALL_LAYERS, LAST_LAYER, ROTATED_BITS, encoder_records
from study.records import Record


def run(study: Study) -> dict[str, Any]:
    bundle = encoders.frozen(study)
    records = encoder_records(
        study,
        bundle,
        "frozen",
        study.settings.tasks,
        {"encoder": "frozen", "seed": None},
        layers=(LAST_LAYER, ALL_LAYERS),
        shots=study.settings.shots,
    )
    return {"records": [*records, *_rotated(study)], "bits": bundle.bits, "width": study.width}


def _rotated(study: Study) -> list[Record]:
    """Measure the bits after each layer is rotated at random, as in trained encoders, on the same features."""
    plain, rotated = encoders.frozen(study), encoders.frozen(study, rotation="layers")
    records = []
    for name, task in study.tasks.items():
        features = study.features(plain, "frozen", task)

        def bits(split: str, features=features) -> np.ndarray:
            return bit_packing.pack(project(features.floats(split), rotated.projection) > rotated.thresholds)

        fields = {"task": name, "layers": ALL_LAYERS, "code": ROTATED_BITS, "metric": task.metric}
        figures = study.head("frozen-rotated-bits", task, features.key | {"rotated": rotated.fingerprint}, bits)
        records.append(fields | {"encoder": "frozen", "seed": None} | figures)
    return records

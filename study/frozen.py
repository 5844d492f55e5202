"""Measure the frozen base: last layer and all layers, floats and bits, all rows and few."""

from __future__ import annotations

from typing import Any

from study import encoders
from study.context import Study
from study.measure import ALL_LAYERS, LAST_LAYER, encoder_records


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
    return {"records": records, "bits": bundle.bits, "width": study.width}

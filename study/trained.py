"""Measure trained encoders: on all tasks, and with every group of sibling tasks left out in turn."""

from __future__ import annotations

from typing import Any

from study import encoders
from study.context import Study
from study.measure import ALL_LAYERS, LAST_LAYER, encoder_records
from study.progress import Progress
from study.tasks import held_out_plan


def run(study: Study) -> dict[str, Any]:
    """Measure every task by an encoder that was trained on it, and by one that saw neither it nor its siblings."""
    settings = study.settings
    records = []
    plan = held_out_plan(settings.tasks)
    history = {}
    both = (LAST_LAYER, ALL_LAYERS)
    progress = Progress(study.report, len(settings.seeds) * (1 + len(plan)))
    for seed in settings.seeds:
        with progress.part(f"encoder trained on all tasks, seed {seed}", 1):
            bundle = encoders.trained(study, seed)
            history[f"multi-task, seed {seed}"] = bundle.training
            fields = {"encoder": "multi-task", "seed": seed}
            records += encoder_records(study, bundle, f"multi-task-{seed}", settings.tasks, fields, both)
        for number, group in enumerate(plan):
            with progress.part(f"encoder trained without {', '.join(group)}, seed {seed}", 1):
                bundle = encoders.trained(study, seed, group)
                history[f"without {', '.join(group)}, seed {seed}"] = bundle.training
                fields = {"encoder": "left out", "seed": seed}
                name = f"left-out-{number}-{seed}"
                records += encoder_records(study, bundle, name, group, fields, both, settings.shots)
    return {"records": records, "plan": plan, "training": history}

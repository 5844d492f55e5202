"""Measure encoders trained on all tasks, and encoders trained without each group of sibling tasks."""

from __future__ import annotations

from typing import Any

from study import encoders
from study.context import Study
from study.measure import encoder_records
from study.progress import Progress
from study.tasks import held_out_plan


def run(study: Study) -> dict[str, Any]:
    """Measure every task with an encoder trained on it, and with one trained without it and its siblings."""
    settings = study.settings
    plan = held_out_plan(settings.tasks)
    whole, part = (encoders.train_options(study, 0, held_out).steps for held_out in (False, True))
    work = len(settings.rival_seeds) * whole + len(settings.seeds) * len(plan) * part
    progress = Progress(study.report, work)
    records, history = [], {}
    for seed in settings.rival_seeds:
        with progress.part(f"encoder trained on all tasks, seed {seed}", whole):
            bundle = encoders.trained(study, seed)
            history[f"multi-task, seed {seed}"] = bundle.training
            records += encoder_records(
                study, bundle, f"multi-task-{seed}", settings.tasks, {"encoder": "multi-task", "seed": seed}
            )
    for seed in settings.seeds:
        for number, group in enumerate(plan):
            with progress.part(f"encoder trained without {', '.join(group)}, seed {seed}", part):
                bundle = encoders.trained(study, seed, group)
                history[f"without {', '.join(group)}, seed {seed}"] = bundle.training
                fields = {"encoder": "left out", "seed": seed}
                records += encoder_records(
                    study, bundle, f"left-out-{number}-{seed}", group, fields, shots=settings.shots
                )
    return {"records": records, "plan": plan, "training": history}

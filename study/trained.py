"""Measure trained encoders: on all tasks, and with every group of sibling tasks left out in turn."""

from __future__ import annotations

from typing import Any

from encoder.train_options import TrainOptions
from study import encoders
from study.context import Study
from study.measure import ALL_LAYERS, DEFAULT_STEPS, LAST_LAYER, encoder_records
from study.progress import Progress
from study.tasks import held_out_plan


def run(study: Study) -> dict[str, Any]:
    """Measure every task by an encoder that was trained on it, and by one that saw neither it nor its siblings."""
    settings = study.settings
    records = []
    plan = held_out_plan(settings.tasks)
    history = {}
    both = (LAST_LAYER, ALL_LAYERS)
    longer = settings.default_steps and settings.train_steps not in (None, TrainOptions().steps)
    more_work = TrainOptions().steps / settings.train_steps if longer else 0
    longer_seeds = settings.rival_seeds if longer else ()  # it is judged against rivals
    progress = Progress(study.report, len(settings.seeds) * (1 + len(plan)) + len(longer_seeds) * more_work)
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
    for seed in longer_seeds:
        with progress.part(f"encoder trained on all tasks with the default steps, seed {seed}", more_work):
            bundle = encoders.trained(study, seed, default_steps=True)
            history[f"{DEFAULT_STEPS}, seed {seed}"] = bundle.training
            fields = {"encoder": DEFAULT_STEPS, "seed": seed}
            name = f"multi-task-{seed}-default-steps"
            records += encoder_records(study, bundle, name, settings.tasks, fields, (ALL_LAYERS,))
    return {"records": records, "plan": plan, "training": history}

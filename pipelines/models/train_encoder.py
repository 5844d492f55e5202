"""Train an encoder on folders of labelled tasks: the program of `encode-once train-encoder`."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from encoder import Bundle, EncoderError
from encoder.bundle import ENCODER_FOLDER
from encoder.model_folder import check_writable
from encoder.training.tasks import Task
from pipelines.command_line.cli import main_of
from pipelines.models.labelled import read_texts, sample_balanced
from pipelines.models.options import parse_train_encoder
from pipelines.models.task_folders import find_folders, read_task

if TYPE_CHECKING:
    from encoder.training.trainer import Progress

_log = logging.getLogger(__name__)


def run(argv: Sequence[str]) -> Bundle:
    """Train a bundle, write its folder, and return it."""
    options = parse_train_encoder(argv)
    training = options.training
    output = Path(options.output).resolve()
    folders = find_folders(options.tasks)
    ENCODER_FOLDER.check_free(output, options.overwrite)
    checkpoint_folder = output.with_name(f"{output.name}.training")
    check_writable(checkpoint_folder, EncoderError)
    tasks = [read_task(folder, options.text_field, options.label_field) for folder in folders]
    for task in tasks:
        kind = task.kind if task.kind == "regression" else f"{task.kind}, {len(task.classes)} classes"
        print(f"task {task.name}: {kind}, {len(task.train.texts):,} training rows")
    unlabelled = [text for path in options.unlabelled for text in read_texts(path, options.text_field)]
    if unlabelled and not (
        (training.similarity_weight or training.reconstruction_weight) and training.unlabelled_share
    ):
        _log.warning(
            "--unlabelled texts only fit the thresholds: --unlabelled_share is 0, or both --similarity_weight and "
            "--reconstruction_weight are"
        )
    groups = [task.train.texts for task in tasks] + ([unlabelled] if unlabelled else [])
    sample = sample_balanced(groups, options.calibrate_rows, training.seed)
    from encoder.training import checkpoint  # loads torch: only after the files were read
    from encoder.training.train import train

    bundle = train(
        options.bundle,
        tasks,
        sample,
        unlabelled=unlabelled,
        options=training,
        device=options.device,
        precision=options.precision,
        source=options.source or _source(tasks, options.unlabelled),
        checkpoint_folder=checkpoint_folder,
        report=_print,
    )
    bundle.save(output)
    checkpoint.remove(checkpoint_folder)
    size = sum(map(len, bundle.files().values()))
    print(
        f"encoder {bundle.name} ({bundle.fingerprint[:12]}): {bundle.bits} bits from layers "
        f"{', '.join(map(str, bundle.pooling.layers))} of {bundle.base_id}, trained on {len(tasks)} tasks for "
        f"{bundle.training['best_step']} steps\nwritten to {output} ({size / 1e6:.1f} MB)"
    )
    return bundle


def _source(tasks: list[Task], unlabelled: Sequence[str]) -> str:
    """Describe where the texts for the thresholds come from."""
    named = f"training splits of: {' '.join(task.name for task in tasks)}"
    return named + (f"; and {', '.join(Path(path).name for path in unlabelled)}" if unlabelled else "")


def _print(progress: Progress) -> None:
    if not progress.losses:
        print(f"continuing from the checkpoint of step {progress.step}/{progress.steps}", flush=True)
        return
    left = f"{progress.seconds_per_step:.2f} s a step, {progress.seconds_left / 60:.0f} min left"
    losses = ", ".join(f"{name} {loss:.3f}" for name, loss in progress.losses.items())
    print(f"step {progress.step}/{progress.steps} ({left}); losses: {losses}", flush=True)
    if progress.scores:
        mean = sum(progress.scores.values()) / len(progress.scores)
        scores = ", ".join(f"{name} {score:.3f}" for name, score in progress.scores.items())
        print(f"validation after {progress.step} steps: mean {mean:.4f}; {scores}", flush=True)


if __name__ == "__main__":
    sys.exit(main_of(run))

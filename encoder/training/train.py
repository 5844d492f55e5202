"""Train an encoder on many tasks at once, with the bits it will store in view.

After Du et al. (Findings of EMNLP 2020): an encoder trained on several tasks serves tasks it never saw. Texts → features of
several layers and positions → scaled → rotated, or projected where fewer or more bits than features are asked for → signs, with
a straight-through gradient → one linear head a task and a decoder back to the base model's features, all thrown away. Knows no
file format but its checkpoint's.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from encoder.base import Diverged, EncoderError
from encoder.bundle import Bundle, default_overlap
from encoder.encode import Encoder
from encoder.forward.model import choose_device, choose_precision, load_model
from encoder.make import check_sample, first_projection, mean_thresholds
from encoder.projection import count_values
from encoder.settings import BundleSettings
from encoder.tokenize import Tokenizer, rows_that_fit
from encoder.training import checkpoint, warm_start
from encoder.training.batch_loss import KEEP, REBUILD
from encoder.training.deterministic import repeatable
from encoder.training.options import TrainOptions
from encoder.training.tasks import Task, digest
from encoder.training.trainable_encoder import Student
from encoder.training.trained_layers import check_train_layers, learned_adapter
from encoder.training.trainer import Progress, Trainer

KEEP_ROWS = 16


def train(
    settings: BundleSettings,
    tasks: list[Task],
    sample: list[str],
    *,
    unlabelled: list[str] | None = None,
    options: TrainOptions | None = None,
    device: str = "auto",
    precision: str = "auto",
    source: str = "",
    frozen_features: Callable[[list[str]], np.ndarray] | None = None,
    checkpoint_folder: Path | None = None,
    report: Callable[[Progress], None] = lambda progress: None,
) -> Bundle:
    """Train a base model on tasks; gives a bundle with what was learned as its adapter.

    The same call gives the same bundle on the same machine (CPU; on a GPU where its kernels allow).

    Args:
        settings: what the bundle is made of. `bits` None keeps a bit a pooled dimension, which forgets least, rotated as
            `rotation` says; another number learns a projection, from where `encoder.make.make` would put it.
        tasks: what is learned, at least one.
        sample: a mix of the texts to be coded, at least 64: the thresholds are its means, with the final weights.
        unlabelled: texts of the kind to be coded, for the terms that hold on to the base model.
        precision: "auto", "float32" or "bfloat16" of the transformer's products; weights are float32.
        source: says where the texts are from, for the bundle's description.
        frozen_features: gives the untrained bundle's features (n, dim) float32 of tasks' training texts cut to
            `train_tokens`, where they are at hand: a training encodes up to 2,000 texts a task for them.
        checkpoint_folder: where a checkpoint is kept and, where it holds one of this very call, gone on from. It is removed
            by `checkpoint.remove`, when the bundle is safe, and where the training cannot go on.
        report: is told the progress.

    Raises:
        EncoderError: what cannot be trained, before anything is computed; a loss that is no number.
    """
    options = options or TrainOptions()
    unlabelled = list(unlabelled or ()) if options.keep or options.rebuild else []
    _check_names(tasks)
    raw = settings.uncut()
    check_sample(sample, settings.bits, raw.bits)
    top = max(raw.pooling.layers)
    if top == 0:
        raise EncoderError("no layer can be trained: the pooling reads the embeddings alone")
    check_train_layers(options.train_layers, top)
    chosen = choose_device(device)
    half = choose_precision(precision, chosen) is torch.bfloat16
    found = raw.find_base()
    short = _cut_short(raw, options.train_tokens)
    _check_passes(short.max_tokens, options)
    run_id = _run_id(raw, settings, tasks, unlabelled, sample, half, chosen, options)
    if checkpoint_folder is not None:
        checkpoint.check(checkpoint_folder, run_id)
    tokenizer = Tokenizer(found.folder, short.max_tokens, short.prefix, short.long_texts, 0, found.pad_id)
    with repeatable(chosen):
        # The reference precision, as in `make`.
        features = Encoder(raw, device=device, precision="float32").features(sample)
        if not np.isfinite(features).all():
            raise EncoderError(f"base model {settings.base} gives features that are no numbers (NaN or infinity)")
        projection, how = first_projection(features, settings, options.seed)
        torch.manual_seed(options.seed)
        student = Student(raw, tasks, options, features, projection, chosen, half)
        if checkpoint_folder is None or not checkpoint.exists(checkpoint_folder):
            frozen = frozen_features or Encoder(short, device=device, precision=precision).features
            _start(student, tasks, features, frozen, options)
            del frozen  # a base model of its own
        trainer = Trainer(student, tokenizer, tasks, unlabelled, options)
        try:
            trainer.run(checkpoint_folder, run_id, report)
            untouched = load_model(found.folder, max(raw.pooling.layers), torch.device("cpu"), torch.float32)
            adapter = learned_adapter(student.learned, untouched, options.rank)
            learned = student.bit_layer.projection()
        except Diverged:
            if checkpoint_folder is not None:
                checkpoint.remove(checkpoint_folder)  # the same call would come to the same end
            raise
    cut = dataclasses.replace(raw, adapter=adapter)
    if learned is not None:
        projection, how = learned, how | {"projection": f"learned, from {how['projection']}"}
    if projection is not None:
        bits = count_values(projection)
        cut = dataclasses.replace(cut, bits=bits, projection=projection, thresholds=np.zeros(bits, np.float32))
    features = Encoder(cut, device=device, precision="float32").features(sample)
    return dataclasses.replace(
        cut,
        thresholds=mean_thresholds(features),
        calibration={"texts": len(sample), "thresholds": "mean of each dimension", "source": source} | how,
        training=_record(tasks, unlabelled, options, trainer),
    )


def _cut_short(raw: Bundle, most_tokens: int) -> Bundle:
    """Let a bundle read the beginning of a text alone, as training does."""
    most_tokens = min(raw.max_tokens, most_tokens)
    return dataclasses.replace(
        raw, max_tokens=most_tokens, long_texts="truncate", overlap_tokens=default_overlap(most_tokens)
    )


def _check_passes(most_tokens: int, options: TrainOptions) -> None:
    """Raise EncoderError where a pass has room for too few texts for the similarities between them to say anything."""
    rows = rows_that_fit(most_tokens, options.batch_tokens)
    if options.keep and rows < min(KEEP_ROWS, options.batch_texts):
        raise EncoderError(
            f"batch_tokens {options.batch_tokens} has room for {rows} texts of {most_tokens} tokens, too little for keep, "
            f"which compares the texts of a pass: take at least {KEEP_ROWS * most_tokens}, fewer train_tokens, or keep 0"
        )


def _start(
    student: Student,
    tasks: list[Task],
    features: np.ndarray,
    features_of: Callable[[list[str]], np.ndarray],
    options: TrainOptions,
) -> None:
    """Fit heads and decoder to the frozen encoder, which is not needed after that."""
    seen = warm_start.start_heads(student, tasks, features_of, options.seed)
    if options.rebuild:
        warm_start.start_decoder(student, np.concatenate([features, seen]))


def _check_names(tasks: list[Task]) -> None:
    if not tasks:
        raise EncoderError("training needs at least one task")
    if taken := sorted({task.name for task in tasks} & {KEEP, REBUILD}):
        raise EncoderError(f"a task cannot be called {taken[0]!r}, as a term of the loss is; rename its folder")
    name, times = Counter(task.name for task in tasks).most_common(1)[0]
    if times > 1:
        raise EncoderError(f"task {name!r} is named twice; name each task once")


def _run_id(
    raw: Bundle,
    settings: BundleSettings,
    tasks: list[Task],
    unlabelled: list[str],
    sample: list[str],
    half: bool,
    device: torch.device,
    options: TrainOptions,
) -> str:
    """Return a hash of all that decides what is learned."""
    decisive = [
        raw.fingerprint,
        settings.bits,
        settings.rotation,
        half,
        device.type,
        dataclasses.asdict(options),
        digest(tasks, [*unlabelled, *sample]),
    ]
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()


def _record(tasks: list[Task], unlabelled: list[str], options: TrainOptions, trainer: Trainer) -> dict[str, Any]:
    """Say how the encoder was trained. Nothing of when or how fast: the same call gives the same bytes."""
    return {
        "tasks": [
            {"name": t.name, "kind": t.kind, "outputs": t.outputs, "train_rows": len(t.train)}
            | {"validation_rows": len(t.validation)}
            for t in tasks
        ],
        "unlabelled_texts": len(unlabelled),
        "options": dataclasses.asdict(options),
        "steps": trainer.step,
        "best_step": trainer.best_step,
        "history_of": "losses against guessing, scores of the training heads on bits",
        "history": trainer.history,
    }

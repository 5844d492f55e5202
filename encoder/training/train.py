"""Train an encoder on many tasks at once, through the bits that it will store.

After Du et al. (Findings of EMNLP 2020): an encoder trained on several tasks serves tasks it never saw. Texts → features of
several layers and positions → scaled → rotated, or projected if more or fewer bits than features are asked for → signs, with a
straight-through gradient → a linear head for each task, and a decoder back to the base model's features. Heads and decoder are
discarded. The only file format known here is that of the checkpoint.
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

from encoder.base import DivergedError, EncoderError
from encoder.bundle import Bundle, default_overlap
from encoder.choices import Precision
from encoder.encode import Encoder
from encoder.forward.model import choose_device, choose_precision, load_model
from encoder.make import check_sample, initial_projection, mean_thresholds
from encoder.projection import count_values
from encoder.settings import BundleSettings
from encoder.tokenize import Tokenizer, rows_that_fit
from encoder.training import checkpoint, warm_start
from encoder.training.batch_loss import RECONSTRUCTION, SIMILARITY
from encoder.training.deterministic import deterministic
from encoder.training.options import TrainOptions
from encoder.training.tasks import Task, digest
from encoder.training.trainable_encoder import TrainableEncoder
from encoder.training.trained_layers import check_train_layers, learned_adapter
from encoder.training.trainer import Progress, Trainer

MIN_COMPARED_ROWS = 16  # in a pass: the similarities between fewer texts are mostly noise


def train(
    settings: BundleSettings,
    tasks: list[Task],
    sample: list[str],
    *,
    unlabelled: list[str] | None = None,
    options: TrainOptions | None = None,
    device: str = "auto",
    precision: Precision = "auto",
    source: str = "",
    frozen_features: Callable[[list[str]], np.ndarray] | None = None,
    checkpoint_folder: Path | None = None,
    report: Callable[[Progress], None] = lambda progress: None,
) -> Bundle:
    """Train a base model on tasks and return a bundle with the differences of its weights as adapter.

    The same call gives the same bundle on the same machine (on a GPU where its kernels allow).

    Args:
        settings: of the bundle. With `bits` None, each pooled dimension gives a bit, rotated as `rotation` says; this forgets
            least. Another number of bits learns a projection, which starts at the one of `encoder.make.make_bundle`.
        tasks: what is learned, at least one.
        sample: at least 64 texts like those to be encoded. The thresholds are the means over them, with the final weights.
        unlabelled: texts like those to be encoded, for the terms that compare with the base model.
        precision: of the transformer's products; weights are float32.
        source: where the rows are from, for the bundle's description.
        frozen_features: returns the untrained bundle's features (n, dim) float32 of training texts truncated to `train_tokens`,
            if they were computed before. Else the base model encodes up to 2,000 texts of each task.
        checkpoint_folder: where checkpoints are written. A checkpoint of this same call there is resumed. It is removed if the
            training diverges; after success the caller removes it by `checkpoint.remove`, once the bundle is stored.
        report: called with the progress.

    Raises:
        EncoderError: arguments that cannot be trained with, before anything is computed.
        DivergedError: a loss, gradient or weight that is not a number or too large.
    """
    options = options or TrainOptions()
    compares = options.similarity_weight or options.reconstruction_weight
    unlabelled = list(unlabelled or ()) if compares else []
    _check_names(tasks)
    raw = settings.without_thresholds()
    check_sample(sample, settings.bits, raw.bits)
    top = max(raw.pooling.layers)
    if top == 0:
        raise EncoderError("no layer can be trained: the pooling reads the embeddings alone")
    check_train_layers(options.train_layers, top)
    chosen = choose_device(device)
    half = choose_precision(precision, chosen) is torch.bfloat16
    base = raw.find_base()
    truncated = _truncated(raw, options.train_tokens)
    _check_passes(truncated.max_tokens, options)
    run_id = _run_id(raw, settings, tasks, unlabelled, sample, half, chosen, options)
    if checkpoint_folder is not None:
        checkpoint.check(checkpoint_folder, run_id)
    tokenizer = Tokenizer(base.folder, truncated.max_tokens, truncated.prefix, truncated.long_texts, 0, base.pad_id)
    with deterministic(chosen):
        # float32, as `make_bundle` does.
        features = Encoder(raw, device=device, precision="float32").features(sample)
        if not np.isfinite(features).all():
            raise EncoderError(f"base model {settings.base} gives features that are not numbers (NaN or infinity)")
        projection, projection_record = initial_projection(features, settings, options.seed)
        torch.manual_seed(options.seed)
        model = TrainableEncoder(raw, tasks, options, features, projection, chosen, half)
        if checkpoint_folder is None or not checkpoint.exists(checkpoint_folder):
            frozen_features = frozen_features or Encoder(truncated, device=device, precision=precision).features
            _start(model, tasks, features, frozen_features, options)
        del frozen_features  # it may hold a base model of its own
        trainer = Trainer(model, tokenizer, tasks, unlabelled, options)
        try:
            trainer.run(checkpoint_folder, run_id, report)
            untrained = load_model(base.folder, top, torch.device("cpu"), torch.float32)
            adapter = learned_adapter(model.learned, untrained, options.rank)
            learned_projection = model.bit_layer.projection()
        except DivergedError:
            if checkpoint_folder is not None:
                checkpoint.remove(checkpoint_folder)  # the same call would diverge again
            raise
    bundle = dataclasses.replace(raw, adapter=adapter)
    if learned_projection is not None:
        start = projection_record["projection"]
        projection, projection_record = learned_projection, projection_record | {"projection": f"learned, from {start}"}
    if projection is not None:
        bits = count_values(projection)
        bundle = dataclasses.replace(bundle, bits=bits, projection=projection, thresholds=np.zeros(bits, np.float32))
    features = Encoder(bundle, device=device, precision="float32").features(sample)
    calibration = {"texts": len(sample), "thresholds": "mean of each dimension", "source": source}
    return dataclasses.replace(
        bundle,
        thresholds=mean_thresholds(features),
        calibration=calibration | projection_record,
        training=_record(tasks, unlabelled, options, trainer),
    )


def _truncated(raw: Bundle, max_tokens: int) -> Bundle:
    """Return a bundle that reads only the first `max_tokens` of a text, as training does."""
    max_tokens = min(raw.max_tokens, max_tokens)
    return dataclasses.replace(
        raw, max_tokens=max_tokens, long_texts="truncate", overlap_tokens=default_overlap(max_tokens)
    )


def _check_passes(max_tokens: int, options: TrainOptions) -> None:
    """Raise EncoderError if a pass holds too few texts for the similarity loss."""
    rows = rows_that_fit(max_tokens, options.batch_tokens)
    if options.similarity_weight and rows < min(MIN_COMPARED_ROWS, options.batch_texts):
        raise EncoderError(
            f"batch_tokens {options.batch_tokens} has room for {rows} texts of {max_tokens} tokens, too few for the "
            f"similarity loss, which compares the texts of a pass: take at least {MIN_COMPARED_ROWS * max_tokens}, fewer "
            "train_tokens, or similarity_weight 0"
        )


def _start(
    model: TrainableEncoder,
    tasks: list[Task],
    features: np.ndarray,
    features_of: Callable[[list[str]], np.ndarray],
    options: TrainOptions,
) -> None:
    """Fit heads and decoder to the frozen encoder."""
    task_features = warm_start.start_heads(model, tasks, features_of, options.seed)
    if options.reconstruction_weight:
        warm_start.start_decoder(model, np.concatenate([features, task_features]))


def _check_names(tasks: list[Task]) -> None:
    if not tasks:
        raise EncoderError("training needs at least one task")
    if reserved := sorted({task.name for task in tasks} & {SIMILARITY, RECONSTRUCTION}):
        raise EncoderError(f"a task cannot be called {reserved[0]!r}, the name of a loss term; rename its folder")
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
    """Return a hash over everything that decides what is learned."""
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
    """Describe the training. No dates and no speeds: the same call gives the same bytes."""
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
        "history_of": "losses divided by those of a head that ignores the text; scores of the training heads on bits",
        "history": trainer.history,
    }

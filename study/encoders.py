"""Make the encoders that are compared: frozen and trained ones, as `make-encoder` and `train-encoder` make them."""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from encoder import Bundle, bundle
from encoder.make import make_bundle, mean_thresholds
from encoder.settings import BundleSettings
from encoder.training.options import TrainOptions
from encoder.training.tasks import digest
from study.cache import Step
from study.context import Study

if TYPE_CHECKING:
    from encoder.training.train import Progress

FROZEN = Step("frozen-encoder", 1)
TRAINED = Step("trained-encoder", 1)
REREAD = Step("reread-encoder", 1)


def frozen(
    study: Study, layers: Sequence[int] | None = None, positions: Sequence[str] = ("mean",), **more: Any
) -> Bundle:
    """Make the base model's encoder: by default the mean over each layer, each dimension binarized at its mean."""
    settings = study.settings
    layers = tuple(layers or study.layers)
    texts = study.sample(settings.tasks)
    arguments: dict[str, Any] = {"layers": layers, "positions": tuple(positions), "max_tokens": settings.max_tokens}
    arguments |= {"rotation": "none"} | more
    inputs = {"base": study.base_hashes, **arguments, "sample": _digests(study, settings.tasks, ()), "rows": len(texts)}
    folder = study.cache.tree(
        FROZEN,
        f"layers-{'-'.join(map(str, layers))}",
        inputs,
        lambda path: make_bundle(
            BundleSettings("frozen", settings.base, **arguments), texts, device=settings.device
        ).save(path),
    )
    return bundle.read(folder)


def trained(
    study: Study,
    seed: int,
    held_out: Sequence[str] = (),
    layers: Sequence[int] | None = None,
    positions: Sequence[str] = ("mean",),
    bits: int | None = None,
) -> Bundle:
    """Train an encoder on all tasks that are not held out, on the study's training rows with the default options.

    The encoder sees nothing of the tasks held out: no row to learn from, and no text to fit thresholds on.
    """
    from encoder.training.train import train

    settings = study.settings
    names = [name for name in settings.tasks if name not in held_out]
    options = train_options(study, seed, bool(held_out))
    layers = tuple(layers or study.layers)
    arguments: dict[str, Any] = {"layers": layers, "positions": tuple(positions), "bits": bits}
    arguments |= {"max_tokens": settings.max_tokens}
    inputs = {
        "base": study.base_hashes,
        **arguments,
        "options": dataclasses.asdict(options),
        "tasks": _digests(study, names, study.unlabelled),
        "calibrate_rows": settings.calibrate_rows,
        "device": settings.device,
        "precision": settings.precision,
    }
    label = f"seed-{seed}-without-{'+'.join(held_out) or 'none'}"

    as_frozen = layers == study.layers and arguments["positions"] == ("mean",)
    as_frozen &= options.train_tokens >= settings.max_tokens  # training reads as much of a text as the frozen encoder

    def run(path: Path) -> None:
        study.report(f"training an encoder, seed {seed}, held out: {', '.join(held_out) or 'none'}")
        checkpoints = settings.work / "checkpoints" / study.cache.path(TRAINED, label, inputs, "").name
        trained_bundle = train(
            BundleSettings(label, settings.base, **arguments),
            [study.tasks[name].training_task() for name in names],
            study.sample(names),
            unlabelled=study.unlabelled,
            options=options,
            device=settings.device,
            precision=settings.precision,
            frozen_features=_frozen_features(study, names) if as_frozen else None,
            checkpoint_folder=checkpoints,
            report=_Reporter(study),
        )
        trained_bundle.save(path)
        from encoder.training import checkpoint

        checkpoint.remove(checkpoints)

    return bundle.read(study.cache.tree(TRAINED, label, inputs, run))


def repool(study: Study, wide: Bundle, learned: Bundle) -> Bundle:
    """Return a trained encoder with the pooling of `wide`, its thresholds fitted on the same texts as the frozen one's."""
    adapted = dataclasses.replace(wide, adapter=learned.adapter)

    def run(path: Path) -> None:
        features = study.load(adapted).features(study.sample(study.settings.tasks))
        dataclasses.replace(adapted, thresholds=mean_thresholds(features)).save(path)

    return bundle.read(study.cache.tree(REREAD, "wide", {"bundle": adapted.fingerprint}, run))


def train_options(study: Study, seed: int, held_out: bool = False) -> TrainOptions:
    """Return the options of the bundled encoder's training, with the study's number of steps; half of the layers train."""
    options = TrainOptions(seed=seed, train_layers=(study.layers[-1] + 1) // 2)
    steps = study.settings.train_steps
    if held_out and study.settings.held_out_steps is not None:
        steps = study.settings.held_out_steps
    return options if steps is None else dataclasses.replace(options, steps=steps)


def _frozen_features(study: Study, names: Sequence[str]) -> Callable[[list[str]], np.ndarray]:
    """Return a function from training texts to the frozen encoder's cached features; all trainings share them."""

    @functools.cache  # a training that continues from a checkpoint needs none
    def rows() -> dict[str, np.ndarray]:
        bundle = frozen(study)
        by_text: dict[str, np.ndarray] = {}
        for name in names:
            features = study.features(bundle, "frozen", study.tasks[name])
            by_text.update(zip(study.tasks[name].splits["train"].texts, features.floats("train")))
        return by_text

    return lambda texts: np.stack([rows()[text] for text in texts])


def _digests(study: Study, names: Sequence[str], unlabelled: Sequence[str]) -> dict[str, Any]:
    return {name: study.tasks[name].digest for name in names} | {"unlabelled": digest([], list(unlabelled))}


class _Reporter:
    """A callback that reports the progress of a training, at most once a minute."""

    def __init__(self, study: Study) -> None:
        self._study = study
        self._last = time.monotonic()

    def __call__(self, progress: Progress) -> None:
        if progress.losses and time.monotonic() - self._last > 60:
            self._last = time.monotonic()
            self._study.report(
                f"  step {progress.step}/{progress.steps}, {progress.seconds_per_step:.2f} s per step, "
                f"{progress.seconds_left / 60:.0f} min left in this training"
            )

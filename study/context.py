"""State that all steps of the study share: settings, cache, tasks, encoders, features, fitted heads."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import encoder
from encoder import Bundle, Encoder
from encoder import bits as bit_packing
from encoder.base import find
from encoder.bundle import hidden_size, layer_count
from encoder.choices import Precision
from encoder.forward.model import choose_device, choose_precision
from encoder.projection import project
from pipelines.models.labelled import read_texts, sample_balanced
from study import tasks as task_data
from study.cache import Cache, Step
from study.scoring import fit_and_measure
from study.settings import Settings
from study.tasks import Labelled

FEATURES = Step("features", 2)
HEADS = Step("heads", 1)

Inputs = Callable[[str], np.ndarray]  # takes a split's name; returns (n, dim) float32 or packed bits (n, bytes) uint8


class Study:
    """The tasks, features and figures of heads of one study, computed on first use and cached."""

    def __init__(self, settings: Settings, report: Callable[[str], None] = lambda line: None) -> None:
        device = choose_device(settings.device)
        dtype = choose_precision(settings.precision, device)
        # "auto" is resolved here, so that cached figures of one precision are never used for another.
        precision: Precision = "bfloat16" if dtype.itemsize == 2 else "float32"
        self.settings = dataclasses.replace(settings, device=str(device), precision=precision)
        self.cache = Cache(settings.work)
        self.report = report
        self._loaded: tuple[str, Encoder] | None = None

    @functools.cached_property
    def tasks(self) -> dict[str, Labelled]:
        return {name: task_data.read(self.settings.data / name, self.settings) for name in self.settings.tasks}

    @functools.cached_property
    def unlabelled(self) -> list[str]:
        """The texts that belong to no task."""
        if self.settings.unlabelled is None:
            return []
        texts = read_texts(str(self.settings.unlabelled), "text")
        rows = np.random.default_rng(0).permutation(len(texts))[: self.settings.unlabelled_rows]
        return [texts[i] for i in rows]

    @functools.cached_property
    def base_hashes(self) -> dict[str, str]:
        return find(self.settings.base).file_hashes()

    @functools.cached_property
    def layers(self) -> tuple[int, ...]:
        """The numbers of the layers that the bundled encoder pools: 0, the embeddings, and all layers of the base."""
        return tuple(range(layer_count(find(self.settings.base).config()) + 1))

    @functools.cached_property
    def width(self) -> int:
        return hidden_size(find(self.settings.base).config())

    def sample(self, names: Sequence[str]) -> list[str]:
        """Sample texts to fit thresholds and rotations on: training rows, equally many of each task."""
        groups = [self.tasks[name].splits["train"].texts for name in names]
        return sample_balanced(groups, self.settings.calibrate_rows, seed=0)

    def load(self, bundle: Bundle) -> Encoder:
        """Load an encoder. The last one loaded stays in memory."""
        if self._loaded is None or self._loaded[0] != bundle.fingerprint:
            self._loaded = None
            self._loaded = (
                bundle.fingerprint,
                encoder.load(bundle, self.settings.device, self.settings.precision),
            )
        return self._loaded[1]

    def features(self, bundle: Bundle, name: str, task: Labelled) -> Features:
        return Features(self, bundle, name, task)

    def head(
        self, label: str, task: Labelled, derived_from: dict[str, Any], inputs: Inputs, rows: dict | None = None
    ) -> dict[str, Any]:
        """Fit a head and measure it on the test split: `scoring.fit_and_measure` with a cache.

        Args:
            derived_from: what determines the inputs; part of the cache key.
            rows: lists of training rows, "fit" to fit on and "choose" to choose the regularisation on. None: the training
                and the validation split.
        """
        inputs_key = {"task": task.digest, "of": derived_from, "rows": rows}
        return self.cache.value(
            HEADS, f"{task.name}-{label}", inputs_key, lambda: fit_and_measure(task, inputs, rows or {})
        )


def unrotated(bundle: Bundle) -> Bundle:
    """Return a bundle without the rotation of another, so that it gives the unrotated features; its thresholds are unused."""
    if bundle.projection is None:
        raise ValueError(f"encoder {bundle.name} has no rotation to remove")
    dim = bundle.projection.shape[0] * bundle.projection.shape[1]
    return dataclasses.replace(bundle, bits=dim, projection=None, thresholds=np.zeros(dim, np.float32))


class Features:
    """The features of one encoder on one task, and the codes computed from them in the same pass."""

    def __init__(self, study: Study, bundle: Bundle, name: str, task: Labelled) -> None:
        self._study = study
        self._bundle = bundle
        self._name = name
        self.task = task
        settings = study.settings  # the bits of a bundle differ slightly between precisions
        self.key = {"encoder": bundle.fingerprint, "task": task.digest}
        self.key |= {"precision": settings.precision, "device": settings.device}

    @functools.cached_property
    def width(self) -> int:
        """The width of one layer."""
        return hidden_size(find(self._bundle.base_id).config())

    def floats(self, split: str) -> np.ndarray:
        """Return features (n, dim) float32, before layers are rotated; a rotation loses no information."""
        return self._arrays(split)["floats"]

    def bits(self, split: str) -> np.ndarray:
        """Return codes (n, dim // 8) uint8."""
        return self._arrays(split)["bits"]

    def _arrays(self, split: str) -> dict[str, np.ndarray]:
        texts = self.task.splits[split].texts

        def make() -> dict[str, np.ndarray]:
            bundle = self._bundle
            if bundle.rotated:
                floats = self._study.load(unrotated(bundle)).features(texts)
                values = project(floats, bundle.projection)
            else:
                floats = values = self._study.load(bundle).features(texts)
            return {"floats": floats, "bits": bit_packing.pack(values > bundle.thresholds)}

        inputs = self.key | {"split": split}
        return self._study.cache.arrays(FEATURES, f"{self._name}-{self.task.name}-{split}", inputs, make)

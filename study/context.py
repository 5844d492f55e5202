"""Hold what every step of the study leans on: settings, cache, tasks, encoders, features, fitted heads."""

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

Inputs = Callable[[str], np.ndarray]  # a split's name in, (n, dim) float32 or packed bits (n, bytes) uint8 out


class Study:
    """Give tasks, features and heads' figures by name; what was computed before is read."""

    def __init__(self, settings: Settings, report: Callable[[str], None] = lambda line: None) -> None:
        device = choose_device(settings.device)
        dtype = choose_precision(settings.precision, device)
        # What "auto" stands for is decided here: figures of one precision are not taken for those of another.
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
        """Return texts that belong to no task."""
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
        """Return the embeddings, 0, and the base's layers, all of which the bundled encoder pools."""
        return tuple(range(layer_count(find(self.settings.base).config()) + 1))

    @functools.cached_property
    def width(self) -> int:
        return hidden_size(find(self.settings.base).config())

    def sample(self, names: Sequence[str]) -> list[str]:
        """Draw the texts that thresholds and rotations are fitted on from the training rows of tasks, evenly."""
        groups = [self.tasks[name].splits["train"].texts for name in names]
        return sample_balanced(groups, self.settings.calibrate_rows, seed=0)

    def load(self, bundle: Bundle) -> Encoder:
        """Load an encoder; the last one loaded stays in memory."""
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
        self, label: str, task: Labelled, made_of: dict[str, Any], inputs: Inputs, rows: dict | None = None
    ) -> dict[str, Any]:
        """Fit a head and measure it on the test split: `scoring.fit_and_measure`, cached.

        Args:
            made_of: what the inputs follow from.
            rows: training rows to fit on, "fit", and that choose its strength, "choose", as lists; None for the splits.
        """
        inputs_key = {"task": task.digest, "of": made_of, "rows": rows}
        return self.cache.value(
            HEADS, f"{task.name}-{label}", inputs_key, lambda: fit_and_measure(task, inputs, rows or {})
        )


def unrotated(bundle: Bundle) -> Bundle:
    """Return a bundle that gives the features of another before each layer's are rotated; its thresholds mean nothing."""
    if bundle.projection is None:
        raise ValueError(f"encoder {bundle.name} rotates nothing")
    dim = bundle.projection.shape[0] * bundle.projection.shape[1]
    return dataclasses.replace(bundle, bits=dim, projection=None, thresholds=np.zeros(dim, np.float32))


class Features:
    """Give the features of one encoder over one task, and the codes cut from them in the same pass."""

    def __init__(self, study: Study, bundle: Bundle, name: str, task: Labelled) -> None:
        self._study = study
        self._bundle = bundle
        self._name = name
        self.task = task
        settings = study.settings  # the same bundle gives slightly other bits in another precision
        self.key = {"encoder": bundle.fingerprint, "task": task.digest}
        self.key |= {"precision": settings.precision, "device": settings.device}

    @functools.cached_property
    def width(self) -> int:
        """Return the width of one layer."""
        return hidden_size(find(self._bundle.base_id).config())

    def floats(self, split: str) -> np.ndarray:
        """Return features (n, dim) float32: what is cut to bits, but before layers are rotated, which takes nothing away."""
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

        made_of = self.key | {"split": split}
        return self._study.cache.arrays(FEATURES, f"{self._name}-{self.task.name}-{split}", made_of, make)

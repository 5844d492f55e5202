"""Compare precisions, batch sizes and devices with a reference, and windows with truncation."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

import encoder
from benchmarks.agreement import same_labels
from benchmarks.harness import reason
from encoder import Bundle
from encoder import bits as bit_packing
from study import encoders
from study.cache import Step
from study.context import Study
from study.measure import CODES
from study.records import Record
from study.scoring import fit_head

VARIANTS = Step("stability", 1)
TOKENS = Step("tokens", 1)
REFERENCE: dict[str, Any] = {"device": "cpu", "precision": "float32", "batch_tokens": None}
FEW_TOKENS, MANY_TOKENS = 256, 16384


def run(study: Study) -> dict[str, Any]:
    bundle = encoders.frozen(study, rotation="layers")  # as in trained encoders
    inputs = {
        "encoder": bundle.fingerprint,
        "rows": study.settings.stability_rows,
        "tasks": [task.digest for task in study.tasks.values()],
        "devices": _devices(),
        "precision": study.settings.precision,  # of the features that heads are fitted on
        "device": study.settings.device,  # that computed these features
    }
    variants = study.cache.value(VARIANTS, "all", inputs, lambda: _variants(study, bundle))
    records = [record for name in study.settings.long_tasks if name in study.tasks for record in _long(study, name)]
    return {"reference": "float32 on the CPU, batches of the default size", "variants": variants, "records": records}


def _variants(study: Study, bundle: Bundle) -> list[dict[str, Any]]:
    """Encode some test texts of every task in several ways, and compare their bits and labels with the reference."""
    texts_by_task = {
        name: task.splits["test"].texts[: study.settings.stability_rows] for name, task in study.tasks.items()
    }

    def encode(**options: Any) -> dict[str, np.ndarray]:
        model = encoder.load(bundle, **(REFERENCE | options))
        return {name: model.encode(texts).bits for name, texts in texts_by_task.items()}

    reference = encode()
    heads = {}
    for name, task in study.tasks.items():
        heads[name] = fit_head(task, study.features(bundle, "frozen-rotated", task).bits, {})
    variants: dict[str, dict[str, Any]] = {
        "the same again": {},
        f"batches of {FEW_TOKENS} tokens": {"batch_tokens": FEW_TOKENS},
        f"batches of {MANY_TOKENS:,} tokens": {"batch_tokens": MANY_TOKENS},
        "bfloat16": {"precision": "bfloat16"},
    }
    for device in ("cuda", "mps"):
        for precision in ("float32", "bfloat16"):
            variants[f"{device}, {precision}"] = {"device": device, "precision": precision}
    measured: list[dict[str, Any]] = []
    for variant, options in variants.items():
        try:
            bits = encode(**options)
        except Exception as error:  # a device or precision that this machine lacks
            measured.append({"name": variant, "absent": reason(error)})
            continue
        same = np.concatenate([same_labels(heads[name], bits[name], reference[name]) for name in texts_by_task])
        codes, expected = (np.concatenate(list(by_task.values())) for by_task in (bits, reference))
        differ = bit_packing.hamming_distance(codes, expected)
        measured.append(
            {"name": variant, "documents": len(same), "bits_differ": differ, "labels_differ": 1 - float(same.mean())}
        )
        study.report(f"stability, {variant}: measured")
    return measured


def _long(study: Study, name: str) -> list[Record]:
    """Measure a task with texts truncated at two lengths, and with whole texts in windows of the larger length."""
    settings = study.settings
    task = study.tasks[name].limit_rows(settings.long_rows, settings.long_rows)
    longer = 2 * settings.max_tokens
    readings: dict[str, dict[str, Any]] = {
        f"cut at {settings.max_tokens} tokens": {},
        f"cut at {longer} tokens": {"max_tokens": longer},
        f"windows of {longer} tokens": {"max_tokens": longer, "long_texts": "windows"},
    }
    records = []
    for reading, options in readings.items():
        bundle = encoders.frozen(study, **options)
        features = study.features(bundle, reading, task)

        def tokens(bundle: Bundle = bundle) -> float:
            return float(study.load(bundle).encode(task.splits["test"].texts[:100]).n_tokens.mean())

        tokens_read = study.cache.value(TOKENS, f"{name}-{reading}", features.key, tokens)
        for code in CODES:
            inputs = features.bits if code == "bits" else features.floats
            fields = {"task": name, "reading": reading, "code": code, "tokens": tokens_read, "metric": task.metric}
            figures = study.head(f"{reading}-{code}", task, features.key | {"code": code}, inputs)
            records.append(fields | {"seed": None} | figures)
        study.report(f"{name}, {reading}: measured")
    return records


def _devices() -> list[str]:
    """Return the names of the devices of this machine."""
    return [
        "cpu",
        *(["cuda"] if torch.cuda.is_available() else []),
        *(["mps"] if torch.backends.mps.is_available() else []),
    ]

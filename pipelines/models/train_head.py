"""Train a head from files of labelled rows: the program of `encode-once train-head`."""

from __future__ import annotations

import dataclasses
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

import encoder
import heads
from encoder import bits as bit_packing
from encoder.choices import LabelKind
from heads import Head
from heads.score import one_thread
from pipelines.cli import main_of
from pipelines.logs import write_message
from pipelines.models.labelled import check_classes, read_labelled
from pipelines.models.options import parse_train_head
from pipelines.options import OptionError

if TYPE_CHECKING:
    from encoder import Encoder


def features_and_codes(model: Encoder, texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return features, (n, bits) float32, and the codes that the thresholds make of them, (n, bits // 8) uint8."""
    features = model.features(texts)
    return features, bit_packing.pack(features > model.bundle.thresholds)


def train_head(
    model: Encoder,
    task: str,
    kind: LabelKind,
    splits: dict[str, tuple[list[str], list]],
    source: dict[str, str],
    classes: Sequence[str] | None = None,
) -> tuple[Head, str]:
    """Fit a head to the bits, and the same model to the float features for comparison.

    Args:
        splits: texts and labels of "train", "validation", and "test" if there is one; the last of them is evaluated.
        source: what the rows are and where they come from, for the description of the head.
        classes: the order of the classes; default: sorted.

    Returns:
        the head, its figures on bits and floats in `metrics`, and the report as text.
    """
    measured = "test" if "test" in splits else "validation"
    labels = {split: rows for split, (_, rows) in splits.items()}
    encoded = {split: features_and_codes(model, texts) for split, (texts, _) in splits.items()}
    features = {split: pair[0] for split, pair in encoded.items()}
    codes = {split: pair[1] for split, pair in encoded.items()}
    with one_thread():  # sums in another order would make another head from the same data
        head = heads.fit(
            codes["train"],
            labels["train"],
            task=task,
            validation=(codes["validation"], labels["validation"]),
            encoder_fingerprint=model.fingerprint,
            source=source,
            created_by={"program": "encode-once train-head", "encoder": model.bundle.name},
            kind=kind,
            classes=classes,
        )
        on_floats = heads.fit_features(
            features["train"],
            labels["train"],
            validation=(features["validation"], labels["validation"]),
            kind=kind,
            classes=classes,
        )
    bit_figures = heads.evaluate.evaluate(head, codes[measured], labels[measured])
    float_figures = heads.evaluate.evaluate(on_floats, features[measured], labels[measured])
    figures = head.metrics | {measured: bit_figures, f"{measured}_float": float_figures}
    head = dataclasses.replace(head, metrics=figures)
    title = f"head {task} on {measured}"
    return head, heads.evaluate.format_report(bit_figures, title=title, float_figures=float_figures)


def run(argv: Sequence[str]) -> Head:
    """Train a head from files, write its folder, print its report, and return it."""
    options = parse_train_head(argv)
    heads.check_new(options.name, options.output)
    given = {
        name: os.path.realpath(path) for name in ("train", "validation", "test") if (path := getattr(options, name))
    }
    for name in ("validation", "test"):
        if given.get(name) == given["train"]:
            raise OptionError(
                f"--train and --{name} are one file: the rows that a head is fitted to do not show its accuracy"
            )
    if given.get("test") == given["validation"]:
        raise OptionError(
            "--validation and --test are one file, but validation rows choose the regularisation; without --test the figures "
            "are those of the validation rows, and the report says so"
        )
    splits = {
        split: read_labelled(path, options.text_field, options.label_field, options.kind)
        for split in ("train", "validation", "test")
        if (path := getattr(options, split))
    }
    classes = check_classes(splits, options.kind)
    model = encoder.load(options.encoder, options.device, options.precision)
    count = sum(len(texts) for texts, _ in splits.values())
    line = f"encoding {count:,} texts on {model.device}"
    write_message(line, line, logging.INFO)
    source = {"data": options.source or Path(options.train).resolve().parent.name}
    head, report = train_head(model, options.name, options.kind, splits, source, classes)
    print(report)
    head.save(options.output)
    print(
        f"head {head.task} ({head.fingerprint[:12]}) for encoder {model.fingerprint[:12]} written to {options.output}"
    )
    return head


if __name__ == "__main__":
    sys.exit(main_of(run))

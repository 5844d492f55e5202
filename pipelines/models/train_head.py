"""Train a head from files of labelled rows: the program of `encode-once train-head`."""

from __future__ import annotations

import dataclasses
import logging
import os
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import encoder
import heads
from encoder import bits as bit_packing
from encoder.choices import LabelKind
from heads import Head
from heads.score import one_thread
from pipelines.command_line.cli import main_of
from pipelines.command_line.logs import write_message
from pipelines.command_line.options import OptionError
from pipelines.models.labelled import check_classes, read_labelled
from pipelines.models.options import parse_train_head
from pipelines.models.split import hold_out

if TYPE_CHECKING:
    from tqdm import tqdm

    from encoder import Encoder
    from heads.fit import FloatHead


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
    with _bar("encoding", sum(map(len, labels.values()))) as bar:
        features = {split: model.features(texts, bar.update) for split, (texts, _) in splits.items()}
    codes = {split: bit_packing.pack(part > model.bundle.thresholds) for split, part in features.items()}
    shared: dict[str, Any] = {"kind": kind, "classes": classes}
    head, on_floats = _fit_at_once(
        partial(
            heads.fit,
            codes["train"],
            labels["train"],
            task=task,
            validation=(codes["validation"], labels["validation"]),
            encoder_fingerprint=model.fingerprint,
            source=source,
            created_by={"program": "encode-once train-head", "encoder": model.bundle.name},
            **shared,
        ),
        partial(
            heads.fit_features,
            features["train"],
            labels["train"],
            validation=(features["validation"], labels["validation"]),
            **shared,
        ),
    )
    bit_figures = heads.evaluate.evaluate(head, codes[measured], labels[measured])
    float_figures = heads.evaluate.evaluate(on_floats, features[measured], labels[measured])
    figures = head.metrics | {measured: bit_figures, f"{measured}_float": float_figures}
    head = dataclasses.replace(head, metrics=figures)
    title = f"head {task} on {measured}"
    return head, heads.evaluate.format_report(bit_figures, title=title, float_figures=float_figures)


def _fit_at_once(fit_bits: Callable[..., Head], fit_floats: Callable[..., FloatHead]) -> tuple[Head, FloatHead]:
    """Fit on bits and on floats at the same time, each on one thread: sums in another order would make another head."""
    import torch

    stopped = threading.Event()

    def step() -> None:
        if stopped.is_set():
            raise CancelledError
        bar.update()

    with (
        one_thread(),
        _bar("fitting", 2 * len(heads.L2_GRID)) as bar,
        ThreadPoolExecutor(1, initializer=torch.set_num_threads, initargs=(1,)) as pool,
    ):
        floats = pool.submit(fit_floats, progress=step)
        try:
            return fit_bits(progress=step), floats.result()
        finally:
            stopped.set()  # an error or Ctrl-C does not wait for the other fit


def _bar(what: str, total: int) -> tqdm:
    """Return a bar on stderr, which shows nothing where that is no terminal."""
    from tqdm import tqdm

    return tqdm(desc=what, total=total, disable=None, leave=False)


def run(argv: Sequence[str]) -> Head:
    """Train a head from files, write its folder, print its report, and return it."""
    options = parse_train_head(argv)
    heads.check_new(options.name, options.output, options.overwrite)
    given = {
        name: os.path.realpath(path) for name in ("train", "validation", "test") if (path := getattr(options, name))
    }
    for name in ("validation", "test"):
        if given.get(name) == given["train"]:
            raise OptionError(
                f"--train and --{name} are one file: the rows that a head is fitted to do not show its accuracy"
            )
    if "test" in given and given["test"] == given.get("validation"):
        raise OptionError(
            "--validation and --test are one file, but validation rows choose the regularisation; without --test the figures "
            "are those of the validation rows, and the report says so"
        )
    splits = {
        split: read_labelled(path, options.text_field, options.label_field, options.kind)
        for split in ("train", "validation", "test")
        if (path := getattr(options, split))
    }
    if "validation" not in splits:
        rows = len(splits["train"][0])
        splits["train"], splits["validation"] = hold_out(splits["train"], options.kind, options.validation_share)
        print(
            f"validation: {len(splits['validation'][0]):,} of the {rows:,} rows of --train, held out at random by label "
            f"(--validation_share {options.validation_share:g})",
            file=sys.stderr,
        )
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

"""Make a head from the names of its labels, or from descriptions of them: no labelled rows.

encode-once zero-shot-head --labels 'sports,politics,business' --task desk --unlabelled texts.txt --output my-head
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

import encoder
import heads
from heads import Head, zero_shot
from pipelines.cli import main_of
from pipelines.models.labelled import DataError, read_labelled, sample_texts
from pipelines.options import OptionError, Parser, add_shared, check_path, count, local_path

_log = logging.getLogger(__name__)


def run(argv: Sequence[str]) -> Head:
    """Make one head, write its folder, print what it is made of and, where rows are given, what it is worth."""
    options = _parse(argv)
    labels = [label.strip() for label in options.labels.split(",")]
    if len(labels) < 2 or not all(labels) or len(set(labels)) < len(labels):
        raise OptionError(f"--labels needs two or more distinct names with commas between, not {options.labels!r}")
    if bad := [template for template in options.templates if "{}" not in template]:
        raise OptionError(f"--templates needs a {{}} where the label's name goes, not {bad[0]!r}")
    described = _read_descriptions(options.descriptions, labels) if options.descriptions else {}
    check_path("--output", options.output)
    check_path("--test", options.test)
    heads.check_new(options.task, options.output)
    measured = read_labelled(options.test, options.text_field, options.label_field, "single") if options.test else None
    if measured and (unknown := sorted(set(measured[1]) - set(labels))):
        _log.warning("%s has labels that are not among --labels: %s", options.test, ", ".join(unknown))
    texts = sample_texts(options.unlabelled, options.text_field, options.unlabelled_rows, seed=0)
    if options.unlabelled:
        zero_shot.check_unlabelled(len(texts))
    prompts = [zero_shot.prompts(label, described.get(label, ()), options.templates) for label in labels]

    model = encoder.load(options.encoder, options.device, options.precision)
    head = zero_shot.make(
        [model.features(part) - model.bundle.thresholds for part in prompts],
        labels,
        task=options.task,
        encoder_fingerprint=model.fingerprint,
        unlabelled=model.encode(texts).bits if options.unlabelled else None,
        source={"data": "no labelled rows: made from prompts (zero-shot)", "prompts": dict(zip(labels, prompts))},
        created_by={"program": "encode-once zero-shot-head", "encoder": model.bundle.name},
    )
    if measured:
        figures = heads.evaluate.evaluate(head, model.encode(measured[0]).bits, measured[1])
        head = dataclasses.replace(head, metrics=head.metrics | {"test": figures})
        print(heads.evaluate.format_report(figures, title=f"zero-shot head {head.task} on {options.test}"))
    head.save(options.output)
    on = (
        f"and {len(texts)} texts without labels"
        if options.unlabelled
        else "alone; --unlabelled texts mostly make it better"
    )
    print(
        f"zero-shot head {head.task} ({head.fingerprint[:12]}) for encoder {model.fingerprint[:12]}, made of "
        f"{sum(map(len, prompts))} prompts {on}\nits scores are not calibrated; written to {options.output}"
    )
    return head


def _read_descriptions(path: str, labels: list[str]) -> dict[str, list[str]]:
    """Read a JSON object of a text, or a list of texts, by label."""
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read: {error}") from None
    if not isinstance(content, dict):
        raise DataError(f"{path} must hold a JSON object: a description, or a list of them, by label")
    described = {label: [texts] if isinstance(texts, str) else texts for label, texts in content.items()}
    for label, texts in described.items():
        if label not in labels:
            raise DataError(f"{path} describes {label!r}, which is not among --labels {','.join(labels)}")
        if not isinstance(texts, list) or not texts or not all(isinstance(t, str) and t.strip() for t in texts):
            raise DataError(f"{path}: the description of {label!r} must be a text or a list of texts")
    return described


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = Parser(
        "encode-once zero-shot-head",
        "Make a single-label head from the names of its labels. Less right than a head fitted on some labelled rows.",
    )
    parser.add_argument("--labels", required=True, metavar="A,B,...", help="the labels' names, with commas between")
    parser.add_argument("--task", required=True, metavar="TASK", help="the task's name: small letters, digits, _")
    parser.add_argument(
        "--descriptions",
        type=local_path,
        metavar="FILE",
        help="JSON: by label, a sentence of that kind or a list; used as they stand",
    )
    parser.add_argument(
        "--templates",
        nargs="+",
        default=list(zero_shot.TEMPLATES),
        metavar="T",
        help="sentences with {} where the name of a label without description goes",
    )
    parser.add_argument(
        "--unlabelled",
        nargs="+",
        type=local_path,
        default=[],
        metavar="FILE",
        help="files of texts to be labelled, 64 or more: mostly a better head",
    )
    parser.add_argument("--unlabelled_rows", type=count, default=2000, metavar="N", help="texts sampled from them")
    parser.add_argument(
        "--test",
        type=local_path,
        metavar="FILE",
        help="labelled rows the head is measured on; nothing is learned of them",
    )
    add_shared(parser, "text_field", "label_field", "encoder", "device", "precision")
    parser.add_argument("--output", type=local_path, required=True, metavar="DIR", help="the head's folder")
    return parser.parse_args(list(argv))


if __name__ == "__main__":
    sys.exit(main_of(run))

"""Make a head from the names or descriptions of its labels: the program of `encode-once zero-shot-head`."""

from __future__ import annotations

import dataclasses
import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

import encoder
import heads
from heads import Head, zero_shot
from pipelines.command_line.cli import main_of
from pipelines.models.labelled import DataError, read_labelled, sample_texts
from pipelines.models.options import parse_zero_shot

_log = logging.getLogger(__name__)


def run(argv: Sequence[str]) -> Head:
    """Make a head, write its folder, print how it was made and, if there are test rows, its accuracy."""
    options = parse_zero_shot(argv)
    labels = options.label_names
    described = _read_descriptions(options.descriptions, labels) if options.descriptions else {}
    heads.check_new(options.task, options.output, options.overwrite)
    measured = read_labelled(options.test, options.text_field, options.label_field, "single") if options.test else None
    if measured and (unknown := sorted(set(measured[1]) - set(labels))):
        _log.warning("%s has labels that --labels does not list: %s", options.test, ", ".join(unknown))
    texts = sample_texts(options.unlabelled, options.text_field, options.unlabelled_rows, seed=0)
    if options.unlabelled:
        zero_shot.check_unlabelled(len(texts))
    templates = options.templates or zero_shot.TEMPLATES
    prompts = [zero_shot.prompts(label, described.get(label, ()), templates) for label in labels]

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
        else "alone; --unlabelled texts improve most heads"
    )
    print(
        f"zero-shot head {head.task} ({head.fingerprint[:12]}) for encoder {model.fingerprint[:12]}, made of "
        f"{sum(map(len, prompts))} prompts {on}\nits scores are not calibrated; written to {options.output}"
    )
    return head


def _read_descriptions(path: str, labels: list[str]) -> dict[str, list[str]]:
    """Read a JSON object that maps labels to a text or a list of texts."""
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read: {error}") from None
    if not isinstance(content, dict):
        raise DataError(f"{path} must hold a JSON object that maps labels to a description or a list of descriptions")
    described = {label: [texts] if isinstance(texts, str) else texts for label, texts in content.items()}
    for label, texts in described.items():
        if label not in labels:
            raise DataError(f"{path} describes {label!r}, which --labels does not list: {','.join(labels)}")
        if not isinstance(texts, list) or not texts or not all(isinstance(t, str) and t.strip() for t in texts):
            raise DataError(f"{path}: the description of {label!r} must be a text or a list of texts")
    return described


if __name__ == "__main__":
    sys.exit(main_of(run))

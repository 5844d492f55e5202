"""Measure what one shared encoder, bits and linear heads are worth, and write `docs/results.md`.

    python -m study --data DATA --work build/study
    python -m study --data DATA --work build/study --steps frozen size --tasks sst2 trec
    python -m study --data DATA --work /tmp/quick --output /tmp/quick --quick

Killed, the same command goes on from what lies in --work. Steps that are not run now are taken from there where they were
run before with the same settings on the same rows. Several processes may share a --work: each takes what the others
have made, so two of one thread each, with different --steps, are the fastest way on two cores. `costs` wants the machine alone.
"""

from __future__ import annotations

import argparse
import dataclasses
import logging
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from encoder import EncoderError
from encoder.forward.model import choose_device
from pipelines.models.labelled import DataError
from pipelines.parser import Parser, add_fields, values_of
from study import kept, page, steps
from study.cache import StepError, write_text
from study.context import Study
from study.settings import Settings

UNLABELLED = "gutenberg_paragraphs.parquet"
MIN_SHOTS = 4


def run(argv: Sequence[str]) -> dict[str, Any]:
    """Run steps, write the page, its plots and its figures; returns the figures."""
    options = parse(argv)
    settings = settings_of(options)
    started = time.monotonic()

    def report(line: str) -> None:
        print(f"{time.monotonic() - started:7.0f} s  {line}", flush=True)

    study = Study(settings, report)
    settings = study.settings  # device and precision by name
    output = options.output or (options.work if options.quick else Path("docs"))  # quick figures mean nothing
    earlier = kept.read(output / "results.json", options.keep)
    asked = [name for name in steps.STEPS if name in options.steps or "all" in options.steps]
    results = steps.run(study, [name for name in asked if name not in earlier]) | earlier
    output.mkdir(parents=True, exist_ok=True)
    figures = page.figures(
        settings, study.tasks, {name: results[name] for name in steps.STEPS if name in results}, options.note
    )
    write_text(output / "results.json", page.render(figures) + "\n")
    text = page.write(figures, output)
    write_text(output / "results.md", text)
    report(f"written to {output / 'results.md'}")
    return figures


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Parse the arguments; settings that are not given are None, as their defaults depend on the device."""
    parser = Parser(
        "python -m study",
        __doc__.splitlines()[0],
        ("python -m study --data DATA --work build/study --steps frozen size --tasks sst2 trec",),
        "; ".join(f"{name}: {about}" for name, (_, _, about) in steps.STEPS.items()),
    )
    add_fields(parser, Settings, "data", "work")
    parser.add_argument(
        "--output", type=Path, metavar="DIR", help="folder of results.md (default: docs, with --quick that of --work)"
    )
    parser.add_argument(
        "--steps",
        nargs="+",
        choices=("all", *steps.STEPS),
        default=["all"],
        metavar="STEP",
        help="all, or some of those below",
    )
    parser.add_argument(
        "--keep",
        nargs="+",
        choices=tuple(steps.STEPS),
        default=[],
        metavar="STEP",
        help="steps that are not run; their results are those of the page in --output, which says so",
    )
    parser.add_argument("--note", default="", metavar="TEXT", help="a sentence for the page on how it was measured")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to check that everything runs")
    add_fields(parser, Settings, "unlabelled", default_text=f"{UNLABELLED} in --data")
    on_gpu = Settings(Path("data"), Path("work"))
    for name in _sizes():
        values = dict.fromkeys(_words(getattr(settings, name)) for settings in (on_gpu, on_gpu.on_a_processor()))
        nargs = {"nargs": "*"} if isinstance(getattr(on_gpu, name), tuple) else {}
        add_fields(parser, Settings, name, default=None, default_text=", on a CPU ".join(values), **nargs)
    return parser.parse_args(list(argv))


def settings_of(options: argparse.Namespace) -> Settings:
    """Make settings from parsed arguments: those of the device, or of --quick, then what was given."""
    unlabelled = options.unlabelled
    if unlabelled is None and (options.data / UNLABELLED).is_file():
        unlabelled = options.data / UNLABELLED
    settings = Settings(options.data.absolute(), options.work.absolute(), unlabelled=unlabelled)
    if options.quick:
        settings = settings.quick()
    elif choose_device(options.device or settings.device).type == "cpu":
        settings = settings.on_a_processor()
    given = values_of(Settings, options)
    asked = {name: given[name] for name in _sizes() if given[name] is not None}
    if len(set(asked.get("tasks", ()))) < len(asked.get("tasks", ())):
        raise ValueError(f"--tasks names a task twice: {' '.join(asked['tasks'])}")
    if any(shots < MIN_SHOTS for shots in asked.get("shots", ())):
        raise ValueError(f"--shots needs {MIN_SHOTS} or more: a quarter of them chooses the regularisation of a head")
    if "train_steps" in asked:  # of all encoders, where nothing else is said
        asked.setdefault("held_out_steps", None)
    return dataclasses.replace(settings, **asked)


def _words(value: Any) -> str:
    """Return a default as one would type it."""
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _sizes() -> list[str]:
    return [field.name for field in dataclasses.fields(Settings) if field.name not in ("data", "work", "unlabelled")]


def main() -> int:
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    try:
        run(sys.argv[1:])
    except (StepError, DataError, EncoderError, ValueError) as error:
        print(f"study: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

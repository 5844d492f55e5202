"""Measure the accuracy and the cost of one shared encoder with bits and linear heads, and write `docs/results.md`.

    python -m study --data DATA --work build/study
    python -m study --data DATA --work build/study --steps frozen size --tasks sst2 trec
    python -m study --data DATA --work /tmp/quick --output /tmp/quick --quick

After a kill, the same command continues from the results in --work. Results of steps that are not run now are read from
there if an earlier run computed them with the same settings and rows. Several processes can share a --work folder: each
reads the results of the others. On two cores, two processes of one thread each, with different --steps, are fastest.
`costs` measures time: run it while nothing else runs on the machine.
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
from pipelines.command_line.parser import Parser, add_fields, values_of
from pipelines.models.labelled import DataError
from study import kept, page, steps
from study.cache import StepError, write_text
from study.context import Study
from study.settings import Settings

UNLABELLED = "gutenberg_paragraphs.parquet"
MIN_SHOTS = 4


def run(argv: Sequence[str]) -> dict[str, Any]:
    """Run steps, write the page, its plots and its figures, and return the figures."""
    options = parse(argv)
    settings = settings_of(options)
    started = time.monotonic()

    def report(line: str) -> None:
        print(f"{time.monotonic() - started:7.0f} s  {line}", flush=True)

    study = Study(settings, report)
    settings = study.settings  # with device and precision resolved
    output = options.output or (options.work if options.quick else Path("docs"))  # figures of --quick are meaningless
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
    """Parse the arguments. Settings that are not given are None, because their defaults depend on the device."""
    parser = Parser(
        "python -m study",
        __doc__.splitlines()[0],
        ("python -m study --data DATA --work build/study --steps frozen size --tasks sst2 trec",),
        "; ".join(f"{name}: {description}" for name, (_, _, description) in steps.STEPS.items()),
    )
    add_fields(parser, Settings, "data", "work")
    parser.add_argument(
        "--output", type=Path, metavar="DIR", help="folder of results.md (default: docs; --work if --quick is given)"
    )
    parser.add_argument(
        "--steps",
        nargs="+",
        choices=("all", *steps.STEPS),
        default=["all"],
        metavar="STEP",
        help="steps to run: all, or some of those listed below",
    )
    parser.add_argument(
        "--keep",
        nargs="+",
        choices=tuple(steps.STEPS),
        default=[],
        metavar="STEP",
        help="steps that are not run: their results are read from the page in --output, and the new page names them",
    )
    parser.add_argument(
        "--note", default="", metavar="TEXT", help="sentence that the page adds to the description of the measurement"
    )
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to check that everything runs")
    add_fields(parser, Settings, "unlabelled", default_text=f"{UNLABELLED} in --data")
    on_gpu = Settings(Path("data"), Path("work"))
    for name in _sizes():
        values = dict.fromkeys(_words(getattr(settings, name)) for settings in (on_gpu, on_gpu.for_cpu()))
        nargs = {"nargs": "*"} if isinstance(getattr(on_gpu, name), tuple) else {}
        add_fields(parser, Settings, name, default=None, default_text=", on a CPU ".join(values), **nargs)
    return parser.parse_args(list(argv))


def settings_of(options: argparse.Namespace) -> Settings:
    """Return settings from parsed arguments: the defaults of the device or of --quick, overridden by what was given."""
    unlabelled = options.unlabelled
    if unlabelled is None and (options.data / UNLABELLED).is_file():
        unlabelled = options.data / UNLABELLED
    settings = Settings(options.data.absolute(), options.work.absolute(), unlabelled=unlabelled)
    if options.quick:
        settings = settings.quick()
    elif choose_device(options.device or settings.device).type == "cpu":
        settings = settings.for_cpu()
    given = values_of(Settings, options)
    overrides = {name: given[name] for name in _sizes() if given[name] is not None}
    if len(set(overrides.get("tasks", ()))) < len(overrides.get("tasks", ())):
        raise ValueError(f"--tasks names a task twice: {' '.join(overrides['tasks'])}")
    if any(shots < MIN_SHOTS for shots in overrides.get("shots", ())):
        raise ValueError(f"--shots needs {MIN_SHOTS} or more: a quarter of them chooses the regularisation of a head")
    if "train_steps" in overrides:  # applies to all encoders unless held_out_steps is given
        overrides.setdefault("held_out_steps", None)
    return dataclasses.replace(settings, **overrides)


def _words(value: Any) -> str:
    """Return a default value as it is typed on the command line."""
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

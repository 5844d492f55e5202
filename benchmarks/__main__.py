"""Measure encode-once beside the alternatives that a user has.

    python -m benchmarks.make_corpus --data DATA --output /tmp/corpus --share 0.05
    python -m benchmarks all --corpus /tmp/corpus --work /tmp/bench
    python -m benchmarks encode --corpus /tmp/corpus --work /tmp/bench --rounds 5

Each part prints its tables, then one JSON line; --output collects the lines in a file.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import json
import logging
import sys
import time
import traceback
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.settings import Settings
from encoder.declare import OptionError
from pipelines.command_line.cli import EXIT_USAGE
from pipelines.command_line.parser import Parser, add_fields, values_of

# name: (module, what it measures); in the order of `all`
PARTS = {
    "startup": ("startup", "shell to exit of short commands, shell to the first committed block"),
    "read": ("read", "rows/s of every format, beside pyarrow's readers alone"),
    "label": ("label", "the kernel of the heads on one core, and the whole label job on stores of two sizes"),
    "encode": ("encode", "documents/s beside sentence-transformers, transformers, Beam, ONNX Runtime; matrix rate"),
    "heads": ("heads_cost", "the cost of 1 to 16 heads, beside a model for each task"),
    "overhead": ("overhead", "annotate as a whole beside the encoder alone"),
    "memory": ("memory", "peak memory of the corpus beside a quarter of it"),
    "repeat": ("repeat", "a run with nothing to do, and one new head"),
    "kills": ("kills", "kills (SIGKILL) and resumes, compared with an undisturbed run"),
}


def main() -> int:
    """Run the requested parts and return the exit code."""
    try:
        options, settings = parse(sys.argv[1:])
    except OptionError as error:
        print(f"python -m benchmarks: error: {error}", file=sys.stderr)
        return EXIT_USAGE
    settings.work.mkdir(parents=True, exist_ok=True)
    _quieten()

    from benchmarks import machine

    text, about = machine.header()
    print(text, end="\n\n", flush=True)
    _add_line(options.output, json.dumps({"benchmark": "machine", **about}))
    parts = list(PARTS) if "all" in options.parts else options.parts
    failed = []
    for part in parts:
        started = time.monotonic()
        try:
            report = importlib.import_module(f"benchmarks.{PARTS[part][0]}").run(settings)
        except Exception:  # the other parts still run
            traceback.print_exc()
            failed.append(part)
            continue
        report.figures["benchmark_seconds"] = round(time.monotonic() - started, 1)
        report.figures |= {"machine": about, "bundle": _bundle(), "date": time.strftime("%Y-%m-%d")}
        _add_line(options.output, report.print())
    if failed:
        print(f"failed, see above: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def parse(argv: Sequence[str]) -> tuple[argparse.Namespace, Settings]:
    """Parse the arguments: which parts, and their settings.

    Raises:
        OptionError: a value is not valid; the message names its option and the valid values.
    """
    parser = Parser(
        "python -m benchmarks",
        __doc__.splitlines()[0],
        ("python -m benchmarks encode --corpus /tmp/corpus --work /tmp/bench --rounds 5",),
        "; ".join(f"{name}: {about}" for name, (_, about) in PARTS.items()),
    )
    parser.add_argument(
        "parts", nargs="+", choices=("all", *PARTS), metavar="PART", help="all, or some of the parts below"
    )
    sizes = [field.name for field in dataclasses.fields(Settings) if field.name not in ("corpus", "work")]
    add_fields(parser, Settings, "corpus", "work")
    parser.add_argument("--output", type=Path, metavar="FILE", help="file to which the JSON lines are appended")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to check that everything runs")
    for name in sizes:
        default = getattr(Settings, name)
        text = " ".join(map(str, default)) if isinstance(default, tuple) else str(default)
        add_fields(parser, Settings, name, default=None, default_text=text)
    options = parser.parse_args(list(argv))
    asked = {name: value for name, value in values_of(Settings, options).items() if value is not None}
    settings = Settings(options.corpus.absolute(), options.work.absolute())
    if options.quick:
        settings = settings.quick()
    return options, dataclasses.replace(settings, **{name: asked[name] for name in sizes if name in asked})


def _bundle() -> dict[str, Any]:
    """Return what names the encoder that was measured."""
    import encoder

    bundle = encoder.describe("default")
    return {"name": bundle.name, "fingerprint": bundle.fingerprint[:12], "bits": bundle.bits}


def _add_line(output: Path | None, line: str) -> None:
    if output is not None:
        with output.open("a", encoding="utf-8") as file:
            file.write(line + "\n")


def _quieten() -> None:
    """Silence the log messages and progress bars of libraries, which would interrupt the tables."""
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    from transformers.utils import logging as transformers_logging

    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()


if __name__ == "__main__":
    sys.exit(main())

"""Compare encoders on labelled tasks by linear heads on floats and on bits, fitted as `train-head` fits them.

    python -m study.compare --data DATA --work build/study --encoders frozen default encoders/mine --tasks sst2 trec

`frozen` is the base model without training, all layers. Results are cached in --work, which the study can share.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import encoder
from benchmarks.harness import Report, Table
from encoder import EncoderError
from encoder.base import find
from encoder.bundle import layer_count
from pipelines.models.labelled import DataError
from study import encoders
from study.cache import StepError
from study.context import Study
from study.measure import ALL_LAYERS, LAST_LAYER, encoder_records
from study.records import Record, mean, percent, select
from study.settings import TASKS, Settings

VIEWS = ((LAST_LAYER, "floats"), (LAST_LAYER, "bits"), (ALL_LAYERS, "floats"), (ALL_LAYERS, "bits"))


def run(argv: Sequence[str]) -> dict[str, Any]:
    """Measure the encoders, print a table and one line of JSON, and return the figures."""
    parser = argparse.ArgumentParser(prog="python -m study.compare", description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of labelled tasks")
    parser.add_argument(
        "--work", type=Path, required=True, help="folder of computed results; a comparison continues from them"
    )
    parser.add_argument(
        "--encoders", nargs="+", required=True, metavar="E", help="frozen, default, or folders of bundles"
    )
    parser.add_argument("--tasks", nargs="+", default=TASKS, metavar="TASK", help="default: all")
    parser.add_argument(
        "--train_rows", type=int, default=2000, help="maximum number of training rows of a head (default: 2000)"
    )
    parser.add_argument(
        "--test_rows", type=int, default=2000, help="maximum number of test rows of a task (default: 2000)"
    )
    parser.add_argument(
        "--split",
        choices=("validation", "test"),
        default="validation",
        help="split that is measured; use test for final figures only (default: validation)",
    )
    options = parser.parse_args(argv)
    rows = {
        "train_rows": options.train_rows,
        "validation_rows": options.train_rows // 4,
        "test_rows": options.test_rows,
    }
    settings = Settings(
        options.data.absolute(), options.work.absolute(), tasks=tuple(options.tasks), max_tokens=256, **rows
    )
    study = Study(settings, lambda line: print(f"  … {line}", file=sys.stderr, flush=True))
    records: list[Record] = []
    for name in options.encoders:
        bundle = encoders.frozen(study) if name == "frozen" else encoder.describe(name)
        fields = {"encoder": name, "seed": None}
        # The last columns are the last layer only if no projection mixes layers and no pooling repeats them.
        top = layer_count(find(bundle.base_id).config())
        unmixed = bundle.projection is None or bundle.rotated
        last_columns = unmixed and bundle.pooling.positions == ("mean",) and bundle.pooling.layers[-1] == top
        layers = (LAST_LAYER, ALL_LAYERS) if last_columns else (ALL_LAYERS,)
        records += encoder_records(study, bundle, Path(name).name, settings.tasks, fields, layers)
    if options.split == "validation":
        test_figures = ("value", "macro_f1")
        records = [{k: v for k, v in r.items() if k not in test_figures} | {"value": r["validation"]} for r in records]
    figures = {"tasks": list(settings.tasks), "split": options.split, **rows, "records": records}
    tables = [_table(name, options.split, records, settings.tasks) for name in options.encoders]
    Report("compare", tables, figures).print()
    return figures


def _table(name: str, split: str, records: list[Record], tasks: Sequence[str]) -> Table:
    """Return a table of one encoder's figures: one row per task, the mean last."""
    rows = []
    for task in (*tasks, None):
        cells = []
        for layers, code in VIEWS:
            of_view = select(records, encoder=name, layers=layers, code=code)
            average = mean(of_view if task is None else select(of_view, task=task))
            cells.append(percent(average and average.value))
        rows.append((*cells, task or "mean"))
    columns = (*(f"{layers}, {code}" for layers, code in VIEWS), "task")
    return Table(f"{name}: {split} accuracy (micro F1 of several labels), %", columns, rows)


def main() -> int:
    try:
        run(sys.argv[1:])
    except (StepError, DataError, EncoderError, ValueError) as error:
        print(f"compare: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

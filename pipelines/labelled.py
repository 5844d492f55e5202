"""Read labelled rows from Parquet, JSON lines or CSV files: what heads are trained and encoders calibrated on."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from transforms.formats import detect

_log = logging.getLogger(__name__)


class DataError(ValueError):
    """Say why a file of labelled rows cannot be used."""


def read_columns(path: str, fields: Sequence[str]) -> list[list[Any]]:
    """Read some columns of a file as Python lists; a plain text file has one, `text`.

    Raises:
        DataError: the file is missing or unreadable, or lacks a field.
    """
    if not os.path.isfile(path):
        raise DataError(f"{path} is not a file")
    kind = detect(path).kind
    try:
        if kind == "parquet":
            columns = _lists(pq.read_table(path))
        elif kind == "jsonl":
            columns = _json_columns(path)
        elif kind in ("csv", "tsv"):
            parsing = pyarrow.csv.ParseOptions(delimiter="\t" if kind == "tsv" else ",", newlines_in_values=True)
            # Everything stays the string it is: a guessed type would turn the label 01 into 1 and true into True.
            as_strings = pyarrow.csv.ConvertOptions(column_types={field: pa.string() for field in fields})
            columns = _lists(pyarrow.csv.read_csv(path, parse_options=parsing, convert_options=as_strings))
        else:
            with open(path, encoding="utf-8") as file:
                columns = {"text": file.read().split("\n")}
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read: {error}") from None
    for field in fields:
        if field not in columns:
            raise DataError(f"{path} has no field {field!r}; it has {', '.join(columns)}")
    return [columns[field] for field in fields]


def _lists(table: pa.Table) -> dict[str, list[Any]]:
    return {name: table[name].to_pylist() for name in table.column_names}


def _json_columns(path: str) -> dict[str, list[Any]]:
    with open(path, encoding="utf-8") as file:
        rows = [json.loads(line) for line in file if line.strip()]
    if not all(isinstance(row, dict) for row in rows):
        raise ValueError("a line is not a JSON object")
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}


def read_labelled(path: str, text_field: str, label_field: str, kind: str) -> tuple[list[str], list[Any]]:
    """Read texts and their labels as a head of this kind takes them.

    Labels are strings (single), lists of strings (multi; a string is split at commas) or floats (regression).

    Rows without text are left out, as annotate would reject them, and a warning says how many.

    Raises:
        DataError: besides the file's own faults, a row with no label or one of another kind; no row with text.
    """
    columns = read_columns(path, [text_field, label_field])
    texts, labels = [], []
    for row, (text, label) in enumerate(zip(*columns)):
        if not isinstance(text, str) or not text.strip():
            continue
        if label is None:
            raise DataError(f"{path} row {row} has no label in field {label_field!r}")
        try:
            labels.append(_label(label, kind))
        except (TypeError, ValueError):
            raise DataError(f"{path} row {row}: {label!r} is not a label of kind {kind}") from None
        texts.append(text)
    if not texts:
        raise DataError(f"{path} has no row with text in field {text_field!r}")
    if left_out := len(columns[0]) - len(texts):
        _log.warning("%s: %d of %d rows have no text and are left out", path, left_out, len(columns[0]))
    return texts, labels


def check_classes(splits: dict[str, tuple[list[str], list]], kind: str) -> list[str] | None:
    """Return the classes of the training rows, sorted; None for regression. What cannot be fitted is said before encoding.

    `splits` holds texts and labels by split, "train" and "validation" among them.

    Raises:
        DataError: one class only; a label that validation rows have and no training row has.
    """
    if kind == "regression":
        return None
    names = {
        split: {n for row in rows for n in ([row] if kind == "single" else row)} for split, (_, rows) in splits.items()
    }
    if kind == "single" and len(names["train"]) < 2:
        raise DataError(f"the training rows have one class only, {next(iter(names['train']))!r}; a head needs two")
    if unseen := names["validation"] - names["train"]:
        raise DataError(f"the validation rows have labels that no training row has: {', '.join(sorted(unseen))}")
    return sorted(names["train"])


def read_texts(path: str, text_field: str) -> list[str]:
    """Read the texts of a file that are not empty."""
    (texts,) = read_columns(path, [text_field])
    return [text for text in texts if isinstance(text, str) and text.strip()]


def sample_texts(paths: Sequence[str], text_field: str, count: int, seed: int) -> list[str]:
    """Draw `count` texts from files, as evenly over the files as they allow."""
    return draw_evenly([read_texts(path, text_field) for path in paths], count, seed)


def draw_evenly(piles: Sequence[list[str]], count: int, seed: int) -> list[str]:
    """Draw `count` texts from piles of them, as evenly over the piles as they allow."""
    rng = np.random.default_rng(seed)
    drawn: list[str] = []
    # The smallest piles first: what they lack is drawn from the larger ones.
    for left, texts in zip(range(len(piles), 0, -1), sorted(piles, key=len)):
        share = min(len(texts), -(-(count - len(drawn)) // left))
        drawn.extend(texts[i] for i in sorted(rng.choice(len(texts), share, replace=False)))
    return drawn


def _label(label: Any, kind: str) -> Any:
    if kind == "regression":
        return float(label)
    if kind == "multi":
        if isinstance(label, str):
            return [part.strip() for part in label.split(",") if part.strip()]
        return [str(part) for part in label]
    if isinstance(label, (list, dict)):
        raise TypeError
    return str(label)

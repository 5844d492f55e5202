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


def sample_texts(paths: Sequence[str], text_field: str, count: int, seed: int) -> list[str]:
    """Draw `count` texts from files, as evenly over the files as they allow."""
    per_file = []
    for path in paths:
        (texts,) = read_columns(path, [text_field])
        per_file.append([text for text in texts if isinstance(text, str) and text.strip()])
    rng = np.random.default_rng(seed)
    drawn: list[str] = []
    # The smallest files first: what they lack is drawn from the larger ones.
    for left, texts in zip(range(len(per_file), 0, -1), sorted(per_file, key=len)):
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

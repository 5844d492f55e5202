"""Read labelled rows from Parquet, JSON lines or CSV files, to train heads and to calibrate encoders."""

from __future__ import annotations

import io
import json
import logging
import math
import os
from collections.abc import Iterable, Sequence
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from transforms.blocks import UnitError
from transforms.readers.formats import detect
from transforms.readers.lines import UTF16_MARKS
from transforms.readers.streams import open_compressed

_FEW_ROWS = 20
_log = logging.getLogger(__name__)


class DataError(ValueError):
    """A file of labelled rows cannot be used; the message says why."""


def read_columns(path: str, fields: Sequence[str]) -> list[list[Any]]:
    """Read columns of a file, compressed or not, as Python lists. The only column of a text file has any name.

    Raises:
        DataError: the file is missing or unreadable, or lacks a field.
    """
    if not os.path.isfile(path):
        raise DataError(f"{path} is not a file")
    try:
        shape = detect(path)
        with open(path, "rb") as raw:
            if shape.kind == "arrow":
                raise DataError(f"{path} is Arrow IPC, which is not read here; convert it to Parquet or JSON lines")
            if shape.kind == "parquet":
                return _parquet_columns(path, raw, fields)
            data = open_compressed(raw, shape.compression) if shape.compression else raw
            if data.peek(2)[:2] in UTF16_MARKS:
                raise DataError(f"{path} is UTF-16, not UTF-8; convert it with iconv -f UTF-16 -t UTF-8")
            if shape.kind in ("csv", "tsv"):
                return _csv_columns(path, data, "\t" if shape.kind == "tsv" else ",", fields)
            lines = io.TextIOWrapper(data, encoding="utf-8-sig", errors="surrogateescape")  # such texts are skipped
            if shape.kind == "jsonl":
                return _json_columns(path, lines, fields)
            if len(fields) > 1:
                raise DataError(f"{path} is plain text and has no field {fields[1]!r}")
            return [lines.read().split("\n")]
    except DataError:
        raise
    except (pa.ArrowException, UnitError, OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read: {error}") from None


def _parquet_columns(path: str, raw: BinaryIO, fields: Sequence[str]) -> list[list[Any]]:
    file = pq.ParquetFile(raw)
    _check_fields(path, file.schema_arrow.names, fields)
    table = file.read(columns=list(fields))
    return [table[field].to_pylist() for field in fields]


def _csv_columns(path: str, data: BinaryIO, delimiter: str, fields: Sequence[str]) -> list[list[Any]]:
    # All values are read as strings: an inferred type would turn the label 01 into 1 and true into True.
    as_strings = pyarrow.csv.ConvertOptions(column_types={field: pa.string() for field in fields})
    parsing = pyarrow.csv.ParseOptions(delimiter=delimiter, newlines_in_values=True)
    table = pyarrow.csv.read_csv(data, parse_options=parsing, convert_options=as_strings)
    _check_fields(path, table.column_names, fields)
    return [table[field].to_pylist() for field in fields]


def _json_columns(path: str, lines: Iterable[str], fields: Sequence[str]) -> list[list[Any]]:
    rows = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            rows.append(json.loads(line))
        except ValueError as error:
            if number == 1 and line.lstrip().startswith("["):
                raise ValueError("it is a JSON array, not JSON lines; convert it with jq -c '.[]'") from None
            raise ValueError(f"line {number} is not JSON: {error}") from None
        if not isinstance(rows[-1], dict):
            raise ValueError(f"line {number} is not a JSON object")
    _check_fields(path, list(dict.fromkeys(name for row in rows for name in row)), fields)
    return [[row.get(field) for row in rows] for field in fields]


def _check_fields(path: str, names: Sequence[str], fields: Sequence[str]) -> None:
    for field in fields:
        if field not in names:
            raise DataError(f"{path} has no field {field!r}; it has {', '.join(names)}")
        if names.count(field) > 1:
            raise DataError(f"{path} has more than one field {field!r}")


def read_labelled(path: str, text_field: str, label_field: str, kind: str) -> tuple[list[str], list[Any]]:
    """Read texts and their labels, for a head of the given kind.

    Labels are strings (single), lists of strings (multi; a string is split at commas) or floats (regression).

    Rows without text, or with text that is not valid Unicode (JSON lines may hold half an emoji), are skipped with a
    warning, as annotate rejects them.

    Raises:
        DataError: the file cannot be read, a row has no label or one of another kind, or no row has text.
    """
    if text_field == label_field:
        raise DataError(f"{path}: field {text_field!r} cannot be both text and label")
    columns = read_columns(path, [text_field, label_field])
    texts, labels = [], []
    for row, (text, label) in enumerate(zip(*columns)):
        if not _is_text(text):
            continue
        if _is_missing(label, kind):
            raise DataError(f"{path} row {row} has no label in field {label_field!r}")
        try:
            labels.append(_label(label, kind))
        except (TypeError, ValueError):
            raise DataError(f"{path} row {row}: {label!r} is not a label of kind {kind}") from None
        texts.append(text)
    if not texts:
        raise DataError(f"{path} has no row with text in field {text_field!r}")
    if left_out := len(columns[0]) - len(texts):
        _log.warning("%s: %d of %d rows have no usable text and are skipped", path, left_out, len(columns[0]))
    return texts, labels


def check_classes(splits: dict[str, tuple[list[str], list]], kind: str) -> list[str] | None:
    """Return the sorted classes of the training rows, None for regression, and check before encoding that they can be fitted.

    `splits` holds texts and labels by split, "train" and "validation" among them.

    Raises:
        DataError: there is one class only or no label, or validation rows have a label that no training row has.
    """
    if kind == "regression":
        return None
    names = {
        split: {n for row in rows for n in ([row] if kind == "single" else row)} for split, (_, rows) in splits.items()
    }
    if kind == "single" and len(names["train"]) < 2:
        raise DataError(f"the training rows have one class only, {next(iter(names['train']))!r}; a head needs two")
    if not names["train"]:
        raise DataError("no training row has a label; a head needs some")
    rows = len(splits["train"][1])
    if kind == "single" and rows >= _FEW_ROWS and len(names["train"]) > rows / 2:
        _log.warning(
            "the %d training rows have %d classes: is --label_field another field, or --kind regression?",
            rows,
            len(names["train"]),
        )
    if unseen := names["validation"] - names["train"]:
        raise DataError(f"the validation rows have labels that no training row has: {', '.join(sorted(unseen))}")
    return sorted(names["train"])


def read_texts(path: str, text_field: str) -> list[str]:
    """Read the texts of a file, except those that are empty or not valid Unicode."""
    (cells,) = read_columns(path, [text_field])
    texts = [cell for cell in cells if _is_text(cell)]
    if left_out := sum(isinstance(cell, str) and bool(cell.strip()) for cell in cells) - len(texts):
        _log.warning("%s: %d of %d texts are not UTF-8 and are skipped", path, left_out, left_out + len(texts))
    return texts


def sample_texts(paths: Sequence[str], text_field: str, count: int, seed: int) -> list[str]:
    """Sample `count` texts from files, as evenly over the files as their sizes allow."""
    return sample_balanced([read_texts(path, text_field) for path in paths], count, seed)


def sample_balanced(groups: Sequence[list[str]], count: int, seed: int) -> list[str]:
    """Sample `count` texts from groups of texts, as evenly over the groups as their sizes allow."""
    rng = np.random.default_rng(seed)
    drawn: list[str] = []
    # The smallest groups first: what they lack is drawn from the larger ones.
    for left, texts in zip(range(len(groups), 0, -1), sorted(groups, key=len)):
        share = min(len(texts), -(-(count - len(drawn)) // left))
        drawn.extend(texts[i] for i in sorted(rng.choice(len(texts), share, replace=False)))
    return drawn


def _is_text(text: Any) -> bool:
    if not isinstance(text, str) or not text.strip():
        return False
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_missing(label: Any, kind: str) -> bool:
    """Whether a cell holds no label; with several labels a row, an empty string means that there are none."""
    if isinstance(label, str):
        return kind != "multi" and not label.strip()
    return label is None or (isinstance(label, float) and math.isnan(label))


def _label(label: Any, kind: str) -> Any:
    if kind == "regression":
        if not math.isfinite(value := float(label)):
            raise ValueError
        return value
    if kind == "multi":
        if isinstance(label, str):
            if label.lstrip().startswith("["):  # a list as Python prints it
                raise ValueError
            return [_name(part.strip()) for part in label.split(",") if part.strip()]
        if any(part is None for part in label):
            raise TypeError
        return [_name(part).strip() for part in label if str(part).strip()]
    if isinstance(label, (list, dict)):
        raise TypeError
    return _name(label).strip()


def _name(label: Any) -> str:
    """Return the name of a label as a string; it raises UnicodeEncodeError, a ValueError, if it is not valid Unicode."""
    name = str(label)
    name.encode()
    return name

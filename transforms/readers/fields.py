"""Find the fields of a shard in its first rows, to check the names of fields before anything is encoded."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any, BinaryIO

import pyarrow as pa

from transforms.options import ReadOptions
from transforms.readers.formats import Format
from transforms.readers.read_arrow import arrow_schema
from transforms.readers.read_csv import CsvReject, infer_quoting, iter_csv_records
from transforms.readers.read_parquet import open_parquet
from transforms.readers.records import open_text
from transforms.readers.sniff import json_rows

BEGINNING_BYTES = 1 << 20  # of JSON lines: fields that only some rows have should be among them
MAX_JSON_ROWS = 1000
_MAX_DEPTH = 8


def first_fields(open_raw: Callable[[], BinaryIO], shard_format: Format, options: ReadOptions) -> list[str]:
    """Return the names of the fields or columns that a shard begins with; "data.text" for a field inside of another.

    All columns of a table are returned, and the fields of the first rows of JSON lines. Plain text and a shard without rows
    have none.

    Raises:
        UnitError, OSError: The shard cannot be read.
    """
    with open_raw() as raw:
        if shard_format.kind == "parquet":
            return _schema_fields(open_parquet(raw).schema_arrow)
        if shard_format.kind == "arrow":
            return _schema_fields(arrow_schema(raw))
        if shard_format.kind == "text":
            return []
        beginning, file = open_text(raw, shard_format, options, BEGINNING_BYTES)
        if shard_format.kind in ("csv", "tsv"):
            return _header(beginning, file, shard_format.kind, options)
        if shard_format.kind == "unknown" and not json_rows(beginning):
            return []
        return _json_fields(beginning)


def _schema_fields(fields: Iterable[pa.Field], prefix: str = "") -> list[str]:
    names = []
    for field in fields:
        names.append(prefix + field.name)
        if pa.types.is_struct(field.type):
            inner = (field.type.field(index) for index in range(field.type.num_fields))
            names += _schema_fields(inner, f"{prefix}{field.name}.")
    return names


def _header(beginning: bytes, file: BinaryIO, kind: str, options: ReadOptions) -> list[str]:
    delimiter, quoting = options.delimiter_of(kind), options.quoting_of(kind)
    if quoting == "auto":
        quoting = infer_quoting(beginning, delimiter)
    records = iter_csv_records(file, delimiter, quoting=quoting, max_record_bytes=options.max_record_bytes)
    header = next(records, None)
    return [] if header is None or isinstance(header, CsvReject) else header


def _json_fields(beginning: bytes) -> list[str]:
    if beginning.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"["):
        return []  # a JSON array, which the reader reports
    lines = beginning.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    if len(beginning) >= BEGINNING_BYTES:
        lines.pop()  # its end was not read
    names: dict[str, None] = {}
    for line in lines[:MAX_JSON_ROWS]:
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            continue  # a reject
        if isinstance(row, dict):
            names |= dict.fromkeys(_object_fields(row))
    return list(names)


def _object_fields(row: dict[str, Any], prefix: str = "", depth: int = 1) -> list[str]:
    names = []
    for name, value in row.items():
        names.append(prefix + name)
        if isinstance(value, dict) and depth < _MAX_DEPTH:
            names += _object_fields(value, f"{prefix}{name}.", depth + 1)
    return names

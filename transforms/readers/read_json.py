"""Read the lines of a JSON-lines shard as rows.

Where Arrow's result is certain to equal that of `json`, Arrow parses the batch, two to three times as fast. All other
batches are parsed line by line.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pa_json

from transforms.options import ReadOptions
from transforms.readers.columns import (
    id_of,
    is_utf8,
    join_texts,
    null_where_empty,
    only_chunk,
    short_detail,
    take_field,
)
from transforms.readers.lines import LineBatch
from transforms.readers.rows import RowBuilder

MAX_JSON_DEPTH = 256  # a fixed limit, as that of Python depends on the depth of the caller's stack

_decode_json = json.JSONDecoder().raw_decode
_decode_json_with_huge_ints = json.JSONDecoder(parse_int=float).raw_decode


def read_json_rows(batches: Iterable[tuple[LineBatch, np.ndarray]], builder: RowBuilder) -> Iterator[pa.RecordBatch]:
    """Read batches of lines and their positions (n,) int64 into batches of ROW_SCHEMA. Each line is a JSON object."""
    parser = _JsonParser(builder.options)
    for lines, positions in batches:
        yield builder.build(positions=positions, **parser.parse(lines))


class _JsonParser:
    """Parses JSON lines: with Arrow if its result is certain to equal that of json, else line by line with json."""

    def __init__(self, options: ReadOptions) -> None:
        self._options = options
        self._id_type = pa.string()  # the type of the ids in the last batch

    def parse(self, lines: LineBatch) -> dict[str, pa.StringArray]:
        """Parse n lines into columns of n strings, which are arguments of RowBuilder.build."""
        # Parsing parts of a bad batch with Arrow costs more (each is passed to its reader thread) than it saves.
        return self._parse_batch(lines) or self._parse_each(lines)

    def _parse_batch(self, lines: LineBatch) -> dict[str, pa.StringArray] | None:
        data = pa.py_buffer(lines.data)
        if not _is_plain_json_lines(lines) or not is_utf8(data):
            return None
        options = self._options
        id_types = [None]
        if options.id_field is not None:
            id_types = [self._id_type, pa.int64() if self._id_type == pa.string() else pa.string()]
        for id_type in id_types:
            schema = _arrow_schema(options, id_type)
            if schema is None:
                return None
            try:
                table = pa_json.read_json(
                    pa.BufferReader(data),
                    read_options=pa_json.ReadOptions(use_threads=False, block_size=data.size + 1),
                    parse_options=pa_json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore"),
                ).combine_chunks()
            except pa.ArrowInvalid:
                continue
            if table.num_rows != len(lines):
                return None
            columns = {"texts": join_texts([_arrow_column(table, name) for name in options.text_field])}
            if options.id_field is not None:
                self._id_type = id_type
                columns["ids"] = null_where_empty(_arrow_column(table, options.id_field).cast(pa.string()))
            return columns
        return None

    def _parse_each(self, lines: LineBatch) -> dict[str, pa.StringArray]:
        rows = [
            (None, None, "line_too_long", f"the line has more than {self._options.max_record_bytes} bytes")
            if truncated
            else self._parse_line(lines.data[begin:end])
            for begin, end, truncated in zip(
                lines.begins.tolist(), lines.ends.tolist(), lines.truncated.tolist(), strict=True
            )
        ]
        ids, texts, reasons, details = zip(*rows, strict=True)
        columns = {"texts": texts, "reasons": reasons, "details": details}
        if self._options.id_field is not None:
            columns["ids"] = ids
        return {name: pa.array(column, pa.string()) for name, column in columns.items()}

    def _parse_line(self, line: bytes) -> tuple[str | None, str | None, str | None, str | None]:
        """Return (id, text, reason, detail) of one line. The text may be None without a reason."""
        if not line.strip():
            return None, None, "blank_text", "the line is empty"
        try:
            row = _load_json(line.decode())
        except UnicodeDecodeError as error:
            return None, None, "invalid_utf8", short_detail(error)
        except (ValueError, RecursionError) as error:
            return None, None, "malformed_json", short_detail(error)
        if not isinstance(row, dict):
            return None, None, "malformed_json", f"the line holds a JSON {type(row).__name__}, not an object"
        options = self._options
        row_id = None if options.id_field is None else id_of(_field_of(row, options.id_field))
        values = [value for name in options.text_field if (value := _field_of(row, name)) is not None]
        text = reason = detail = None
        for value in values:
            if not isinstance(value, str):
                reason, detail = "not_a_string", f"the text is a JSON {type(value).__name__}"
        if values and reason is None:
            text = values[0] if len(options.text_field) == 1 else "\n".join(filter(None, values))
        if b"\\u" in line:  # only an escape can give a lone surrogate
            if _has_surrogate(row_id):
                row_id, reason, detail = None, "invalid_utf8", "the id holds a lone surrogate"
            if _has_surrogate(text):
                text, reason, detail = None, "invalid_utf8", "the text holds a lone surrogate"
        return row_id, text, reason, detail


def _field_of(row: dict[str, Any], name: str) -> Any:
    """Return a field of a JSON object; a name with dots may name a nested field; None if there is no field.

    A field whose name contains the dots takes precedence.
    """
    value = row.get(name)
    if value is not None or "." not in name:
        return value
    value = row
    for part in name.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _arrow_schema(options: ReadOptions, id_type: pa.DataType | None) -> pa.Schema | None:
    """Return the schema of the fields that are read; None if one of them is nested in another."""
    tree: dict[str, Any] = {}
    types = dict.fromkeys(options.text_field, pa.string())
    if options.id_field is not None:
        types[options.id_field] = id_type
    for name, type_ in types.items():
        for path in {(name,), tuple(name.split("."))}:
            node = tree
            for part in path[:-1]:
                node = node.setdefault(part, {})
                if not isinstance(node, dict):
                    return None
            if path[-1] in node:
                return None
            node[path[-1]] = type_
    return pa.schema(_arrow_fields(tree))


def _arrow_fields(tree: dict[str, Any]) -> list[pa.Field]:
    return [
        pa.field(name, pa.struct(_arrow_fields(node)) if isinstance(node, dict) else node)
        for name, node in tree.items()
    ]


def _arrow_column(table: pa.Table, name: str) -> pa.Array:
    column = only_chunk(table[name])
    if "." not in name:
        return column
    return pc.coalesce(column, only_chunk(take_field(table, tuple(name.split(".")))))


def _is_plain_json_lines(lines: LineBatch) -> bool:
    """Return whether Arrow reads these lines as json does, row for row, if it reads them without an error.

    Arrow ignores newlines between tokens. But if every line begins with { and ends with }, each newline is between two
    objects (inside of an object no } is followed by {), so as many objects as lines means one on each line. Arrow also
    accepts Inf and -NaN as numbers, and nests without a limit.
    """
    array = np.frombuffer(lines.data, np.uint8)
    if lines.truncated.any() or (lines.ends <= lines.begins).any():
        return False
    if (array[lines.begins] != ord("{")).any() or (array[lines.ends - 1] != ord("}")).any():
        return False
    if b"-NaN" in lines.data or (b"Inf" in lines.data and re.search(rb"Inf\s*[,\]}]", lines.data)):
        return False
    if (lines.ends - lines.begins).max() <= 2 * MAX_JSON_DEPTH:
        return True
    brackets = np.add.reduceat((array == ord("{")) | (array == ord("[")), lines.begins, dtype=np.int64)
    return int(brackets.max()) <= MAX_JSON_DEPTH


def _load_json(line: str) -> Any:
    line = line.strip(" \t\r\n")
    try:
        value, end = _decode_json(line)  # json.loads without its checks, which take a third of its time
    except json.JSONDecodeError:
        raise
    except ValueError:  # a whole number with more digits than int() accepts
        value, end = _decode_json_with_huge_ints(line)
    if end != len(line):
        raise ValueError(f"there is more after the JSON value, at character {end}")
    if len(line) > MAX_JSON_DEPTH and line.count("{") + line.count("[") > MAX_JSON_DEPTH:
        depth = deepest = 0
        for bracket in re.findall(r"[\[\]{}]", re.sub(r'"(?:[^"\\]|\\.)*"', "", line)):
            depth += 1 if bracket in "[{" else -1
            deepest = max(deepest, depth)
        if deepest > MAX_JSON_DEPTH:
            raise ValueError(f"the line is nested deeper than {MAX_JSON_DEPTH}")
    return value


def _has_surrogate(value: str | None) -> bool:
    return value is not None and re.search("[\ud800-\udfff]", value) is not None

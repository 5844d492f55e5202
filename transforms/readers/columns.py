"""Find columns by name, and convert Arrow columns of any type into texts and ids: decode, join, truncate, slice.

This module knows no file format and no block.
"""

from __future__ import annotations

import decimal
import functools
import uuid
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from transforms.blocks import UnitError

MAX_DETAIL_CHARS = 200
MAX_COLUMNS_NAMED = 50
MAX_WHOLE_FLOAT = 2.0**53  # above it, one floating-point number stands for several whole numbers
STRINGLIKE_TYPES = (
    *(pa.string(), pa.large_string(), pa.string_view()),
    *(pa.binary(), pa.large_binary(), pa.binary_view()),
)


def find_column(columns: Sequence[str], name: str) -> int:
    """Return the index of the only column with this name.

    Raises:
        UnitError: There is no such column, or more than one.
    """
    columns = list(columns)
    if columns.count(name) != 1:
        problem = "no column" if name not in columns else "more than one column"
        known = ", ".join(columns[:MAX_COLUMNS_NAMED]) + (", ..." if len(columns) > MAX_COLUMNS_NAMED else "")
        raise UnitError(f"the shard has {problem} {name!r}; its columns are {known}", "missing_column")
    return columns.index(name)


def find_field(schema: pa.Schema, name: str) -> tuple[str, ...]:
    """Return the path of a column or of a field in struct columns: ("data", "text") for "data.text".

    A column whose name contains the dots takes precedence.

    Raises:
        UnitError: There is no such column or field, or more than one.
    """
    if name not in schema.names and "." in name:
        path = tuple(name.split("."))
        fields: list[pa.Field] = list(schema)
        for depth, part in enumerate(path):
            matches = [field for field in fields if field.name == part]
            if len(matches) != 1:
                break
            if depth == len(path) - 1:
                return path
            type_ = matches[0].type
            fields = [type_.field(index) for index in range(type_.num_fields)] if pa.types.is_struct(type_) else []
    find_column(schema.names, name)
    return (name,)


def take_field(batch: pa.RecordBatch | pa.Table, path: tuple[str, ...]) -> pa.Array:
    """Return the column at a path of `find_field`, null where a struct on the path is null."""
    column = batch[path[0]]
    return pc.struct_field(column, list(path[1:])) if len(path) > 1 else column


def is_stringlike(type_: pa.DataType) -> bool:
    """Return whether a type holds strings or bytes: dictionary-encoded, JSON, or plain."""
    return _storage_type(type_.value_type if pa.types.is_dictionary(type_) else type_) in STRINGLIKE_TYPES


def as_binary(column: pa.Array) -> pa.BinaryArray:
    """Cast a column of a stringlike type to plain binary values."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if isinstance(column.type, pa.BaseExtensionType):
        column = column.storage
    return column.cast(pa.binary())


def _storage_type(type_: pa.DataType) -> pa.DataType:
    return type_.storage_type if isinstance(type_, pa.BaseExtensionType) else type_


def only_chunk(column: pa.ChunkedArray) -> pa.Array:
    """Return a chunked column as one array. A column of one chunk is not copied."""
    return column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks)


def id_of(value: Any) -> str | None:
    """Return a string or a whole number as an id; None for an empty string and for everything else."""
    if isinstance(value, str):
        return value or None
    if isinstance(value, float):
        value = int(value) if value.is_integer() and abs(value) <= MAX_WHOLE_FLOAT else None
    elif isinstance(value, decimal.Decimal):
        value = int(value) if value == value.to_integral_value() else None
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else None


def id_column(column: pa.Array) -> pa.StringArray:
    """Return a column as ids by the rule of `id_of`; UUIDs in their usual form, and nulls for a column of another type."""
    if is_stringlike(column.type):
        return null_where_empty(decode_utf8(as_binary(column))[0])
    if isinstance(column.type, pa.UuidType):
        values = column.storage.to_pylist()
        return pa.array([None if value is None else str(uuid.UUID(bytes=value)) for value in values], pa.string())
    if pa.types.is_dictionary(column.type):
        return id_column(column.dictionary_decode())
    if pa.types.is_integer(column.type) or (pa.types.is_decimal(column.type) and column.type.scale == 0):
        return column.cast(pa.string())
    if pa.types.is_floating(column.type) or pa.types.is_decimal(column.type):
        return pa.array([id_of(value) for value in column.to_pylist()], pa.string())
    return pa.nulls(len(column), pa.string())


def null_where_empty(values: pa.StringArray) -> pa.StringArray:
    """Replace empty strings with null."""
    return pc.if_else(pc.equal(values, ""), None, values)


def join_texts(columns: Sequence[pa.StringArray]) -> pa.StringArray:
    """Join columns of n strings with newlines, without those that are null or empty; null where all are null."""
    return functools.reduce(_join_two, columns)


def _join_two(first: pa.StringArray, second: pa.StringArray) -> pa.StringArray:
    full_first, full_second = null_where_empty(first), null_where_empty(second)
    both = pc.binary_join_element_wise(full_first, full_second, "\n")  # null where one of them is
    return pc.coalesce(both, full_first, full_second, first, second)


def decode_utf8(values: pa.BinaryArray) -> tuple[pa.StringArray, pa.StringArray | None, pa.StringArray | None]:
    """Decode binary values into strings.

    Returns:
        The strings, null for values that are not UTF-8; and the reasons and details of those rows, or None and None.
    """
    try:
        return values.cast(pa.string()), None, None
    except pa.ArrowInvalid:
        pass
    texts = values.to_pylist()
    reasons: list[str | None] = [None] * len(texts)
    details: list[str | None] = [None] * len(texts)
    for index, value in enumerate(texts):
        try:
            texts[index] = None if value is None else value.decode()
        except UnicodeDecodeError as error:
            texts[index], reasons[index], details[index] = None, "invalid_utf8", short_detail(error)
    return pa.array(texts, pa.string()), pa.array(reasons, pa.string()), pa.array(details, pa.string())


def is_utf8(data: pa.Buffer) -> bool:
    """Return whether a whole buffer is UTF-8."""
    offsets = pa.py_buffer(np.array([0, data.size], np.int32))
    try:
        pa.Array.from_buffers(pa.string(), 1, [None, offsets, data]).validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def truncate_texts(texts: pa.StringArray, max_bytes: int) -> tuple[pa.StringArray, pa.BooleanArray]:
    """Truncate strings to `max_bytes`, between characters, and return which were truncated."""
    longest = pc.max(pc.binary_length(texts)).as_py() or 0
    if longest <= max_bytes:
        return texts, pa.repeat(False, len(texts))
    _, offsets_buffer, data = texts.buffers()
    offsets = np.frombuffer(offsets_buffer, np.int32)[texts.offset : texts.offset + len(texts) + 1].astype(np.int64)
    begins, ends = offsets[:-1], offsets[1:]
    short_ends = truncate_between_characters(np.frombuffer(data, np.uint8), begins, ends, max_bytes)
    short = slice_values(data, begins, short_ends).cast(pa.string())
    return pc.if_else(pc.is_valid(texts), short, None), pa.array(ends - begins > max_bytes)


def truncate_between_characters(data: np.ndarray, begins: np.ndarray, ends: np.ndarray, max_bytes: int) -> np.ndarray:
    """Return `ends` moved back to at most `max_bytes` after `begins`, and out of the middle of a UTF-8 character."""
    long = ends - begins > max_bytes
    stops = np.where(long, begins + max_bytes, ends)
    for _ in range(3):  # a character has at most three continuation bytes, 10xxxxxx
        inside = long & (stops > begins)
        inside[inside] = (data[stops[inside]] & 0xC0) == 0x80
        stops = stops - inside
    return stops


def slice_values(data: pa.Buffer, begins: np.ndarray, ends: np.ndarray) -> pa.BinaryArray:
    """Copy `data[begins[i]:ends[i]]` into a binary array of n values. The slices are in order and do not overlap."""
    # Slices and the gaps between them, in turn, are a binary array without a copy; take the slices.
    offsets = np.stack([begins, ends], axis=1).astype(np.int32).ravel()
    both = pa.Array.from_buffers(pa.binary(), len(offsets) - 1, [None, pa.py_buffer(offsets), data])
    return both.take(pa.array(np.arange(0, len(offsets), 2)))


def short_detail(error: Exception) -> str:
    """Return the message of an error, truncated to the length of a reject's detail."""
    return str(error)[:MAX_DETAIL_CHARS]

"""Find columns by name, and turn Arrow columns of any type into texts and ids: decode, cut, slice.

This module knows no file format and no block.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from transforms.blocks import UnitError

MAX_DETAIL_CHARS = 200
MAX_COLUMNS_NAMED = 50
STRINGLIKE_TYPES = (
    *(pa.string(), pa.large_string(), pa.string_view()),
    *(pa.binary(), pa.large_binary(), pa.binary_view()),
)


def find_column(columns: list[str], name: str) -> int:
    """Return where the one column called `name` stands; raises UnitError where there is none or more than one."""
    if columns.count(name) != 1:
        problem = "no column" if name not in columns else "more than one column"
        known = ", ".join(columns[:MAX_COLUMNS_NAMED]) + (", ..." if len(columns) > MAX_COLUMNS_NAMED else "")
        raise UnitError(f"the shard has {problem} {name!r}; its columns are {known}", "missing_column")
    return columns.index(name)


def is_stringlike(type_: pa.DataType) -> bool:
    """Tell whether a type holds strings or bytes, dictionary-encoded or not."""
    return (type_.value_type if pa.types.is_dictionary(type_) else type_) in STRINGLIKE_TYPES


def as_binary(column: pa.Array) -> pa.BinaryArray:
    """Cast a column of a stringlike type to plain binary values."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    return column.cast(pa.binary())


def only_chunk(column: pa.ChunkedArray) -> pa.Array:
    """Return a chunked column as one array, without a copy where it is one already."""
    return column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks)


def id_of(value) -> str | None:
    """Return a JSON value as an id: a string or a whole number, else (and for "") None."""
    if isinstance(value, str):
        return value or None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else None


def id_column(column: pa.Array) -> pa.StringArray:
    """Return a column as ids, by the rule of `id_of`; a column of another type gives nulls."""
    if is_stringlike(column.type):
        return null_where_empty(decode_utf8(as_binary(column))[0])
    if pa.types.is_integer(column.type):
        return column.cast(pa.string())
    if pa.types.is_floating(column.type):
        return pa.array([id_of(value) for value in column.to_pylist()], pa.string())
    return pa.nulls(len(column), pa.string())


def null_where_empty(ids: pa.StringArray) -> pa.StringArray:
    """Replace empty ids with null."""
    return pc.if_else(pc.equal(ids, ""), None, ids)


def decode_utf8(values: pa.BinaryArray) -> tuple[pa.StringArray, pa.StringArray | None, pa.StringArray | None]:
    """Decode binary values into strings, with reasons and details where some are not UTF-8 (null there)."""
    try:
        return values.cast(pa.string()), None, None
    except pa.ArrowInvalid:
        pass
    texts, reasons, details = values.to_pylist(), [None] * len(values), [None] * len(values)
    for index, value in enumerate(texts):
        try:
            texts[index] = None if value is None else value.decode()
        except UnicodeDecodeError as error:
            texts[index], reasons[index], details[index] = None, "invalid_utf8", short_detail(error)
    return tuple(pa.array(column, pa.string()) for column in (texts, reasons, details))


def is_utf8(data: pa.Buffer) -> bool:
    """Tell whether all of a buffer is UTF-8."""
    borders = pa.py_buffer(np.array([0, data.size], np.int32))
    try:
        pa.Array.from_buffers(pa.string(), 1, [None, borders, data]).validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def truncate_texts(texts: pa.StringArray, max_bytes: int) -> tuple[pa.StringArray, pa.BooleanArray]:
    """Cut strings at `max_bytes`, between characters, and tell which were cut."""
    longest = pc.max(pc.binary_length(texts)).as_py() or 0
    if longest <= max_bytes:
        return texts, pa.repeat(False, len(texts))
    _, borders, data = texts.buffers()
    borders = np.frombuffer(borders, np.int32)[texts.offset : texts.offset + len(texts) + 1].astype(np.int64)
    begins, ends = borders[:-1], borders[1:]
    short_ends = truncate_between_characters(np.frombuffer(data, np.uint8), begins, ends, max_bytes)
    short = slice_values(data, begins, short_ends).cast(pa.string())
    return pc.if_else(pc.is_valid(texts), short, None), pa.array(ends - begins > max_bytes)


def truncate_between_characters(data: np.ndarray, begins: np.ndarray, ends: np.ndarray, max_bytes: int) -> np.ndarray:
    """Move each end back to at most `max_bytes` after its begin, off the middle of a UTF-8 character."""
    long = ends - begins > max_bytes
    stops = np.where(long, begins + max_bytes, ends)
    for _ in range(3):  # a character has at most three continuation bytes, 10xxxxxx
        inside = long & (stops > begins)
        inside[inside] = (data[stops[inside]] & 0xC0) == 0x80
        stops = stops - inside
    return stops


def slice_values(data: pa.Buffer, begins: np.ndarray, ends: np.ndarray) -> pa.BinaryArray:
    """Copy `data[begins[i]:ends[i]]` (in order, not overlapping) into an Arrow binary array of n values."""
    # Contents and the gaps between them, alternating, are a binary array without a copy; take the contents.
    borders = np.stack([begins, ends], axis=1).astype(np.int32).ravel()
    both = pa.Array.from_buffers(pa.binary(), len(borders) - 1, [None, pa.py_buffer(borders), data])
    return both.take(pa.array(np.arange(0, len(borders), 2)))


def short_detail(error: Exception) -> str:
    """Return an error's message, cut to what a reject may say."""
    return str(error)[:MAX_DETAIL_CHARS]

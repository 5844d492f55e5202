"""Read an Arrow IPC shard as rows, and split it into ranges of whole record batches.

The file format (also Feather version 2) is split into units; the stream format, which Hugging Face datasets writes too, is
one unit.
"""

from __future__ import annotations

import contextlib
import io
import itertools
from collections.abc import Callable, Iterator
from typing import BinaryIO

import pyarrow as pa

from transforms.blocks import UnitError
from transforms.readers.columnar import build_rows, columns_to_read, rows_per_batch
from transforms.readers.formats import group_ranges
from transforms.readers.rows import RowBuilder
from transforms.readers.sniff import check_container

FILE_MARK = b"ARROW1"
STREAM_MARK = b"\xff\xff\xff\xff"


def arrow_ranges(file: BinaryIO, unit_bytes: int) -> list[tuple[int, int, int]]:
    """Split an Arrow file into ranges of record batches: (first, stop, bytes) of each. A stream has one range.

    Record batches count as equally large.

    Raises:
        UnitError: The file cannot be read.
    """
    size = file.seek(0, io.SEEK_END)
    if _is_stream(file):
        return [(0, 1, size)]
    with _as_unit_errors():
        bounds = _byte_bounds(pa.ipc.open_file(file).num_record_batches, size)
    return group_ranges([stop - start for start, stop in itertools.pairwise(bounds)], unit_bytes)


def read_arrow_rows(
    raw: BinaryIO, batch_range: tuple[int, int], builder: RowBuilder
) -> tuple[Iterator[pa.RecordBatch], Callable[[int | None], int]]:
    """Read record batches [first, stop) of a seekable Arrow file, or all of a stream, into batches of ROW_SCHEMA.

    The position of a row is its number in the file.

    Returns:
        The batches, and a function that returns how many bytes of the range are before a position, for None how many it
        has.

    Raises:
        UnitError: The file, or a part of it that is needed, cannot be read. Iterating over the batches raises it too.
    """
    size = raw.seek(0, io.SEEK_END)
    if _is_stream(raw):
        with _as_unit_errors():
            schema = pa.ipc.open_stream(raw).schema
            raw.seek(0)
            stream = pa.ipc.open_stream(raw, options=_reading(schema, builder))
        batches = _split_batches(iter(stream))
        return build_rows(batches, schema, 0, builder), lambda position: size if position is None else raw.tell()

    first, stop = batch_range
    with _as_unit_errors():
        file = pa.ipc.open_file(raw)
        schema, count = file.schema, file.num_record_batches
        if stop > count:
            message = f"the shard has {count} record batches, but its unit ends at {stop}; plan it again"
            raise UnitError(message, "changed_shard")
        file = pa.ipc.open_file(raw, options=_reading(schema, builder))
        first_row = _count_rows(raw, schema, file, first)
    bounds = _byte_bounds(count, size)
    batches_read = 0

    def iter_batches() -> Iterator[pa.RecordBatch]:
        nonlocal batches_read
        for index in range(first, stop):
            yield file.get_batch(index)
            batches_read += 1

    def consumed_bytes(position: int | None) -> int:
        return bounds[stop if position is None else first + batches_read] - bounds[first]

    return build_rows(_split_batches(iter_batches()), schema, first_row, builder), consumed_bytes


def arrow_schema(file: BinaryIO) -> pa.Schema:
    """Return the schema of an Arrow file or stream.

    Raises:
        UnitError: The file cannot be read.
    """
    is_stream = _is_stream(file)
    with _as_unit_errors():
        return (pa.ipc.open_stream if is_stream else pa.ipc.open_file)(file).schema


def _is_stream(file: BinaryIO) -> bool:
    """Return whether a file has the stream format, not the file format; raises UnitError if it has neither."""
    file.seek(0)
    beginning = file.read(len(FILE_MARK))
    file.seek(0)
    if beginning.startswith(STREAM_MARK):
        return True
    if beginning.startswith(b"FEA1"):
        raise UnitError(
            "the file is Feather version 1, which is not supported; write it again as version 2", "unsupported_format"
        )
    file.seek(max(0, file.seek(0, io.SEEK_END) - len(FILE_MARK)))
    if beginning != FILE_MARK or file.read() != FILE_MARK:
        check_container(file, "Arrow", FILE_MARK, "corrupt_arrow")
    file.seek(0)
    return False


def _reading(schema: pa.Schema, builder: RowBuilder) -> pa.ipc.IpcReadOptions:
    """Return options that read only the columns with texts and ids."""
    fields = {schema.get_field_index(path[0]) for path in columns_to_read(schema, builder.options)}
    return pa.ipc.IpcReadOptions(included_fields=sorted(fields), use_threads=False)


def _count_rows(raw: BinaryIO, schema: pa.Schema, file: pa.RecordBatchFileReader, stop: int) -> int:
    """Count the rows of the first `stop` record batches. Only the smallest column is read, if one has a fixed width."""
    widths = {field.type.bit_width: index for index, field in enumerate(schema) if pa.types.is_primitive(field.type)}
    if widths and stop:
        options = pa.ipc.IpcReadOptions(included_fields=[widths[min(widths)]], use_threads=False)
        file = pa.ipc.open_file(raw, options=options)
    return sum(file.get_batch(index).num_rows for index in range(stop))


def _byte_bounds(count: int, size: int) -> list[int]:
    return [size * index // count for index in range(count + 1)] if count else [0]


def _split_batches(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    with _as_unit_errors():
        for batch in batches:
            rows = rows_per_batch(batch.nbytes / max(batch.num_rows, 1))
            for start in range(0, batch.num_rows, rows):
                yield batch.slice(start, rows)


@contextlib.contextmanager
def _as_unit_errors() -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        if getattr(error, "errno", None) is not None:
            raise  # an error of the file system, not of the content
        raise UnitError(f"the Arrow data is damaged or ends early: {error}", "corrupt_arrow") from error

"""Read a Parquet shard as rows, and cut it into ranges of whole row groups."""

from collections.abc import Callable, Iterator
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from transforms.blocks import UnitError
from transforms.readers.columns import as_binary, decode_utf8, find_column, id_column, is_stringlike
from transforms.readers.rows import BATCH_TEXT_BYTES, RowBuilder


def open_parquet(file: BinaryIO) -> pq.ParquetFile:
    """Open a seekable binary file as Parquet; raises UnitError where its footer cannot be read."""
    try:
        return pq.ParquetFile(file, pre_buffer=False, buffer_size=1 << 20)
    except (pa.ArrowException, OSError) as error:
        if getattr(error, "errno", None) is not None:
            raise
        raise UnitError(f"the Parquet footer cannot be read: {error}", "corrupt_parquet") from error


def parquet_row_groups(metadata: pq.FileMetaData) -> list[tuple[int, int]]:
    """List the rows and compressed bytes of each row group."""
    groups = [metadata.row_group(index) for index in range(metadata.num_row_groups)]
    return [
        (group.num_rows, sum(group.column(column).total_compressed_size for column in range(group.num_columns)))
        for group in groups
    ]


def parquet_ranges(file: BinaryIO, unit_bytes: int) -> list[tuple[int, int, int]]:
    """Cut a Parquet file into ranges of whole row groups: (first, stop, compressed bytes) each.

    A range ends with the row group that brings it to `unit_bytes`; a last one under half of that joins the one
    before. A file without row groups gives the one range (0, 0, 0).
    """
    if unit_bytes < 1:
        raise ValueError(f"unit_bytes is {unit_bytes} but must be 1 or more")
    ranges, first, taken_bytes = [], 0, 0
    sizes = [group_bytes for _, group_bytes in parquet_row_groups(open_parquet(file).metadata)]
    for index, group_bytes in enumerate(sizes):
        taken_bytes += group_bytes
        if taken_bytes >= unit_bytes:
            ranges.append((first, index + 1, taken_bytes))
            first, taken_bytes = index + 1, 0
    if first < len(sizes) or not ranges:
        if ranges and taken_bytes < unit_bytes / 2:
            before_first, _, before_bytes = ranges.pop()
            first, taken_bytes = before_first, before_bytes + taken_bytes
        ranges.append((first, len(sizes), taken_bytes))
    return ranges


def read_parquet_rows(
    raw: BinaryIO, row_groups: tuple[int, int], builder: RowBuilder
) -> tuple[Iterator[pa.RecordBatch], Callable[[int | None], int]]:
    """Read row groups [first, stop) of a seekable binary file into batches of ROW_SCHEMA.

    A row's position is its number in the file. The second thing returned tells how many compressed bytes of these row
    groups lie before a position (None: before their end). Raises UnitError where the file, or what is needed of it,
    cannot be read, here or with a batch.
    """
    file = open_parquet(raw)
    groups = parquet_row_groups(file.metadata)
    first, stop = row_groups
    if stop > len(groups):
        have = len(groups)
        raise UnitError(f"the shard has {have} row groups, but its unit ends at {stop}; plan it again", "changed_shard")
    first_row = sum(rows for rows, _ in groups[:first])
    row_borders = np.cumsum([first_row, *(rows for rows, _ in groups[first:stop])])
    byte_borders = np.cumsum([0, *(group_bytes for _, group_bytes in groups[first:stop])])

    def consumed_bytes(position):
        return int(byte_borders[-1] if position is None else np.interp(position, row_borders, byte_borders))

    return _iter_rows(file, range(first, stop), first_row, builder), consumed_bytes


def _iter_rows(file: pq.ParquetFile, row_groups: range, row: int, builder: RowBuilder) -> Iterator[pa.RecordBatch]:
    options = builder.options
    names = file.schema_arrow.names
    wanted = [name for name in (options.text_field, options.id_field) if name is not None]
    for name in wanted:
        find_column(names, name)
    text_type = file.schema_arrow.field(options.text_field).type
    readable = pa.types.is_null(text_type) or is_stringlike(text_type)
    columns = wanted if readable else wanted[1:]
    groups = [file.metadata.row_group(index) for index in row_groups]
    rows = sum(group.num_rows for group in groups)
    mean_bytes = sum(group.total_byte_size for group in groups) / max(rows, 1)
    batch_rows = int(min(max(BATCH_TEXT_BYTES / max(mean_bytes, 1), 16), 16384))
    for batch in _iter_batches(file, batch_rows, row_groups, columns):
        n = batch.num_rows
        if readable:
            texts, reasons, details = decode_utf8(as_binary(batch[options.text_field]))
        else:
            texts, reasons = pa.nulls(n, pa.string()), pa.repeat("not_a_string", n)
            details = pa.repeat(f"column {options.text_field!r} is of type {text_type}", n)
        ids = None if options.id_field is None else id_column(batch[options.id_field])
        yield builder.build(texts, np.arange(row, row + n), ids=ids, reasons=reasons, details=details)
        row += n


def _iter_batches(
    file: pq.ParquetFile, batch_rows: int, row_groups: range, columns: list[str]
) -> Iterator[pa.RecordBatch]:
    try:
        yield from file.iter_batches(batch_rows, row_groups=row_groups, columns=columns, use_threads=False)
    except (pa.ArrowException, OSError) as error:
        if getattr(error, "errno", None) is not None:
            raise  # the file could not be read, which says nothing about its content
        span = f"row groups {row_groups.start} to {row_groups.stop}"
        raise UnitError(f"{span} cannot be read: {error}", "corrupt_parquet") from error

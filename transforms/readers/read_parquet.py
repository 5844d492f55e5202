"""Read a Parquet shard as rows, and split it into ranges of whole row groups."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from transforms.blocks import UnitError
from transforms.readers.columnar import build_rows, columns_to_read, rows_per_batch
from transforms.readers.formats import group_ranges
from transforms.readers.rows import RowBuilder
from transforms.readers.sniff import check_container


def open_parquet(file: BinaryIO) -> pq.ParquetFile:
    """Open a seekable binary file as Parquet.

    Raises:
        UnitError: The footer cannot be read.
    """
    try:
        return pq.ParquetFile(file, pre_buffer=False, buffer_size=1 << 20)
    except (pa.ArrowException, OSError) as error:
        if getattr(error, "errno", None) is not None:
            raise
        check_container(file, "Parquet", b"PAR1", "corrupt_parquet")
        raise UnitError(f"the Parquet footer cannot be read: {error}", "corrupt_parquet") from error


def parquet_row_groups(metadata: pq.FileMetaData) -> list[tuple[int, int]]:
    """Return the number of rows and of compressed bytes of each row group."""
    groups = [metadata.row_group(index) for index in range(metadata.num_row_groups)]
    return [
        (group.num_rows, sum(group.column(column).total_compressed_size for column in range(group.num_columns)))
        for group in groups
    ]


def parquet_ranges(file: BinaryIO, unit_bytes: int) -> list[tuple[int, int, int]]:
    """Split a Parquet file into ranges of whole row groups: (first, stop, compressed bytes) of each.

    A range ends with the row group that reaches `unit_bytes`. A last range of less than half as many bytes becomes part of
    the previous one. A file without row groups has the one range (0, 0, 0).

    Raises:
        UnitError: The footer cannot be read.
    """
    if unit_bytes < 1:
        raise ValueError(f"unit_bytes is {unit_bytes} but must be 1 or more")
    return group_ranges([group_bytes for _, group_bytes in parquet_row_groups(open_parquet(file).metadata)], unit_bytes)


def read_parquet_rows(
    raw: BinaryIO, row_groups: tuple[int, int], builder: RowBuilder
) -> tuple[Iterator[pa.RecordBatch], Callable[[int | None], int]]:
    """Read row groups [first, stop) of a seekable binary file into batches of ROW_SCHEMA.

    The position of a row is its number in the file.

    Returns:
        The batches, and a function that returns how many compressed bytes of these row groups are before a position, for
        None how many they have.

    Raises:
        UnitError: The file, or a part of it that is needed, cannot be read. Iterating over the batches raises it too.
    """
    file = open_parquet(raw)
    groups = parquet_row_groups(file.metadata)
    first, stop = row_groups
    if stop > len(groups):
        message = f"the shard has {len(groups)} row groups, but its unit ends at {stop}; plan it again"
        raise UnitError(message, "changed_shard")
    first_row = sum(rows for rows, _ in groups[:first])
    row_bounds = np.cumsum([first_row, *(rows for rows, _ in groups[first:stop])])
    byte_bounds = np.cumsum([0, *(group_bytes for _, group_bytes in groups[first:stop])])

    def consumed_bytes(position: int | None) -> int:
        return int(byte_bounds[-1] if position is None else np.interp(position, row_bounds, byte_bounds))

    batches = _iter_batches(file, range(first, stop), builder)
    return build_rows(batches, file.schema_arrow, first_row, builder), consumed_bytes


def _iter_batches(file: pq.ParquetFile, row_groups: range, builder: RowBuilder) -> Iterator[pa.RecordBatch]:
    paths = columns_to_read(file.schema_arrow, builder.options)
    groups = [file.metadata.row_group(index) for index in row_groups]
    rows = sum(group.num_rows for group in groups)
    batch_rows = rows_per_batch(sum(group.total_byte_size for group in groups) / max(rows, 1))
    columns = [".".join(path) for path in paths]
    try:
        yield from file.iter_batches(batch_rows, row_groups=row_groups, columns=columns, use_threads=False)
    except (pa.ArrowException, OSError) as error:
        if getattr(error, "errno", None) is not None:
            raise  # an error of the file system, not of the content
        span = f"row groups {row_groups.start} to {row_groups.stop}"
        raise UnitError(f"{span} cannot be read: {error}", "corrupt_parquet") from error

"""Turn a unit of a shard into blocks of texts with ids, keeping account of every row.

Each format has one reader that gives record batches of ROW_SCHEMA; `read_blocks` picks it and cuts the rows into
blocks. Good batches stay in Arrow from end to end; a batch with a bad row is read again row by row, to the same result.
"""

import io
from collections.abc import Callable, Iterator
from typing import BinaryIO

import numpy as np
import pyarrow as pa

from transforms.blocks import BlockLimits, ReadOptions, TextBlock, UnitError, split_into_blocks
from transforms.readers.formats import Format, open_compressed
from transforms.readers.lines import CHUNK_BYTES, LineBatch, iter_line_batches
from transforms.readers.read_csv import read_csv_rows
from transforms.readers.read_json import read_json_rows
from transforms.readers.read_parquet import read_parquet_rows
from transforms.readers.read_text import read_text_rows
from transforms.readers.rows import RowBuilder


def read_blocks(
    open_raw: Callable[[], BinaryIO],
    shard_path: str,
    relative_path: str,
    shard_format: Format,
    unit_range: tuple[int, int],
    options: ReadOptions,
    limits: BlockLimits,
    *,
    chunk_bytes: int = CHUNK_BYTES,
) -> Iterator[TextBlock]:
    """Read one unit of a shard as blocks whose borders follow from the unit's content and `limits` alone.

    `open_raw()` gives the shard's raw bytes as a seekable binary file. `unit_range` is a range of bytes for
    splittable text and JSON lines, of row groups for Parquet, and ignored elsewhere. A row's position is the byte
    offset of its line in splittable text and JSON lines, and the 0-based number of its row in the shard elsewhere. Ids
    are made of `relative_path` and that ("a.txt@120", "b.csv#7") where `options.id_field` is None or the format is
    text. A unit without rows gives one empty block. Raises UnitError where the unit as a whole cannot be read; the
    blocks given before that are right.
    """
    try:
        with open_raw() as raw:
            mark = "@" if shard_format.splittable and shard_format.kind != "parquet" else "#"
            builder = RowBuilder(f"{relative_path}{mark}", options)
            batches, consumed_bytes = _read_rows(raw, shard_format, unit_range, builder, chunk_bytes)
            yield from split_into_blocks(batches, relative_path, limits, consumed_bytes)
    except UnitError as error:
        raise UnitError(f"{shard_path}: {error.message}", error.reason) from error
    except FileNotFoundError as error:
        raise UnitError(f"{shard_path}: the shard is gone: {error}", "vanished_shard") from error
    except OSError as error:
        raise UnitError(f"{shard_path}: the shard cannot be read: {error}", "unreadable_shard") from error


def _read_rows(
    raw: BinaryIO, shard_format: Format, unit_range: tuple[int, int], builder: RowBuilder, chunk_bytes: int
) -> tuple[Iterator[pa.RecordBatch], Callable[[int | None], int]]:
    """Return the unit's rows, and what tells how many raw bytes of it lie before a position (None: before its end)."""
    kind, compression = shard_format.kind, shard_format.compression
    if kind == "parquet":
        if compression:
            raise UnitError(f"Parquet inside {compression} cannot be read; decompress the file", "unsupported_format")
        return read_parquet_rows(raw, unit_range, builder)
    file = open_compressed(raw, compression) if compression else raw
    delimiter = {"csv": ",", "tsv": "\t"}.get(kind)
    if delimiter:
        batches = read_csv_rows(file, delimiter, builder, chunk_bytes=chunk_bytes)
    else:
        options = builder.options
        max_line_bytes = options.max_text_bytes if kind == "text" else options.max_record_bytes
        lines = _iter_lines(file, unit_range if shard_format.splittable else None, max_line_bytes, chunk_bytes)
        batches = read_text_rows(lines, builder) if kind == "text" else read_json_rows(lines, builder)
    if shard_format.splittable:
        start, end = unit_range
        return batches, lambda position: (end if position is None else position) - start
    return batches, lambda position: raw.seek(0, io.SEEK_END) if position is None else raw.tell()


def _iter_lines(
    file: BinaryIO, byte_range: tuple[int, int] | None, max_line_bytes: int, chunk_bytes: int
) -> Iterator[tuple[LineBatch, np.ndarray]]:
    """Read batches of lines with their positions: byte offsets in a byte range, else numbers of lines of the file."""
    start, end = byte_range or (0, None)
    rows = 0
    for lines in iter_line_batches(file, start, end, max_line_bytes=max_line_bytes, chunk_bytes=chunk_bytes):
        n = len(lines)
        yield lines, np.arange(rows, rows + n) if byte_range is None else lines.offsets
        rows += n

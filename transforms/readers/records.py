"""Read a unit of a shard into blocks of texts with ids, and account for every row.

Each format has one reader that returns record batches of ROW_SCHEMA. `read_blocks` selects the reader and splits its rows
into blocks. Rows stay in Arrow from end to end. A batch with a bad row is read again row by row, with the same result.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import BinaryIO

import numpy as np
import pyarrow as pa

from transforms.blocks import BlockLimits, TextBlock, UnitError, split_into_blocks
from transforms.options import ReadOptions
from transforms.readers.formats import Format, byte_ranges
from transforms.readers.lines import CHUNK_BYTES, LineBatch, iter_line_batches
from transforms.readers.read_arrow import arrow_ranges, read_arrow_rows
from transforms.readers.read_csv import infer_quoting, read_csv_rows
from transforms.readers.read_json import read_json_rows
from transforms.readers.read_parquet import parquet_ranges, read_parquet_rows
from transforms.readers.read_text import read_text_rows
from transforms.readers.rows import RowBuilder
from transforms.readers.sniff import SNIFF_BYTES, kind_of_content
from transforms.readers.streams import open_compressed, open_transcoded, read_beginning

Rows = tuple[Iterator[pa.RecordBatch], Callable[[int | None], int]]


def read_blocks(
    open_raw: Callable[[], BinaryIO],
    shard_path: str,
    relative_path: str,
    shard_format: Format,
    unit_range: tuple[int, int],
    options: ReadOptions,
    limits: BlockLimits,
    *,
    max_rows: int | None = None,
    chunk_bytes: int = CHUNK_BYTES,
) -> Iterator[TextBlock]:
    """Read one unit of a shard as blocks. Their boundaries depend only on the content of the unit and on `limits`.

    The position of a row is the byte offset of its line in splittable text and JSON lines, and the number of the row in the
    shard, from 0, elsewhere. An id is made of `relative_path` and the position ("a.txt@120", "b.csv#7") if
    `options.id_field` is None or the format is text. A unit without rows has one empty block.

    Args:
        open_raw: Opens the bytes of the shard as a seekable binary file.
        shard_path: The path in messages.
        relative_path: The path in ids and rejects.
        shard_format: The format, as `formats.detect` returns it for the same options.
        unit_range: A range of bytes of splittable text and JSON lines, of row groups of Parquet, or of record batches of
            Arrow; ignored elsewhere.
        options: How to read.
        limits: The limits of a block.
        max_rows: How many rows to read, from the first on; None for all.
        chunk_bytes: How much of a text file to read at once.

    Raises:
        UnitError: The unit cannot be read to its end. The blocks before are valid.
    """
    try:
        with open_raw() as raw:
            builder = RowBuilder(f"{relative_path}{_id_mark(shard_format)}", options)
            batches, consumed_bytes = _read_rows(raw, shard_format, unit_range, builder, chunk_bytes)
            if max_rows is not None:
                batches, consumed_bytes = _take_rows(batches, consumed_bytes, max_rows)
            yield from split_into_blocks(batches, relative_path, limits, consumed_bytes)
    except UnitError as error:
        raise UnitError(f"{shard_path}: {error.message}", error.reason) from error
    except FileNotFoundError as error:
        raise UnitError(f"{shard_path}: the shard does not exist any more: {error}", "vanished_shard") from error
    except OSError as error:
        raise UnitError(f"{shard_path}: the shard cannot be read: {error}", "unreadable_shard") from error


def unit_ranges(
    open_raw: Callable[[], BinaryIO], shard_format: Format, size_bytes: int, unit_bytes: int
) -> list[tuple[int, int, int]]:
    """Split a shard of `size_bytes` into units: (start, stop, source bytes) of each. Only Parquet and Arrow are opened.

    Raises:
        UnitError, OSError: The shard cannot be read.
    """
    if shard_format.kind in ("parquet", "arrow"):
        _refuse_compression(shard_format)
        with open_raw() as file:
            return (parquet_ranges if shard_format.kind == "parquet" else arrow_ranges)(file, unit_bytes)
    if shard_format.splittable:
        return [(start, stop, stop - start) for start, stop in byte_ranges(size_bytes, unit_bytes)]
    return [(0, size_bytes, size_bytes)]


def _refuse_compression(shard_format: Format) -> None:
    if shard_format.compression:
        name, compression = shard_format.kind.capitalize(), shard_format.compression
        raise UnitError(f"{name} inside {compression} cannot be read; decompress the file", "unsupported_format")


def _id_mark(shard_format: Format) -> str:
    """Return the mark between path and position in an id: "@" before a byte offset, "#" before a row number."""
    return "@" if shard_format.splittable and shard_format.kind not in ("parquet", "arrow") else "#"


def _read_rows(
    raw: BinaryIO, shard_format: Format, unit_range: tuple[int, int], builder: RowBuilder, chunk_bytes: int
) -> Rows:
    """Return the rows of a unit, and a function that returns its bytes before a position, for None all its bytes."""
    kind = shard_format.kind
    if kind in ("parquet", "arrow"):
        _refuse_compression(shard_format)
        return (read_parquet_rows if kind == "parquet" else read_arrow_rows)(raw, unit_range, builder)

    options = builder.options
    beginning, file = open_text(raw, shard_format, options)
    kind = kind_of_content(kind, beginning, options)
    if kind in ("csv", "tsv"):
        delimiter, quoting = options.delimiter_of(kind), options.quoting_of(kind)
        if quoting == "auto":
            quoting = infer_quoting(beginning, delimiter)
        batches, share = read_csv_rows(file, delimiter, builder, quoting=quoting, chunk_bytes=chunk_bytes)
        return _measure(raw, batches, share)
    max_line_bytes = options.max_text_bytes if kind == "text" else options.max_record_bytes
    lines = _iter_lines(file, unit_range if shard_format.splittable else None, max_line_bytes, chunk_bytes)
    batches = read_text_rows(lines, builder) if kind == "text" else read_json_rows(lines, builder)
    if shard_format.splittable:
        start, end = unit_range
        return batches, lambda position: (end if position is None else position) - start
    return _measure(raw, batches)


def _take_rows(
    batches: Iterator[pa.RecordBatch], consumed_bytes: Callable[[int | None], int], max_rows: int
) -> tuple[Iterator[pa.RecordBatch], Callable[[int | None], int]]:
    """Take the first rows of a unit; all its bytes are then those before the first row that is left out."""
    end: int | None = None

    def taken() -> Iterator[pa.RecordBatch]:
        nonlocal end
        left = max_rows
        for batch in batches:
            if batch.num_rows > left:
                end = batch["position"][left].as_py()
                yield batch.slice(0, left)
                return
            yield batch
            left -= batch.num_rows

    return taken(), lambda position: consumed_bytes(end if position is None else position)


def _measure(
    raw: BinaryIO, batches: Iterator[pa.RecordBatch], share: Callable[[], float] = lambda: 1.0
) -> tuple[Iterator[pa.RecordBatch], Callable[[int | None], int]]:
    """Return batches of rows numbered from 0, and a function that returns the bytes of the file before the row of a number.

    A batch takes the bytes that were read for it, its rows equal parts of them.

    Args:
        share: Returns the share of what was read from the file that the batches hold so far.
    """
    rows, bounds = [0, 0], [0, 0]  # before the last batch, and after it

    def measured() -> Iterator[pa.RecordBatch]:
        for batch in batches:
            rows[:] = rows[1], rows[1] + batch.num_rows
            bounds[:] = bounds[1], max(bounds[1], int(raw.tell() * share()))
            yield batch

    def consumed_bytes(position: int | None) -> int:
        return raw.seek(0, io.SEEK_END) if position is None else int(np.interp(position, rows, bounds))

    return measured(), consumed_bytes


def open_text(
    raw: BinaryIO, shard_format: Format, options: ReadOptions, beginning_bytes: int = SNIFF_BYTES
) -> tuple[bytes, BinaryIO]:
    """Open a shard of lines: its first bytes, decompressed and in UTF-8, and a file that reads all of it from the start."""
    file: BinaryIO = open_compressed(raw, shard_format.compression) if shard_format.compression else raw
    if options.encoding != "utf-8":
        file = open_transcoded(file, options.encoding)
    return read_beginning(file, beginning_bytes)


def _iter_lines(
    file: BinaryIO, byte_range: tuple[int, int] | None, max_line_bytes: int, chunk_bytes: int
) -> Iterator[tuple[LineBatch, np.ndarray]]:
    """Read batches of lines with their positions: byte offsets in a byte range, else numbers of lines in the file."""
    start, end = byte_range or (0, None)
    rows = 0
    for lines in iter_line_batches(file, start, end, max_line_bytes=max_line_bytes, chunk_bytes=chunk_bytes):
        n = len(lines)
        yield lines, np.arange(rows, rows + n) if byte_range is None else lines.offsets
        rows += n

"""Convert record batches of a Parquet or Arrow shard into rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from transforms.options import ReadOptions
from transforms.readers.columns import (
    as_binary,
    decode_utf8,
    find_field,
    id_column,
    is_stringlike,
    join_texts,
    take_field,
)
from transforms.readers.rows import BATCH_TEXT_BYTES, RowBuilder

MIN_BATCH_ROWS, MAX_BATCH_ROWS = 16, 16384


def columns_to_read(schema: pa.Schema, options: ReadOptions) -> list[tuple[str, ...]]:
    """Return the paths of the columns and struct fields that hold texts and ids.

    Raises:
        UnitError: There is no such column, or more than one.
    """
    return [find_field(schema, name) for name in (*options.text_field, options.id_field) if name is not None]


def rows_per_batch(row_bytes: float) -> int:
    """Return how many rows of a mean size to read at once."""
    return int(min(max(BATCH_TEXT_BYTES / max(row_bytes, 1), MIN_BATCH_ROWS), MAX_BATCH_ROWS))


def build_rows(
    batches: Iterable[pa.RecordBatch], schema: pa.Schema, first_row: int, builder: RowBuilder
) -> Iterator[pa.RecordBatch]:
    """Convert record batches, the first row of which has the number `first_row`, into batches of ROW_SCHEMA.

    Args:
        batches: Record batches with the columns of `columns_to_read`.
        schema: The schema of the shard.
        first_row: The position of the first row.
        builder: Completes the rows.
    """
    options = builder.options
    text_paths = [find_field(schema, name) for name in options.text_field]
    id_path = None if options.id_field is None else find_field(schema, options.id_field)
    row = first_row
    for batch in batches:
        n = batch.num_rows
        texts, reasons, details = _texts(batch, text_paths)
        ids = None if id_path is None else id_column(take_field(batch, id_path))
        yield builder.build(texts, np.arange(row, row + n), ids=ids, reasons=reasons, details=details)
        row += n


def _texts(
    batch: pa.RecordBatch, paths: list[tuple[str, ...]]
) -> tuple[pa.StringArray, pa.StringArray | None, pa.StringArray | None]:
    """Return the joined texts of n rows, and the reasons and details of those that cannot be used, or None."""
    columns, reasons, details = [], None, None
    for path in paths:
        column = take_field(batch, path)
        if is_stringlike(column.type) or pa.types.is_null(column.type):
            texts, text_reasons, text_details = decode_utf8(as_binary(column))
        else:
            texts, text_reasons = pa.nulls(len(column), pa.string()), pa.repeat("not_a_string", len(column))
            text_details = pa.repeat(f"column {'.'.join(path)!r} is of type {column.type}", len(column))
        columns.append(texts)
        if text_reasons is not None:
            reasons = text_reasons if reasons is None else pc.coalesce(reasons, text_reasons)
            details = text_details if details is None else pc.coalesce(details, text_details)
    return join_texts(columns), reasons, details

"""Define what reading a shard is asked for and what it gives: options, blocks, rejects, failed units.

This module knows no file format and no Beam. Readers hand row batches (`ROW_SCHEMA`) to `split_into_blocks`, which alone
decides where a block ends.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from transforms.options import FormatName as FormatName
from transforms.options import ReadOptions as ReadOptions

RejectReason = Literal[
    "invalid_utf8",  # the row's bytes are not UTF-8, or its JSON holds a lone surrogate
    "malformed_json",  # not JSON, not an object, or nested deeper than read_json.MAX_JSON_DEPTH
    "malformed_csv",  # wrong number of columns, or a quote that does not fit
    "missing_text",  # the text field is absent or null
    "not_a_string",  # the text field holds something else
    "blank_text",  # the text, or the whole line, is empty or only white space
    "missing_id",  # an id field was named, and the row has no string or whole number there
    "line_too_long",  # a JSON or CSV line longer than RECORD_BYTES_FACTOR * max_text_bytes
]
UnitFailure = Literal[
    "truncated_stream",
    "corrupt_stream",
    "corrupt_parquet",
    "corrupt_header",
    "missing_column",
    "vanished_shard",
    "changed_shard",
    "unreadable_shard",
    "unsupported_format",
]
REJECT_REASONS: tuple[str, ...] = get_args(RejectReason)
UNIT_FAILURES: tuple[str, ...] = get_args(UnitFailure)

TEXT_SCHEMA = pa.schema(
    [("id", pa.string()), ("text", pa.string()), ("truncated", pa.bool_()), ("position", pa.int64())]
)
REJECT_SCHEMA = pa.schema(
    [
        ("path", pa.string()),
        ("position", pa.int64()),
        ("id", pa.string()),
        ("reason", pa.string()),
        ("detail", pa.string()),
    ]
)
# What readers produce: every row they met, good (reason null) or rejected, in the order of the shard.
ROW_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("text", pa.string()),
        ("truncated", pa.bool_()),
        ("position", pa.int64()),
        ("reason", pa.string()),
        ("detail", pa.string()),
    ]
)


class UnitError(Exception):
    """Says why a whole unit cannot be read; `reason` is one of `UNIT_FAILURES`."""

    def __init__(self, message: str, reason: UnitFailure = "unreadable_shard"):
        super().__init__(message, reason)  # both, so that the exception survives pickling
        self.message = message
        self.reason = reason

    def __str__(self) -> str:
        return self.message


@dataclass(frozen=True)
class BlockLimits:
    """Bound a block: rows READ (kept and rejected together), and bytes of KEPT text.

    A row that would go over either limit starts the next block; a single text larger than `text_bytes` is a block
    of its own.
    """

    rows: int = 4096
    text_bytes: int = 4 << 20

    def __post_init__(self):
        if self.rows < 1 or self.text_bytes < 1:
            raise ValueError(f"rows is {self.rows} and text_bytes {self.text_bytes}, but both must be 1 or more")


@dataclass
class TextBlock:
    """Hold the rows of one block: `table` (TEXT_SCHEMA) the kept ones, `rejects` (REJECT_SCHEMA) the rest.

    `rows_read == table.num_rows + rejects.num_rows`. `source_bytes` are the raw bytes of the shard this block took;
    over all blocks of a unit they sum to the unit's bytes.
    """

    table: pa.Table
    rejects: pa.Table
    index: int
    last: bool
    rows_read: int
    source_bytes: int


def split_into_blocks(
    batches: Iterable[pa.RecordBatch], path: str, limits: BlockLimits, consumed_bytes: Callable[[int | None], int]
) -> Iterator[TextBlock]:
    """Cut a unit's rows into blocks by content alone.

    Takes record batches of ROW_SCHEMA of any size; gives one or more blocks, the final one with `last=True`.
    `consumed_bytes(position)` tells how many raw bytes of the unit lie before the row at `position`, and for
    `None` how many the unit has.
    """
    pending, rows, text_bytes = [], 0, 0
    index, taken_bytes = 0, 0

    def close(next_position):
        total = max(consumed_bytes(next_position), taken_bytes)
        return _make_block(pending, path, index, next_position is None, total - taken_bytes), total

    for batch in batches:
        totals = np.cumsum(_kept_bytes(batch))
        begin = 0
        while begin < batch.num_rows:
            before = totals[begin - 1] if begin else 0
            room = int(np.searchsorted(totals, before + limits.text_bytes - text_bytes, side="right"))
            stop = min(begin + limits.rows - rows, room, batch.num_rows)
            if rows == 0:
                stop = max(stop, begin + 1)
            if stop > begin:
                pending.append(batch.slice(begin, stop - begin))
                rows += stop - begin
                text_bytes += int(totals[stop - 1] - before)
                begin = stop
            if begin < batch.num_rows:
                block, taken_bytes = close(batch["position"][begin].as_py())
                yield block
                pending, rows, text_bytes, index = [], 0, 0, index + 1
    yield close(None)[0]


def _kept_bytes(batch: pa.RecordBatch) -> np.ndarray:
    lengths = pc.if_else(pc.is_null(batch["reason"]), pc.binary_length(batch["text"]), 0)
    return lengths.to_numpy(zero_copy_only=False).astype(np.int64)


def _make_block(pending, path: str, index: int, last: bool, source_bytes: int) -> TextBlock:
    rows = pa.Table.from_batches(pending, schema=ROW_SCHEMA)
    kept = pc.is_null(rows["reason"])
    # filter() copies what it keeps, so a block never drags along the larger buffers its slices came from.
    table = rows.select(TEXT_SCHEMA.names).filter(kept).combine_chunks()
    rejects = rows.select(REJECT_SCHEMA.names[1:]).filter(pc.invert(kept)).combine_chunks()
    paths = pa.repeat(pa.scalar(path, pa.string()), rejects.num_rows)
    rejects = rejects.add_column(0, REJECT_SCHEMA.field("path"), paths)
    return TextBlock(table, rejects, index, last, rows.num_rows, source_bytes)

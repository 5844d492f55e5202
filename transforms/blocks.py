"""Define the results of reading a shard: blocks, rejects and failed units.

This module knows no file format and no Beam. Readers produce record batches of ROW_SCHEMA, and `split_into_blocks` alone
decides where a block ends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from transforms.options import FormatName as FormatName
from transforms.options import Quoting as Quoting
from transforms.options import ReadOptions as ReadOptions

RejectReason = Literal[
    "invalid_utf8",  # the bytes of the row are not in the encoding of the shard, or its JSON has a lone surrogate
    "malformed_json",  # not JSON, not an object, or nested deeper than read_json.MAX_JSON_DEPTH
    "malformed_csv",  # a wrong number of columns, or a misplaced quote
    "missing_text",  # every text field is absent or null
    "not_a_string",  # a text field has a value of another type
    "blank_text",  # the text, or the whole line, is empty or only white space
    "missing_id",  # the id field has no string and no whole number
    "line_too_long",  # a JSON or CSV line is longer than RECORD_BYTES_FACTOR * max_text_bytes
]
UnitFailure = Literal[
    "truncated_stream",
    "corrupt_stream",
    "corrupt_parquet",
    "corrupt_arrow",
    "corrupt_header",
    "missing_column",
    "vanished_shard",
    "changed_shard",
    "unreadable_shard",
    "unsupported_format",
    "unexpected_content",  # the content is not of the format that the name or the format option states
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
# The output of readers: every row in the order of the shard, kept (reason is null) or rejected.
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
    """A unit cannot be read. `reason` is one of UNIT_FAILURES."""

    def __init__(self, message: str, reason: UnitFailure = "unreadable_shard") -> None:
        super().__init__(message, reason)  # both, so that the exception survives pickling
        self.message = message
        self.reason = reason

    def __str__(self) -> str:
        return self.message


@dataclass(frozen=True)
class BlockLimits:
    """Limits of a block: rows read (kept and rejected), and bytes of kept text.

    A row that exceeds a limit starts the next block. A single text larger than `text_bytes` is a block on its own.
    """

    rows: int = 4096
    text_bytes: int = 4 << 20

    def __post_init__(self) -> None:
        if self.rows < 1 or self.text_bytes < 1:
            raise ValueError(f"rows is {self.rows} and text_bytes {self.text_bytes}, but both must be 1 or more")


@dataclass
class TextBlock:
    """The rows of one block: `table` (TEXT_SCHEMA) has the kept rows, `rejects` (REJECT_SCHEMA) the rejected rows.

    `rows_read == table.num_rows + rejects.num_rows`. `source_bytes` is the number of bytes of the shard that the block
    took. Over all blocks of a unit they sum to the bytes of the unit.
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
    """Split the rows of a unit into blocks. The boundaries depend on the content of the rows only.

    Args:
        batches: Record batches of ROW_SCHEMA of any size.
        path: The path of the shard in rejects.
        limits: The limits of a block.
        consumed_bytes: Returns the number of bytes of the unit before the row at a position, for None the bytes of the
            unit.

    Returns:
        One or more blocks. The final one has `last=True`.
    """
    pending: list[pa.RecordBatch] = []
    rows = text_bytes = index = taken_bytes = 0

    def close(next_position: int | None) -> tuple[TextBlock, int]:
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


def _make_block(pending: list[pa.RecordBatch], path: str, index: int, last: bool, source_bytes: int) -> TextBlock:
    rows = pa.Table.from_batches(pending, schema=ROW_SCHEMA)
    kept = pc.is_null(rows["reason"])
    # filter() copies the rows, so a block does not reference the larger buffers that its slices come from.
    table = rows.select(TEXT_SCHEMA.names).filter(kept).combine_chunks()
    rejects = rows.select(REJECT_SCHEMA.names[1:]).filter(pc.invert(kept)).combine_chunks()
    paths = pa.repeat(pa.scalar(path, pa.string()), rejects.num_rows)
    rejects = rejects.add_column(0, REJECT_SCHEMA.field("path"), paths)
    return TextBlock(table, rejects, index, last, rows.num_rows, source_bytes)

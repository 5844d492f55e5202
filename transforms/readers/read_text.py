"""Read the lines of a text shard as rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa

from transforms.readers.columns import decode_utf8
from transforms.readers.lines import LineBatch
from transforms.readers.rows import RowBuilder


def read_text_rows(batches: Iterable[tuple[LineBatch, np.ndarray]], builder: RowBuilder) -> Iterator[pa.RecordBatch]:
    """Read batches of lines and their positions (n,) int64 into batches of ROW_SCHEMA. Each line is a text."""
    for lines, positions in batches:
        texts, reasons, details = decode_utf8(lines.values())
        truncated = pa.array(lines.truncated)
        yield builder.build(texts, positions, truncated=truncated, reasons=reasons, details=details)

"""Split a byte stream into lines, without keeping a line that is too long in memory.

A line ends with \\n, and one \\r before it is part of the line end. This module works on bytes and knows no text field, no
id and no reject table.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
import pyarrow as pa

from transforms.blocks import UnitError
from transforms.readers.columns import slice_values, truncate_between_characters

CHUNK_BYTES = 1 << 20
BOM = b"\xef\xbb\xbf"
UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")  # UTF-8 text cannot begin with these


@dataclass(frozen=True)
class LineBatch:
    """Consecutive lines, n >= 1 of them. Line i is `data[begins[i]:ends[i]]`, truncated and without its line end.

    Attributes:
        data: the bytes of the lines.
        begins, ends: (n,) int64, offsets in `data`.
        offsets: (n,) int64, the offset of each line in the stream.
        truncated: (n,) bool, whether the line was truncated to `max_line_bytes`.
    """

    data: bytes
    begins: np.ndarray
    ends: np.ndarray
    offsets: np.ndarray
    truncated: np.ndarray

    def __len__(self) -> int:
        return len(self.offsets)

    def __getitem__(self, rows: slice) -> LineBatch:
        """Return consecutive lines as a batch."""
        first, stop, _ = rows.indices(len(self))
        low, high = self.begins[first], self.begins[stop] if stop < len(self) else len(self.data)
        begins, ends = self.begins[rows] - low, self.ends[rows] - low
        return LineBatch(self.data[low:high], begins, ends, self.offsets[rows], self.truncated[rows])

    def values(self) -> pa.BinaryArray:
        """Return the lines as n binary values."""
        return slice_values(pa.py_buffer(self.data), self.begins, self.ends)


def iter_line_batches(
    file: BinaryIO, start: int = 0, end: int | None = None, *, max_line_bytes: int, chunk_bytes: int = CHUNK_BYTES
) -> Iterator[LineBatch]:
    """Read the lines whose first byte lies in [start, end) of a binary file, in batches of about `chunk_bytes`.

    A byte order mark at the start of the file is dropped.

    Args:
        file: A binary file at its start. It must be seekable if `start` is not 0.
        start: The first byte of the range.
        end: The end of the range; None for the end of the file.
        max_line_bytes: Longer lines are truncated, between two characters.
        chunk_bytes: How much is read at once.

    Raises:
        UnitError: The file ends before `end`, or is UTF-16.
    """
    base, held, skipping, has_bom = start, b"", False, False
    if start > 0:
        _refuse_utf16(file.read(len(BOM)))
        # The line with byte start-1 belongs to the previous range; drop the rest of it and its newline.
        file.seek(start - 1)
        base, skipping = start - 1, True
    else:
        held = file.read(len(BOM))
        _refuse_utf16(held)
        if held == BOM:
            base, held, has_bom = len(BOM), b"", True

    at_end = False
    while not at_end and (end is None or base < end or has_bom):
        chunk = file.read(chunk_bytes)
        at_end = not chunk
        if at_end and end is not None and base + len(held) < end:
            have = base + len(held)
            raise UnitError(f"the shard has {have} bytes, but its unit ends at {end}; plan it again", "changed_shard")
        if skipping:
            newline = chunk.find(b"\n")
            base += len(chunk) if newline < 0 else newline + 1
            if newline < 0:
                continue
            chunk = chunk[newline + 1 :]
        data = held + chunk
        whole = len(data) if at_end else data.rfind(b"\n") + 1
        # One byte above the limit may be a \r; with more the line is too long, whatever follows.
        skipping = len(data) - whole > max_line_bytes + 1
        body, held = (data, b"") if skipping else (data[:whole], data[whole:])
        if body:
            batch = _index_lines(body, base, max_line_bytes)
            if has_bom:  # the first line begins at the mark; otherwise the range (0, 1) would lose it
                batch.offsets[0], has_bom = 0, False
            base += len(body)
            inside = len(batch) if end is None else int(np.searchsorted(batch.offsets, end))
            if inside:
                yield batch[:inside]


def _refuse_utf16(beginning: bytes) -> None:
    if beginning.startswith(UTF16_MARKS):
        name = "utf-32" if beginning == b"\xff\xfe\0" else "utf-16"  # a text does not begin with U+0000
        raise UnitError(f"the file is {name.upper()}, not UTF-8; read it with --encoding {name}", "unsupported_format")


def _index_lines(data: bytes, base: int, max_line_bytes: int) -> LineBatch:
    array = np.frombuffer(data, np.uint8)
    ends = np.flatnonzero(array == ord("\n"))
    if not data.endswith(b"\n"):
        ends = np.append(ends, len(data))
    begins = np.concatenate([[0], ends[:-1] + 1])
    ends = ends - ((ends > begins) & (array[ends - 1] == ord("\r")))
    too_long = ends - begins > max_line_bytes
    if too_long.any():
        ends = truncate_between_characters(array, begins, ends, max_line_bytes)
    return LineBatch(data, begins, ends, base + begins, too_long)

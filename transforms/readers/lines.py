"""Cut a byte stream into lines, without ever holding a line that is too long.

Lines end with \\n; one \\r before it belongs to the line's end. This module works on bytes and knows no text field, no
id and no reject table.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
import pyarrow as pa

from transforms.blocks import UnitError
from transforms.readers.columns import slice_values, truncate_between_characters

CHUNK_BYTES = 1 << 20
BOM = b"\xef\xbb\xbf"
UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")  # no UTF-8 text begins so


@dataclass(frozen=True)
class LineBatch:
    """Hold n >= 1 lines in a row: line i is `data[begins[i]:ends[i]]`, without its line end or what was cut.

    `begins` and `ends` (n,) int64 point into `data`; `offsets` (n,) int64 is where each line begins in the
    stream; `cut` (n,) bool marks lines cut at `max_line_bytes`.
    """

    data: bytes
    begins: np.ndarray
    ends: np.ndarray
    offsets: np.ndarray
    truncated: np.ndarray

    def __len__(self) -> int:
        return len(self.offsets)

    def __getitem__(self, rows: slice) -> "LineBatch":
        """Return consecutive lines as a batch of their own."""
        first, stop, _ = rows.indices(len(self))
        low, high = self.begins[first], self.begins[stop] if stop < len(self) else len(self.data)
        begins, ends = self.begins[rows] - low, self.ends[rows] - low
        return LineBatch(self.data[low:high], begins, ends, self.offsets[rows], self.truncated[rows])

    def values(self) -> pa.BinaryArray:
        """Return the lines as n Arrow binary values."""
        return slice_values(pa.py_buffer(self.data), self.begins, self.ends)


def iter_line_batches(
    file: BinaryIO, start: int = 0, end: int | None = None, *, max_line_bytes: int, chunk_bytes: int = CHUNK_BYTES
) -> Iterator[LineBatch]:
    """Read the lines whose first byte lies in [start, end) of a binary file, in batches of about `chunk_bytes`.

    Only `start > 0` seeks; `end=None` is the end of the file. A byte order mark at the file's start is dropped.
    Raises UnitError where the file ends before `end`.
    """
    base, held, skipping, has_bom = start, b"", False, False
    if start > 0:
        _refuse_utf16(file.read(len(BOM)))
        # The line that holds byte start-1 belongs to the range before; drop the rest of it, newline included.
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
        # One byte more than the limit may still be a \r; beyond that the line is too long, whatever follows.
        skipping = len(data) - whole > max_line_bytes + 1
        body, held = (data, b"") if skipping else (data[:whole], data[whole:])
        if body:
            batch = _index_lines(body, base, max_line_bytes)
            if has_bom:  # the first line begins at the mark, else the range (0, 1) would lose it
                batch.offsets[0], has_bom = 0, False
            base += len(body)
            inside = len(batch) if end is None else int(np.searchsorted(batch.offsets, end))
            if inside:
                yield batch[:inside]


def _refuse_utf16(beginning: bytes) -> None:
    if beginning.startswith(UTF16_MARKS):
        raise UnitError("the shard is UTF-16, not UTF-8; iconv -f UTF-16 -t UTF-8 makes it so", "unsupported_format")


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

"""Read a CSV or TSV shard as rows: lines into records, records into texts and ids."""

from __future__ import annotations

import csv
import io
from collections import deque
from collections.abc import Callable, Iterator
from typing import BinaryIO, NamedTuple

import numpy as np
import pyarrow as pa

from transforms.blocks import Quoting, RejectReason, UnitError
from transforms.readers.columns import find_column
from transforms.readers.lines import CHUNK_BYTES, LineBatch, iter_line_batches
from transforms.readers.rows import BATCH_TEXT_BYTES, RowBuilder

CSV_BATCH_ROWS = 4096


def read_csv_rows(
    file: BinaryIO, delimiter: str, builder: RowBuilder, *, quoting: Quoting = "minimal", chunk_bytes: int = CHUNK_BYTES
) -> tuple[Iterator[pa.RecordBatch], Callable[[], float]]:
    """Read a CSV file into batches of ROW_SCHEMA. The position of a row is its number, 0 for the one after the header.

    Returns:
        The batches, and a function that returns the share of what was read from the file that they hold so far.

    Raises:
        UnitError: The header cannot be read or lacks a column. Iterating over the batches raises it.
    """
    lines = _open_lines(file, builder.options.max_record_bytes, chunk_bytes)
    return _iter_rows(_iter_records(lines, delimiter, quoting), builder), lines.share_taken


def _iter_rows(records: Iterator[list[str] | CsvReject], builder: RowBuilder) -> Iterator[pa.RecordBatch]:
    options = builder.options
    columns = next(records, None)
    if columns is None:
        return
    if isinstance(columns, CsvReject):
        raise UnitError(f"the header cannot be read: {columns.reason}: {columns.detail}", "corrupt_header")
    text_column, *more_columns = [find_column(columns, name) for name in options.text_field]
    id_column = None if options.id_field is None else find_column(columns, options.id_field)

    rows: list[tuple] = []
    held_chars = first = 0
    for record in records:
        row_id = text = reason = detail = None
        if isinstance(record, CsvReject):
            reason, detail = record
        elif len(record) == len(columns):
            text = record[text_column]
            if more_columns:
                text = "\n".join(filter(None, [text, *(record[column] for column in more_columns)]))
            row_id = None if id_column is None else record[id_column] or None
            held_chars += len(text)
        elif record:
            reason, detail = "malformed_csv", f"the row has {len(record)} columns, the header {len(columns)}"
        else:
            reason, detail = "blank_text", "the line is empty"
        rows.append((row_id, text, reason, detail))
        if len(rows) == CSV_BATCH_ROWS or held_chars > BATCH_TEXT_BYTES:
            yield _csv_batch(builder, rows, first)
            rows, held_chars, first = [], 0, first + len(rows)
    if rows:
        yield _csv_batch(builder, rows, first)


def _csv_batch(builder: RowBuilder, rows: list[tuple], first: int) -> pa.RecordBatch:
    ids, texts, reasons, details = (pa.array(column, pa.string()) for column in zip(*rows, strict=True))
    ids = None if builder.options.id_field is None else ids
    return builder.build(texts, np.arange(first, first + len(rows)), ids=ids, reasons=reasons, details=details)


class CsvReject(NamedTuple):
    """The reason why a record of a CSV file has no fields."""

    reason: RejectReason
    detail: str


def iter_csv_records(
    file: BinaryIO,
    delimiter: str,
    *,
    quoting: Quoting = "minimal",
    max_record_bytes: int,
    chunk_bytes: int = CHUNK_BYTES,
) -> Iterator[list[str] | CsvReject]:
    """Read the records of a CSV file, its header first, and continue after bad records.

    With `quoting="minimal"` quotes are read strictly. If they are misplaced, or the record exceeds `max_record_bytes`
    characters (as with a quote that is never closed), only its first line is rejected, and reading continues with the next
    line. With "none" each line is a record, and quotes are part of the fields.
    """
    return _iter_records(_open_lines(file, max_record_bytes, chunk_bytes), delimiter, quoting)


def _open_lines(file: BinaryIO, max_record_bytes: int, chunk_bytes: int) -> _CsvLines:
    # The limit of the module holds for the whole process, so it is only increased; _CsvLines enforces the real limit.
    csv.field_size_limit(max(csv.field_size_limit(), max_record_bytes + 1))
    return _CsvLines(
        iter_line_batches(file, max_line_bytes=max_record_bytes, chunk_bytes=chunk_bytes), max_record_bytes
    )


def infer_quoting(sample: bytes, delimiter: str) -> Quoting:
    """Infer from the first bytes of a file whether its writer quotes fields.

    The result is the reading that fits more lines; "minimal" if both fit as many. A line fits if it belongs to a record
    with as many fields as the header. A quote inside of a field without quotes around it decides between readings that fit
    equally: a writer that quotes fields quotes such a field.
    """
    sample = sample[: sample.rfind(b"\n") + 1]
    if b'"' not in sample:
        return "minimal"
    quoted_lines, has_inner_quotes = _lines_that_fit(sample, delimiter, "minimal")
    plain_lines, _ = _lines_that_fit(sample, delimiter, "none")
    return "none" if plain_lines > quoted_lines or (plain_lines == quoted_lines and has_inner_quotes) else "minimal"


def _lines_that_fit(sample: bytes, delimiter: str, quoting: Quoting) -> tuple[int, bool]:
    """Return how many lines fit a reading, and whether a field without quotes around it has a quote."""
    csv.field_size_limit(max(csv.field_size_limit(), len(sample) + 1))
    lines = _CsvLines(iter_line_batches(io.BytesIO(sample), max_line_bytes=len(sample)), len(sample))
    columns, count, has_inner_quotes = 0, 0, False
    for record in _iter_records(lines, delimiter, quoting):
        line, *more = [text or "" for text in lines.record]
        if isinstance(record, CsvReject):
            if record.detail == "unexpected end of data":
                whole = sum(other.count(delimiter) == columns - 1 for other in more)
                if columns == 1 or 2 * whole <= len(more):  # the quote is open as the sample ends inside of the record
                    return count + len(lines.record), has_inner_quotes
            continue
        columns = columns or len(record)
        if len(record) != columns:
            continue
        count += len(lines.record)
        fields = line.split(delimiter)
        if not more and len(fields) == columns:
            has_inner_quotes |= any('"' in field[1:] and field[0] != '"' for field in fields)
    return count, has_inner_quotes


def _iter_records(lines: _CsvLines, delimiter: str, quoting: Quoting) -> Iterator[list[str] | CsvReject]:
    if quoting == "none":
        reader = csv.reader(lines, delimiter=delimiter, quoting=csv.QUOTE_NONE, strict=True)
    else:
        reader = csv.reader(lines, delimiter=delimiter, strict=True)
    while True:
        lines.begin_record()
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            too_long = lines.record[0] is None
            lines.reread_after_first()
            yield CsvReject("line_too_long" if too_long else "malformed_csv", str(error))
            continue
        if lines.not_utf8:
            try:
                "".join(fields).encode()
            except UnicodeEncodeError:
                yield CsvReject("invalid_utf8", "the record holds bytes that are not UTF-8")
                continue
        yield fields


class _CsvLines:
    """Passes decoded lines to csv.reader and keeps the lines of the current record, so that they can be read again.

    A line that is too long is None. Bytes that are not UTF-8 become lone surrogates. `not_utf8` is set after the first such
    byte.
    """

    def __init__(self, batches: Iterator[LineBatch], max_record_chars: int) -> None:
        self._batches, self._max_record_chars = batches, max_record_chars
        self._waiting: deque[str | None] = deque()
        self.record: list[str | None] = []
        self.not_utf8 = False
        self._record_chars = 0
        self._decoded_chars = self._taken_chars = 0

    def share_taken(self) -> float:
        """Return the share of the characters read so far that were passed on."""
        return self._taken_chars / max(self._decoded_chars, 1)

    def begin_record(self) -> None:
        self.record, self._record_chars = [], 0

    def reread_after_first(self) -> None:
        self._taken_chars -= sum(len(line or "") for line in self.record[1:])
        self._waiting.extendleft(reversed(self.record[1:]))

    def __iter__(self) -> _CsvLines:
        return self

    def __next__(self) -> str:
        while not self._waiting:
            self._waiting.extend(self._decode(next(self._batches)))
        line = self._waiting.popleft()
        self.record.append(line)
        self._taken_chars += len(line or "")
        if line is None:
            raise csv.Error(f"a line has more than {self._max_record_chars} bytes")
        self._record_chars += len(line)
        if self._record_chars > self._max_record_chars:
            raise csv.Error(f"the record has more than {self._max_record_chars} characters; is a quote left open?")
        if "\0" in line:
            raise csv.Error("line contains NUL")  # as Python 3.10 does; later versions accept it
        return line

    def _decode(self, batch: LineBatch) -> list[str | None]:
        data = batch.data
        try:
            text = data.decode()
        except UnicodeDecodeError:
            text, self.not_utf8 = data.decode(errors="surrogateescape"), True
        lines: list[str | None] = list(io.StringIO(text, newline="\n"))  # splits at \n only, and keeps it
        for index in np.flatnonzero(batch.truncated):
            lines[index] = None
        self._decoded_chars += sum(len(line or "") for line in lines)
        return lines

"""Read a CSV or TSV shard as rows: lines into records, records into texts and ids."""

import csv
import io
from collections import deque
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

import numpy as np
import pyarrow as pa

from transforms.blocks import RejectReason, UnitError
from transforms.readers.columns import find_column
from transforms.readers.lines import CHUNK_BYTES, LineBatch, iter_line_batches
from transforms.readers.rows import BATCH_TEXT_BYTES, RowBuilder

CSV_BATCH_ROWS = 4096


def read_csv_rows(
    file: BinaryIO, delimiter: str, builder: RowBuilder, *, chunk_bytes: int = CHUNK_BYTES
) -> Iterator[pa.RecordBatch]:
    """Read a CSV file into batches of ROW_SCHEMA; a row's position is its number, 0 for the one after the header.

    Raises UnitError where the header cannot be read or lacks a column.
    """
    options = builder.options
    records = iter_csv_records(file, delimiter, max_record_bytes=options.max_record_bytes, chunk_bytes=chunk_bytes)
    columns = next(records, None)
    if columns is None:
        return
    if isinstance(columns, CsvReject):
        raise UnitError(f"the header cannot be read: {columns.reason}: {columns.detail}", "corrupt_header")
    text_column = find_column(columns, options.text_field)
    id_column = None if options.id_field is None else find_column(columns, options.id_field)

    rows, held_chars, first = [], 0, 0
    for record in records:
        row_id = text = reason = detail = None
        if isinstance(record, CsvReject):
            reason, detail = record
        elif len(record) == len(columns):
            text = record[text_column]
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
    """Say why a record of a CSV file gives no fields."""

    reason: RejectReason
    detail: str


def iter_csv_records(
    file: BinaryIO, delimiter: str, *, max_record_bytes: int, chunk_bytes: int = CHUNK_BYTES
) -> Iterator[list[str] | CsvReject]:
    """Read the records of a CSV file, its header first, and go on after bad ones.

    Quotes are read strictly. Where they do not fit, or the record grows beyond `max_record_bytes` characters (as when
    a quote is never closed), its first line alone is rejected, and reading goes on with the line after that.
    """
    # The module's limit holds for the whole process, so it is only ever raised; _CsvLines keeps the real one.
    csv.field_size_limit(max(csv.field_size_limit(), max_record_bytes + 1))
    batches = iter_line_batches(file, max_line_bytes=max_record_bytes, chunk_bytes=chunk_bytes)
    lines = _CsvLines(batches, max_record_bytes)
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
    """Feed decoded lines to csv.reader and keep those of the current record, so that they can be read again.

    A line that was too long stands as None. Bytes that are not UTF-8 come as lone surrogates; `not_utf8` says that
    some have come, here or earlier.
    """

    def __init__(self, batches: Iterator[LineBatch], max_record_chars: int):
        self._batches, self._max_record_chars = batches, max_record_chars
        self._waiting: deque[str | None] = deque()
        self.record: list[str | None] = []
        self.not_utf8 = False
        self._record_chars = 0

    def begin_record(self):
        self.record, self._record_chars = [], 0

    def reread_after_first(self):
        self._waiting.extendleft(reversed(self.record[1:]))

    def __iter__(self):
        return self

    def __next__(self) -> str:
        while not self._waiting:
            self._waiting.extend(self._decode(next(self._batches)))
        line = self._waiting.popleft()
        self.record.append(line)
        if line is None:
            raise csv.Error(f"a line has more than {self._max_record_chars} bytes")
        self._record_chars += len(line)
        if self._record_chars > self._max_record_chars:
            raise csv.Error(f"the record has more than {self._max_record_chars} characters; is a quote left open?")
        if "\0" in line:
            raise csv.Error("line contains NUL")  # Python 3.10 raises this by itself, later versions do not
        return line

    def _decode(self, batch: LineBatch) -> list[str | None]:
        data = batch.data
        try:
            text = data.decode()
        except UnicodeDecodeError:
            text, self.not_utf8 = data.decode(errors="surrogateescape"), True
        lines: list[str | None] = list(io.StringIO(text, newline="\n"))  # splits at \n alone and keeps it
        for index in np.flatnonzero(batch.truncated):
            lines[index] = None
        return lines

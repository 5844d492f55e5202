"""Write and read the store's Parquet files: fixed row groups, so that the same rows give the same bytes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

ROW_GROUP_ROWS = 16384
# Columns, by their path in Parquet, whose values repeat. A dictionary of ids or scores would be as long as the column.
_DICTIONARY = ("label", "labels.list.element", "path", "reason")
_DELTA = {"id": "DELTA_BYTE_ARRAY", "position": "DELTA_BINARY_PACKED", "n_tokens": "DELTA_BINARY_PACKED"}
# Readers skip row groups by the least and greatest value of these. Those of labels and scores exclude nothing, and cost time.
_STATISTICS = ("id", "position")
_UNCOMPRESSED = ("code", "position")  # codes are random bits


class DamagedFileError(ValueError):
    """A file was read and is not the Parquet file that was written. It must be recreated; an OSError may be temporary."""


class TableWriter:
    """Write tables of one schema as one Parquet file in memory.

    Rows are regrouped to row groups of `ROW_GROUP_ROWS`, so the bytes do not depend on the sizes of the tables.
    """

    def __init__(self, schema: pa.Schema) -> None:
        self.rows = 0
        self._schema = schema
        self._pending: list[pa.Table] = []
        self._pending_rows = 0
        self._sink = pa.BufferOutputStream()
        columns = schema.names
        self._writer = pq.ParquetWriter(
            self._sink,
            schema,
            compression={name: "NONE" if name in _UNCOMPRESSED else "ZSTD" for name in columns},
            use_dictionary=[name for name in _DICTIONARY if name.partition(".")[0] in columns],
            column_encoding={name: encoding for name, encoding in _DELTA.items() if name in columns},
            write_statistics=[name for name in _STATISTICS if name in columns],
            store_schema=True,
        )

    def append(self, table: pa.Table) -> None:
        """Add rows of the schema of this file."""
        self.rows += table.num_rows
        self._pending.append(table)
        self._pending_rows += table.num_rows
        while self._pending_rows >= ROW_GROUP_ROWS:
            self._write(ROW_GROUP_ROWS)

    def finish(self, metadata: dict[str, str] | None = None) -> pa.Buffer:
        """Return the content of the file; `metadata` goes into its footer."""
        if self._pending_rows:
            self._write(self._pending_rows)
        if metadata:
            self._writer.add_key_value_metadata(metadata)
        self._writer.close()
        return self._sink.getvalue()

    def _write(self, rows: int) -> None:
        pending = self._pending[0] if len(self._pending) == 1 else pa.concat_tables(self._pending)
        group = pending.slice(0, rows).combine_chunks()
        self._writer.write_table(group, row_group_size=rows)
        rest = pending.slice(rows)
        self._pending, self._pending_rows = ([rest], rest.num_rows) if rest.num_rows else ([], 0)


def write_table(table: pa.Table) -> pa.Buffer:
    """Return a table as a Parquet file."""
    writer = TableWriter(table.schema)
    writer.append(table)
    return writer.finish()


class StoredTable:
    """A Parquet file of a store, opened.

    Attributes:
        schema: its Arrow schema, with the metadata of `transforms.layout.with_metadata`.
        rows: its number of rows.
        footer: the metadata given to `TableWriter.finish`.
    """

    def __init__(self, content: bytes | pa.Buffer | BinaryIO) -> None:
        """Open the content of a file, or an open file, of which only the requested parts are read.

        Raises:
            DamagedFileError: it is not a Parquet file.
        """
        with _damage():
            # Not `pq.read_table`: its threads may still hold the bytes when the interpreter ends, which aborts.
            source = pa.BufferReader(content) if isinstance(content, (bytes, pa.Buffer)) else content
            self._file = pq.ParquetFile(source)
        self.schema: pa.Schema = self._file.schema_arrow
        self.rows: int = self._file.metadata.num_rows
        self.footer = {
            key.decode(): value.decode()
            for key, value in (self._file.metadata.metadata or {}).items()
            if key != b"ARROW:schema"
        }

    def read(self) -> pa.Table:
        """Read all rows."""
        with _damage():
            return self._file.read(use_threads=False)

    def row_groups(self, columns: Sequence[str], rows: int = ROW_GROUP_ROWS) -> Iterator[pa.Table]:
        """Read columns in order, at most `rows` rows at a time. A file without rows gives one empty table."""
        groups = self._file.metadata.num_row_groups
        if not groups:
            yield self.schema.empty_table().select(columns)
        for index in range(groups):
            with _damage():
                group = self._file.read_row_group(index, columns=columns, use_threads=False)
            for start in range(0, group.num_rows, rows):
                yield group.slice(start, rows)


@contextlib.contextmanager
def _damage() -> Iterator[None]:
    """Convert the errors that pyarrow raises about the content of a file to DamagedFileError."""
    try:
        yield
    except (OSError, ValueError) as error:  # pyarrow's errors are among these
        raise DamagedFileError(f"{type(error).__name__}: {error}") from None

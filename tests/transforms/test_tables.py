from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from transforms.layout import codes_schema, labels_schema
from transforms.tables import ROW_GROUP_ROWS, DamagedFileError, StoredTable, TableWriter, write_table


def codes(rows: int) -> pa.Table:
    rng = np.random.default_rng(0)
    columns = [
        [f"a.txt@{i * 7}" for i in range(rows)],
        np.arange(rows) * 7,
        [rng.bytes(8) for _ in range(rows)],
        rng.integers(1, 99, rows),
        rng.integers(1, 999, rows),
        rng.integers(0, 2, rows).astype(bool),
    ]
    schema = codes_schema(64)
    return pa.table([pa.array(c, f.type) for c, f in zip(columns, schema)], schema=schema)


def written(table: pa.Table, step: int) -> bytes:
    writer = TableWriter(table.schema)
    for start in range(0, table.num_rows, step):
        writer.append(table.slice(start, step))
    assert writer.rows == table.num_rows
    return writer.finish({"hash": "ab"}).to_pybytes()


@pytest.mark.parametrize("step", [1000, 4096, 5000, ROW_GROUP_ROWS])
def test_the_bytes_do_not_depend_on_how_the_rows_come(step):
    table = codes(2 * ROW_GROUP_ROWS + 5)
    assert written(table, step) == written(table, table.num_rows)


@pytest.mark.parametrize("rows", [0, 1, ROW_GROUP_ROWS, ROW_GROUP_ROWS + 1])
def test_a_file_is_read_back_in_row_groups(rows):
    table = codes(rows)
    stored = StoredTable(written(table, 4096))
    assert stored.rows == rows
    assert stored.read().equals(table)
    assert stored.footer["hash"] == "ab"
    groups = list(stored.row_groups(["id", "code"], 10_000))
    assert pa.concat_tables(groups).equals(table.select(["id", "code"]))
    assert max(group.num_rows for group in groups) <= 10_000


def test_labels_of_many_tables_share_a_dictionary():
    schema = labels_schema("single")

    def part(labels: list[int | None]) -> pa.Table:
        n = len(labels)
        label = pa.DictionaryArray.from_arrays(pa.array(labels, pa.int32()), pa.array(["x", "y"]))
        columns = [["i"] * n, range(n), label, [0.5] * n, [None] * n]
        return pa.table([pa.array(c, f.type) for c, f in zip(columns, schema)], schema=schema)

    parts = [part([0, 1, None]), part([1] * 5)]
    one, other = TableWriter(schema), TableWriter(schema)
    for table in parts:
        one.append(table)
    other.append(pa.concat_tables(parts).combine_chunks())
    content = one.finish()
    assert content.equals(other.finish())
    assert StoredTable(content).read()["label"].to_pylist() == ["x", "y", None, *"yyyyy"]


def test_ids_are_stored_as_differences():
    content = write_table(codes(ROW_GROUP_ROWS))
    column = StoredTable(content)._file.metadata.row_group(0).column(0)
    assert "DELTA_BYTE_ARRAY" in column.encodings
    assert column.total_compressed_size < 4 * ROW_GROUP_ROWS


@pytest.mark.parametrize("content", [b"", b"PAR1 half", b"PAR1" + b"\xff" * 60 + b"\x30\x00\x00\x00PAR1"])
def test_what_is_no_parquet_file_is_damage(content):
    with pytest.raises(DamagedFileError):
        StoredTable(content)


def test_damage_inside_a_file_is_met_when_its_rows_are_read():
    content = bytearray(write_table(codes(5000)).to_pybytes())
    content[100:400] = bytes(300)
    stored = StoredTable(bytes(content))
    with pytest.raises(DamagedFileError):
        stored.read()

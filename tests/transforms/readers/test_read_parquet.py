"""Claims about splitting Parquet shards into row groups, and reading them."""

import decimal
import io
import random
import uuid

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.transforms.shards import ENCODE, ROWS, TEXTS, as_parquet, column, read, rejects
from transforms.blocks import BlockLimits, UnitError
from transforms.options import ReadOptions
from transforms.readers.formats import detect
from transforms.readers.read_parquet import open_parquet, parquet_ranges
from transforms.readers.records import read_blocks


def parquet_file(rows, row_group_size=10):
    file = io.BytesIO()
    texts = [random.Random(row).randbytes(50).hex() for row in range(rows)]
    pq.write_table(pa.table({"text": pa.array(texts, pa.string())}), file, row_group_size=row_group_size)
    return file


@pytest.mark.parametrize("unit_bytes", [1, 2000, 3000, 10_000, 10**9])
def test_parquet_ranges_cover_the_row_groups_once(unit_bytes):
    file = parquet_file(rows=95)
    ranges = parquet_ranges(file, unit_bytes)
    groups = open_parquet(file).num_row_groups
    assert [group for first, stop, _ in ranges for group in range(first, stop)] == list(range(groups))
    assert all(size >= unit_bytes for *_, size in ranges[:-1])
    assert len(ranges) == 1 or ranges[-1][2] >= unit_bytes / 2
    assert sum(size for *_, size in ranges) == parquet_ranges(file, 10**9)[0][2]


def test_parquet_without_rows_is_one_unit():
    assert len(parquet_ranges(parquet_file(rows=0), 100)) == 1


def test_row_group_ranges_of_nothing_are_refused():
    with pytest.raises(ValueError, match="unit_bytes is 0 but must be 1 or more"):
        parquet_ranges(io.BytesIO(), 0)


@pytest.mark.parametrize("data", [b"", b"PAR1", b"no parquet at all", parquet_file(50).getvalue()[:-20]])
def test_corrupt_parquet_footer_raises(data):
    with pytest.raises(UnitError, match="footer") as raised:
        parquet_ranges(io.BytesIO(data), 100)
    assert raised.value.reason == "corrupt_parquet"


@pytest.mark.parametrize("unit_bytes", [1, 3000, 10**6])
def test_row_group_ranges_give_the_whole_shard_once_in_order(unit_bytes):
    data = ENCODE[".parquet"](ROWS)
    ranges = parquet_ranges(io.BytesIO(data), unit_bytes)
    blocks = [
        block
        for first, stop, _ in ranges
        for block in read(data, "a.parquet", (first, stop), limits=BlockLimits(rows=50))[:]
    ]
    assert column(blocks, "text") == TEXTS
    assert column(blocks, "id") == [f"a.parquet#{row}" for row in range(len(TEXTS))]
    assert sum(block.source_bytes for block in blocks) == sum(size for *_, size in ranges)


STRINGS = pa.array(["a", None, " ", "ü"])


@pytest.mark.parametrize(
    "texts",
    [
        STRINGS,
        STRINGS.cast(pa.large_string()),
        STRINGS.cast(pa.string_view()),
        STRINGS.dictionary_encode(),
        STRINGS.cast(pa.binary()),
        STRINGS.cast(pa.large_binary()),
    ],
    ids=lambda texts: str(texts.type).split("<")[0],
)
def test_parquet_text_may_be_of_any_string_type(texts):
    blocks = read(as_parquet(pa.table({"text": texts})), "a.parquet")
    assert column(blocks, "text") == ["a", "ü"]
    assert rejects(blocks) == [(1, "a.parquet#1", "missing_text"), (2, "a.parquet#2", "blank_text")]


@pytest.mark.parametrize("type_", [pa.binary(), pa.string()])
def test_parquet_bytes_that_are_not_utf8_are_rejected(type_):
    texts = pa.array([b"a", b"\xff", None], pa.binary()).view(type_)
    blocks = read(as_parquet(pa.table({"text": texts})), "a.parquet")
    assert rejects(blocks) == [(1, "a.parquet#1", "invalid_utf8"), (2, "a.parquet#2", "missing_text")]


@pytest.mark.parametrize("texts", [[1, 2], [[1], [2]], [1.5, None], [{"a": 1}, {"a": 2}]])
def test_parquet_text_of_another_type_is_rejected_row_by_row(texts):
    blocks = read(as_parquet(pa.table({"text": texts, "x": [1, 2]})), "a.parquet")
    assert rejects(blocks) == [(row, f"a.parquet#{row}", "not_a_string") for row in (0, 1)]


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        (["a", None], ["a", None]),
        ([7, None], ["7", None]),
        ([7.0, 7.5], ["7", None]),
        ([True, False], [None, None]),
        ([b"a", b"\xff"], ["a", None]),
    ],
)
def test_parquet_ids(ids, expected):
    table = pa.table({"text": ["x", "y"], "id": ids})
    blocks = read(as_parquet(table), "a.parquet", options=ReadOptions(id_field="id"))
    assert column(blocks, "id") == [row_id for row_id in expected if row_id]
    assert rejects(blocks) == [(row, None, "missing_id") for row, row_id in enumerate(expected) if not row_id]


UUIDS = [uuid.UUID(int=7), uuid.UUID("12345678-9abc-def0-1234-56789abcdef0")]


@pytest.mark.parametrize(
    ("type_", "ids", "expected"),
    [
        (pa.decimal128(38, 0), [7, None], ["7", None]),
        (pa.decimal128(38, 0), [10**37, -3], [str(10**37), "-3"]),
        (pa.decimal256(60, 0), [10**50, 0], [str(10**50), "0"]),
        (pa.decimal128(20, 2), [decimal.Decimal("7.00"), decimal.Decimal("7.50")], ["7", None]),
        (pa.float64(), [2.0**53, 2.0**60], [str(2**53), None]),
        (pa.uint64(), [2**64 - 1, None], [str(2**64 - 1), None]),
        (pa.uuid(), [value.bytes for value in UUIDS], [str(value) for value in UUIDS]),
        (pa.uuid(), [UUIDS[0].bytes, None], [str(UUIDS[0]), None]),
        (pa.dictionary(pa.int8(), pa.int64()), [5, None], ["5", None]),
        (pa.dictionary(pa.int8(), pa.string()), ["a", None], ["a", None]),
    ],
)
def test_parquet_ids_of_other_databases(type_, ids, expected):
    table = pa.table({"text": ["x", "y"], "id": pa.array(ids, type_)})
    blocks = read(as_parquet(table), "a.parquet", options=ReadOptions(id_field="id"))
    assert column(blocks, "id") == [row_id for row_id in expected if row_id]
    assert rejects(blocks) == [(row, None, "missing_id") for row, row_id in enumerate(expected) if not row_id]


def test_files_of_duckdb_are_read(tmp_path):
    duckdb = pytest.importorskip("duckdb")
    path = tmp_path / "a.parquet"
    duckdb.sql(
        "copy (select 10 + i::decimal(38, 0) as decimal_id, i::hugeint as hugeint_id, "
        "('00000000-0000-0000-0000-00000000000' || i)::uuid as uuid_id, "
        f"json_object('t', 'text ' || i)->'$.t' as text from range(2) t(i)) to '{path}'"
    )
    data = path.read_bytes()
    expected = {
        "decimal_id": ["10", "11"],
        "hugeint_id": ["0", "1"],
        "uuid_id": ["00000000-0000-0000-0000-000000000000", "00000000-0000-0000-0000-000000000001"],
    }
    for id_field, ids in expected.items():
        blocks = read(data, "a.parquet", options=ReadOptions(id_field=id_field))
        assert column(blocks, "id") == ids
        assert column(blocks, "text") == ['"text 0"', '"text 1"']


@pytest.mark.parametrize("storage", [pa.string(), pa.large_string(), pa.string_view()])
def test_text_of_parquets_json_type_is_its_string(storage):
    texts = pa.ExtensionArray.from_storage(pa.json_(storage), pa.array(['{"a": 1}', None], storage))
    blocks = read(as_parquet(pa.table({"text": texts})), "a.parquet")
    assert column(blocks, "text") == ['{"a": 1}']
    assert rejects(blocks) == [(1, "a.parquet#1", "missing_text")]


def nested_table(**columns):
    data = pa.array([{"text": "a", "id": 1, "noise": "x"}, None, {"text": None, "id": 3, "noise": "x"}])
    return pa.table({"data": data, "other": [1, 2, 3], **columns})


def test_fields_of_struct_columns_are_read():
    options = ReadOptions(text_field="data.text", id_field="other")
    blocks = read(as_parquet(nested_table()), "a.parquet", options=options)
    assert column(blocks, "text") == ["a"]
    assert rejects(blocks) == [(1, "2", "missing_text"), (2, "3", "missing_text")]
    blocks = read(
        as_parquet(nested_table()), "a.parquet", options=ReadOptions(text_field="data.text", id_field="data.id")
    )
    assert rejects(blocks) == [(1, None, "missing_id"), (2, "3", "missing_text")]


def test_a_column_whose_name_has_the_dots_takes_precedence():
    table = nested_table(**{"data.text": ["literal", "b", "c"]})
    assert column(read(as_parquet(table), "a.parquet", options=ReadOptions(text_field="data.text")), "text") == [
        "literal",
        "b",
        "c",
    ]


@pytest.mark.parametrize("name", ["data.body", "other.text", "data.text.more", "nothing.text"])
def test_a_field_that_no_struct_has_is_a_missing_column(name):
    with pytest.raises(UnitError, match=f"no column '{name}'; its columns are data, other") as raised:
        read(as_parquet(nested_table()), "a.parquet", options=ReadOptions(text_field=name))
    assert raised.value.reason == "missing_column"


def test_several_text_columns_are_joined_without_those_that_are_null_or_empty():
    table = pa.table(
        {"title": ["A", None, "A", None, ""], "body": pa.array(["b", "b", "", None, None], pa.large_string())}
    )
    blocks = read(as_parquet(table), "a.parquet", options=ReadOptions(text_field=("title", "body")))
    assert column(blocks, "text") == ["A\nb", "b", "A"]
    assert [reason for *_, reason in rejects(blocks)] == ["missing_text", "blank_text"]


def test_a_joined_column_of_another_type_rejects_its_rows():
    table = pa.table({"title": ["A", "B"], "body": [1, 2]})
    blocks = read(as_parquet(table), "a.parquet", options=ReadOptions(text_field=("title", "body")))
    assert [reason for *_, reason in rejects(blocks)] == ["not_a_string", "not_a_string"]
    assert blocks[0].rejects["detail"][0].as_py() == "column 'body' is of type int64"


def test_parquet_reads_no_column_it_does_not_need():
    noise = [random.Random(row).randbytes(1000) for row in range(2000)]
    data = as_parquet(pa.table({"noise": noise, "text": ["short"] * 2000}), compression="none")
    read_bytes = 0

    class Counting(io.BytesIO):
        def read(self, size=-1):
            nonlocal read_bytes
            result = super().read(size)
            read_bytes += len(result)
            return result

    options, limits = ReadOptions(), BlockLimits()
    blocks = list(read_blocks(lambda: Counting(data), "a", "a", detect("a.parquet"), (0, 1), options, limits))
    assert blocks[0].table.num_rows == 2000
    assert read_bytes < len(data) / 10


def test_parquet_without_rows_is_one_empty_block():
    data = as_parquet(pa.table({"text": pa.array([], pa.string())}))
    (first, stop, _) = parquet_ranges(io.BytesIO(data), 100)[0]
    assert [block.rows_read for block in read(data, "a.parquet", (first, stop))] == [0]


@pytest.mark.parametrize("damage", ["truncated", "overwritten"])
def test_corrupt_parquet_fails_its_unit(damage):
    data = as_parquet(ROWS, compression="zstd")
    data = data[:-50] if damage == "truncated" else data[:4] + b"\xff" * 2000 + data[2004:]
    with pytest.raises(UnitError, match=r"/data/a\.parquet") as raised:
        read(data, "a.parquet", (0, 1))
    assert raised.value.reason == "corrupt_parquet"


def test_parquet_inside_a_compressed_file_fails_its_unit():
    with pytest.raises(UnitError, match=r"Parquet inside gzip cannot be read; decompress the file"):
        read(b"", "a.parquet.gz", (0, 1))

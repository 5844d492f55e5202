"""Claims about reading Arrow IPC files and streams."""

import io
import random

import pyarrow as pa
import pytest

from tests.transforms.shards import ROWS, TEXTS, column, read, rejects
from transforms.blocks import BlockLimits, UnitError
from transforms.options import ReadOptions
from transforms.readers.formats import detect
from transforms.readers.read_arrow import arrow_ranges
from transforms.readers.records import read_blocks

TABLE = pa.Table.from_pylist(ROWS)


def as_arrow(table, rows=70, stream=False, **options):
    sink = io.BytesIO()
    writer = pa.ipc.new_stream if stream else pa.ipc.new_file
    with writer(sink, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as file:
        file.write_table(table, max_chunksize=rows)
    return sink.getvalue()


@pytest.mark.parametrize("name", ["a.arrow", "a.feather"])
@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("compression", [None, "lz4", "zstd"])
def test_files_and_streams_give_the_same_rows(name, stream, compression):
    data = as_arrow(TABLE, stream=stream, compression=compression)
    ((first, stop, size),) = arrow_ranges(io.BytesIO(data), 1 << 30)
    assert size == len(data)
    blocks = read(data, name, (first, stop), limits=BlockLimits(rows=50))
    assert column(blocks, "text") == TEXTS
    assert column(blocks, "position") == list(range(len(TEXTS)))
    assert column(blocks, "id") == [f"{name}#{row}" for row in range(len(TEXTS))]
    assert sum(block.source_bytes for block in blocks) == len(data)


@pytest.mark.parametrize("unit_bytes", [1, 5000, 9000])
def test_ranges_of_record_batches_give_the_whole_file_once_in_order(unit_bytes):
    data = as_arrow(TABLE, rows=31)
    ranges = arrow_ranges(io.BytesIO(data), unit_bytes)
    units = [read(data, "a.arrow", (first, stop), ReadOptions(id_field="id")) for first, stop, _ in ranges]
    assert len(ranges) > 1
    assert sum(size for *_, size in ranges) == len(data)
    assert [sum(block.source_bytes for block in blocks) for blocks in units] == [size for *_, size in ranges]
    for name, expected in (("text", TEXTS), ("position", list(range(len(TEXTS))))):
        assert [value for blocks in units for value in column(blocks, name)] == expected


def test_stream_is_one_unit_however_small_units_are():
    assert len(arrow_ranges(io.BytesIO(as_arrow(TABLE, stream=True)), 1)) == 1


@pytest.mark.parametrize("stream", [True, False])
def test_arrow_without_rows_is_one_empty_block(stream):
    data = as_arrow(TABLE.slice(0, 0), stream=stream)
    ((first, stop, _),) = arrow_ranges(io.BytesIO(data), 100)
    assert [block.rows_read for block in read(data, "a.arrow", (first, stop))] == [0]


def test_large_record_batches_are_read_in_parts():
    table = pa.table({"text": ["x" * 1000] * 20_000})
    blocks = read(as_arrow(table, rows=20_000), "a.arrow", (0, 1), limits=BlockLimits(rows=4096, text_bytes=1 << 30))
    assert [block.rows_read for block in blocks] == [4096] * 4 + [20_000 - 4 * 4096]


@pytest.mark.parametrize("stream", [True, False])
def test_bad_rows_are_rejected_where_they_are(stream):
    table = pa.table({"text": ["a", None, " ", "b"], "id": pa.array([1, 2, 3, None], pa.uint8())})
    blocks = read(as_arrow(table, rows=2, stream=stream), "a.arrow", (0, 2), ReadOptions(id_field="id"))
    assert (column(blocks, "text"), column(blocks, "id")) == (["a"], ["1"])
    assert rejects(blocks) == [(1, "2", "missing_text"), (2, "3", "blank_text"), (3, None, "missing_id")]


def test_dictionaries_and_nested_fields_are_read():
    texts = pa.array(["a", "b", "a"]).dictionary_encode()
    table = pa.table({"data": pa.StructArray.from_arrays([texts, pa.array([1, 2, 3])], ["text", "id"])})
    options = ReadOptions(text_field="data.text", id_field="data.id")
    blocks = read(as_arrow(table, rows=2), "a.arrow", (0, 2), options)
    assert (column(blocks, "text"), column(blocks, "id")) == (["a", "b", "a"], ["1", "2", "3"])


def test_columns_that_are_not_needed_are_not_read():
    noise = [random.Random(row).randbytes(1000) for row in range(2000)]
    data = as_arrow(pa.table({"noise": noise, "text": ["short"] * 2000}))
    read_bytes = 0

    class Counting(io.BytesIO):
        def read(self, size=-1):
            nonlocal read_bytes
            result = super().read(size)
            read_bytes += len(result)
            return result

    options, limits = ReadOptions(), BlockLimits()
    blocks = list(read_blocks(lambda: Counting(data), "a", "a", detect("a.arrow"), (20, 29), options, limits))
    assert sum(block.table.num_rows for block in blocks) == 2000 - 20 * 70
    assert read_bytes < len(data) / 10


@pytest.mark.parametrize("stream", [True, False])
def test_missing_column_names_those_there_are(stream):
    with pytest.raises(UnitError, match="no column 'body'; its columns are id, text"):
        read(as_arrow(TABLE, stream=stream), "a.arrow", (0, 1), ReadOptions(text_field="body"))


@pytest.mark.parametrize("size", [100, 1000, 3000])
def test_truncated_stream_fails_its_unit(size):
    with pytest.raises(UnitError, match=r"/data/a\.arrow: the Arrow data is damaged or ends early") as raised:
        read(as_arrow(TABLE, stream=True)[:size], "a.arrow", (0, 1))
    assert raised.value.reason == "corrupt_arrow"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the Arrow footer cannot be read: the file is empty"),
        (b"FEA1" + bytes(50), "Feather version 1, which is not supported"),
        (b"plain text\n" * 9, "the Arrow footer cannot be read"),
        (b"ARROW1\0\0" + b"\xff" * 90 + b"ARROW1", "the Arrow data is damaged"),
    ],
)
def test_what_is_no_arrow_file_fails_its_unit(data, message):
    for call in (lambda: read(data, "a.arrow", (0, 1)), lambda: arrow_ranges(io.BytesIO(data), 100)):
        with pytest.raises(UnitError, match=message):
            call()


def test_file_with_fewer_record_batches_than_planned_fails_its_unit():
    with pytest.raises(UnitError, match="has 5 record batches, but its unit ends at 9; plan it again") as raised:
        read(as_arrow(TABLE), "a.arrow", (0, 9))
    assert raised.value.reason == "changed_shard"


def test_arrow_inside_a_compressed_file_fails_its_unit():
    with pytest.raises(UnitError, match="Arrow inside gzip cannot be read; decompress the file"):
        read(b"", "a.arrow.gz", (0, 1))

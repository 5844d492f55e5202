"""Claims about inspecting the first bytes: what is not text is never read as text."""

import gzip
import io
import json
import random

import pyarrow as pa
import pytest

from tests.transforms.shards import ROWS, as_jsonl, as_parquet, column, read, rejects, zstd
from transforms.blocks import UnitError
from transforms.options import ReadOptions
from transforms.readers.formats import byte_ranges
from transforms.readers.sniff import SNIFF_BYTES, is_binary, json_rows, signature

JSONL = as_jsonl(ROWS)
LFS_POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a21\nsize 12345\n"
LZ4 = b"\x04\x22\x4d\x18\x64\x40\xa7" + random.Random(0).randbytes(500)
READABLE = "utf-8 text\n" * 20


@pytest.mark.parametrize("name", ["a.txt", "notes", "a.jsonl", "a.csv", "a.txt.gz", "a.parquet", "a.arrow"])
def test_git_lfs_pointer_fails_its_unit(name):
    data = gzip.compress(LFS_POINTER) if name.endswith(".gz") else LFS_POINTER
    with pytest.raises(UnitError, match="the file is a Git LFS pointer, not the data; run git lfs pull") as raised:
        read(data, name, (0, len(data)))
    assert raised.value.reason == "unexpected_content"


@pytest.mark.parametrize("name", ["a.txt", "notes", "a.jsonl", "a.tsv"])
@pytest.mark.parametrize(
    ("data", "what"),
    [
        (gzip.compress(JSONL), "gzip data.* ends in .gz"),
        (zstd(JSONL), "zstd data.* ends in .zst"),
        (as_parquet(ROWS), "Parquet data.* ends in .parquet"),
        (LZ4, "lz4 data"),
        (b"PK\x03\x04" + bytes(100), "ZIP data"),
        (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n" + bytes(50), "PDF data"),
        (b"a.txt" + bytes(252) + b"ustar" + bytes(300), "tar data"),
    ],
)
def test_other_format_under_the_name_of_a_text_fails_its_unit(name, data, what):
    with pytest.raises(UnitError, match=f"/data/{name}: the file is {what}") as raised:
        read(data, name)
    assert raised.value.reason == "unexpected_content"


def test_other_format_inside_of_a_compressed_file_fails_its_unit():
    with pytest.raises(UnitError, match="the file is Parquet data"):
        read(gzip.compress(as_parquet(ROWS)), "a.gz")


@pytest.mark.parametrize("name", ["a.txt", "notes", "a.log.gz"])
@pytest.mark.parametrize("data", [b"text\n" * 9 + b"\0" + b"text\n" * 9, bytes(100), "text\n".encode("utf-16-le")])
def test_nul_bytes_fail_the_unit_of_a_text(name, data):
    data = gzip.compress(data) if name.endswith(".gz") else data
    with pytest.raises(UnitError, match=r"the file is not text: it has NUL bytes; .* set --encoding") as raised:
        read(data, name)
    assert raised.value.reason == "unexpected_content"


def test_named_format_reads_nul_bytes_as_text():
    blocks = read(b"te\0xt\n", "a.txt", options=ReadOptions(format="text"))
    assert column(blocks, "text") == ["te\0xt"]


@pytest.mark.parametrize(
    "first", ["PAR1s are golf courses", "ORCA whales", "BZh is no word", "GIF87", "%PDF-", "PK", "Obj"]
)
def test_text_may_begin_with_the_first_letters_of_another_format(first):
    assert signature(first.encode()) is None
    assert column(read(f"{first}\nmore\n".encode(), "a.txt"), "text") == [first, "more"]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (random.Random(1).randbytes(900).replace(b"\0", b"\1"), True),
        (b"\x1b[31mred\x1b[0m\n" * 9, False),
        ("Köln\n".encode("latin-1") * 9, False),
        (READABLE.encode(), False),
        (b"", False),
        (("ü" * SNIFF_BYTES).encode()[1 : SNIFF_BYTES - 1], False),
    ],
)
def test_binary_content_is_recognised(data, expected):
    assert is_binary(data) == expected


@pytest.mark.parametrize("name", ["data.gz", "data", "part-0000.dat"])
def test_json_lines_under_a_name_without_a_format_are_read_as_json_lines(name):
    data = gzip.compress(JSONL) if name.endswith(".gz") else JSONL
    blocks = read(data, name, options=ReadOptions(id_field="id"))
    assert column(blocks, "text") == [row["text"] for row in ROWS]
    assert column(blocks, "id") == [row["id"] for row in ROWS]


def test_every_unit_of_a_shard_is_read_in_the_same_format():
    data = b'\xef\xbb\xbf{"text": "first"}\n' + JSONL
    units = [read(data, "data", unit) for unit in byte_ranges(len(data), 700)]
    assert len(units) > 5
    assert [text for blocks in units for text in column(blocks, "text")] == ["first", *(row["text"] for row in ROWS)]


def test_json_lines_in_a_text_file_fail_its_unit_unless_the_format_is_named():
    with pytest.raises(UnitError, match=r"has JSON lines, .* set --format jsonl to read the field, or --format text"):
        read(JSONL, "a.txt")
    assert column(read(JSONL, "a.txt", options=ReadOptions(format="text")), "text")[0] == json.dumps(ROWS[0])
    assert column(read(JSONL, "a.txt", options=ReadOptions(format="jsonl")), "text")[0] == ROWS[0]["text"]


def test_json_lines_without_the_text_field_name_the_fields_they_have():
    with pytest.raises(
        UnitError, match="JSON lines without the field 'body'; its fields are id, text; set --text_field"
    ):
        read(JSONL, "data", options=ReadOptions(text_field="body"))


@pytest.mark.parametrize("name", ["data", "a.json", "a.jsonl"])
@pytest.mark.parametrize("indent", [None, 2])
def test_a_json_array_of_rows_fails_all_its_units(name, indent):
    data = json.dumps(ROWS, indent=indent).encode()
    for unit in byte_ranges(len(data), 700):
        with pytest.raises(UnitError, match="the file is a JSON array, not JSON lines; convert it with jq"):
            read(data, name, unit)


@pytest.mark.parametrize("name", ["data", "a.json", "a.jsonl"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_an_object_over_several_lines_fails_all_its_units(name, mark):
    data = (mark + json.dumps({"rows": ROWS}, indent=2)).encode()
    for unit in byte_ranges(len(data), 700):
        with pytest.raises(
            UnitError, match="one object over several lines, not JSON lines; write each row on one line"
        ):
            read(data, name, unit)


def test_one_bad_json_line_is_a_reject_even_if_it_is_the_first():
    for first in (b'{"text": "cut off\n', b"{\n", b"[1, 2]\n", b'{"text":\n'):
        blocks = read(first + JSONL, "a.jsonl")
        assert [row[2] for row in rejects(blocks)] == ["malformed_json"]
        assert len(column(blocks, "text")) == len(ROWS)


def test_a_long_first_row_that_is_an_array_is_a_reject():
    blocks = read(json.dumps([1] * SNIFF_BYTES).encode() + b"\n" + JSONL, "a.jsonl")
    assert [row[2] for row in rejects(blocks)] == ["malformed_json"]


def test_long_first_line_that_may_be_json_fails_its_unit():
    with pytest.raises(UnitError, match="a long line that may be JSON; set --format"):
        read(json.dumps({"text": "x" * SNIFF_BYTES}).encode() + b"\n", "data")


@pytest.mark.parametrize(
    "text",
    ["{braces} and text", '{"text": "a"}\nnot json', "{\n  only: code\n}", '[1] a citation\n{"a": 1}', '{"a" is a set'],
)
def test_text_that_only_looks_like_json_is_text(text):
    assert json_rows(text.encode()) == []
    blocks = read(text.encode(), "notes")
    assert column(blocks, "text") == text.split("\n")
    assert rejects(blocks) == []


def test_sample_that_ends_inside_of_a_line_is_judged_by_its_whole_lines():
    data = as_jsonl([{"text": "x" * 3000}] * 40)
    assert len(json_rows(data[:SNIFF_BYTES])) == 20
    assert column(read(data, "data"), "text") == ["x" * 3000] * 40


@pytest.mark.parametrize("cut_bytes", [1, 20, 200])
def test_truncated_parquet_and_arrow_are_called_truncated(cut_bytes):
    table = pa.Table.from_pylist(ROWS)
    sink = io.BytesIO()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    for data, name in ((as_parquet(table), "a.parquet"), (sink.getvalue(), "a.arrow")):
        with pytest.raises(UnitError, match=r"the file is truncated at .* bytes: its .* footer is missing"):
            read(data[:-cut_bytes], name, (0, 1))

"""Claims about splitting CSV lines into records, and reading CSV shards."""

import csv
import io
import random
import tracemalloc

import pytest

from tests.transforms.shards import column, read, rejects
from transforms.blocks import UnitError
from transforms.options import ReadOptions
from transforms.readers.read_csv import CsvReject, infer_quoting, iter_csv_records


def records(data, delimiter=",", max_record_bytes=1000, chunk_bytes=1 << 20):
    found = iter_csv_records(io.BytesIO(data), delimiter, max_record_bytes=max_record_bytes, chunk_bytes=chunk_bytes)
    return [record.reason if isinstance(record, CsvReject) else record for record in found]


@pytest.mark.parametrize("seed", range(40))
def test_csv_records_are_those_of_the_csv_module(seed):
    rng = random.Random(seed)
    cells = ["", "a", "é", "with, comma", "with\nnewline", "with\r\nboth", 'with "quotes"', "\ttab", "漢字"]
    rows = [rng.choices(cells, k=3) for _ in range(rng.randint(1, 20))]
    sink = io.StringIO(newline="")
    delimiter = rng.choice(",\t")
    csv.writer(sink, delimiter=delimiter, lineterminator=rng.choice(["\n", "\r\n"])).writerows(rows)
    assert records(sink.getvalue().encode(), delimiter, chunk_bytes=rng.choice([1, 5, 1 << 20])) == rows


@pytest.mark.parametrize("chunk_bytes", [1, 3, 1 << 20])
@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b'a,b\n"x,1\ny,2\nz,3\n', [["a", "b"], "malformed_csv", ["y", "2"], ["z", "3"]]),
        (b'a,b\n"x"x,1\ny,2\n', [["a", "b"], "malformed_csv", ["y", "2"]]),
        (b'a,b\n"x,1\n"y",2\nz,3\n', [["a", "b"], "malformed_csv", ["y", "2"], ["z", "3"]]),
        (b"a,b\nx\ry,1\nz,3\n", [["a", "b"], "malformed_csv", ["z", "3"]]),
        (b"a,b\nx\0,1\nz,3\n", [["a", "b"], "malformed_csv", ["z", "3"]]),
        (b"a,b\nx\xff,1\nz,3\n\xc3\xa9,4\n", [["a", "b"], "invalid_utf8", ["z", "3"], ["é", "4"]]),
        (b"a,b\n\nz,3", [["a", "b"], [], ["z", "3"]]),
        (b"\xef\xbb\xbfa,b\n", [["a", "b"]]),
        (b"a,b\n" + b"x" * 50 + b",1\nz,3\n", [["a", "b"], "line_too_long", ["z", "3"]]),
        (
            b'a,b\n"x' + b"\nx,1" * 20 + b'",1\nz,3\n',
            [["a", "b"], "malformed_csv", *[["x", "1"]] * 19, ["x", '1"', "1"], ["z", "3"]],
        ),
        (b'a,b\n"x,1\n' + b"x" * 50 + b",1\nz,3\n", [["a", "b"], "malformed_csv", "line_too_long", ["z", "3"]]),
        (b"", []),
    ],
)
def test_bad_csv_costs_one_record(data, expected, chunk_bytes):
    assert records(data, max_record_bytes=40, chunk_bytes=chunk_bytes) == expected


def test_open_quote_holds_no_more_than_a_record():
    data = b'a,b\n"' + b"some words,1\n" * 150_000
    tracemalloc.start()
    found = iter_csv_records(io.BytesIO(data), ",", max_record_bytes=1 << 16, chunk_bytes=1 << 16)
    counts = {"good": 0, "bad": 0}
    for record in found:
        counts["bad" if isinstance(record, CsvReject) else "good"] += 1
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert counts == {"good": 150_000, "bad": 1}
    assert peak_bytes < 4 << 20


def test_bad_csv_rows_are_rejected_where_they_stand():
    data = b'id,text\n1,good\n2\n3,\xff\n4,\n\n,x\n7,"a\nb"\n"8,open\n9,fine\n'
    blocks = read(data, "a.csv", options=ReadOptions(id_field="id"))
    assert column(blocks, "text") == ["good", "a\nb", "fine"]
    assert column(blocks, "id") == ["1", "7", "9"]
    assert rejects(blocks) == [
        (1, None, "malformed_csv"),
        (2, None, "invalid_utf8"),
        (3, "4", "blank_text"),
        (4, None, "blank_text"),
        (5, None, "missing_id"),
        (7, None, "malformed_csv"),
    ]


def test_unreadable_csv_header_fails_its_unit():
    with pytest.raises(UnitError, match=r"header cannot be read: invalid_utf8"):
        read(b"id,te\xffxt\n1,a\n", "a.csv")


def test_several_text_fields_are_joined_without_those_that_are_empty():
    data = b"title,body,id\nA,b,1\n,b,2\nA,,3\n,,4\n"
    blocks = read(data, "a.csv", options=ReadOptions(text_field=("title", "body"), id_field="id"))
    assert column(blocks, "text") == ["A\nb", "b", "A"]
    assert rejects(blocks) == [(3, "4", "blank_text")]


@pytest.mark.parametrize("name", ["a.csv", "a.tsv"])
@pytest.mark.parametrize("delimiter", [";", "|", "\x01", "§"])
def test_delimiter_may_be_any_character(name, delimiter):
    data = 'id;text\n1;"a; b"\n2;c,\td\n'.replace(";", delimiter).encode()
    blocks = read(data, name, options=ReadOptions(delimiter=delimiter))
    assert column(blocks, "text") == [f"a{delimiter} b", "c,\td"]


UNQUOTED = b"""id\ttext
1\tplain
2\t"Hello," she said
3\t"a whole quote"
4\t6" nails
5\t"open
"""


def test_unquoted_tsv_keeps_every_row_and_quote():
    blocks = read(UNQUOTED, "a.tsv")
    texts = ["plain", '"Hello," she said', '"a whole quote"', '6" nails', '"open']
    assert column(blocks, "text") == texts
    assert column(blocks, "position") == list(range(5))
    assert rejects(blocks) == []
    for options in (ReadOptions(quoting="none"), ReadOptions(quoting="none", delimiter="\t")):
        assert column(read(UNQUOTED, "a.tsv", options=options), "text") == texts


def test_quoting_that_is_asked_for_is_used():
    assert rejects(read(UNQUOTED, "a.tsv", options=ReadOptions(quoting="minimal"))) != []
    quoted = b'id\ttext\n1\t"a"\n'
    assert column(read(quoted, "a.tsv", options=ReadOptions(quoting="none")), "text") == ['"a"']
    assert column(read(b'id,text\n1,6" a\n2,"b" c\n', "a.csv", options=ReadOptions(quoting="none")), "text") == [
        '6" a',
        '"b" c',
    ]


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (["1\tno quotes at all"], "minimal"),
        (['1\t"quoted"', "2\tplain"], "minimal"),
        (['1\t"a\ttab"', "2\tplain"], "minimal"),
        (['1\t"two', 'lines"', "2\tplain"], "minimal"),
        (['1\t"he said ""no"""', "2\tplain"], "minimal"),
        (['1\t"two', "lines, then the sample ends"], "minimal"),
        (['1\t"begins" and goes on', "2\tplain"], "none"),
        (['1\t"begins only', "2\tplain"], "none"),
        (['1\t6" nails', "2\tplain"], "none"),
        (['1\t"quoted"', '2\t6" nails'], "none"),
        (['1\t"open', '2\t"open too'], "none"),
    ],
)
def test_quoting_is_inferred_from_the_first_rows(rows, expected):
    sample = "\n".join(["id\ttext", *rows, "3\tan incomplete li"]).encode()
    assert infer_quoting(sample, "\t") == expected


@pytest.mark.parametrize(
    ("rows", "expected"),
    [(['"two', 'lines"'], "minimal"), (['"two', "lines and no end"], "minimal"), (['"a" b'], "none")],
)
def test_quoting_of_a_single_column_is_inferred_with_care(rows, expected):
    assert infer_quoting("\n".join(["text", *rows, ""]).encode(), "\t") == expected


@pytest.mark.parametrize("seed", range(30))
def test_tsv_is_read_as_its_writer_wrote_it(seed):
    rng = random.Random(seed)
    cells = ["plain", 'a "quoted" word', '"quoted" first', '6" nails', "more, words", "ü"]
    plain = ["\t".join(rng.choices(cells, k=3)) for _ in range(30)]
    plain[rng.randrange(30)] = 'x\t"quoted" first\tx'
    data = "\n".join(["id\ttext\tother", *plain]).encode()
    assert column(read(data, "a.tsv"), "text") == [line.split("\t")[1] for line in plain]
    rows = [rng.choices([*cells, "two\nlines", "a\ttab"], k=3) for _ in range(30)]
    sink = io.StringIO(newline="")
    csv.writer(sink, delimiter="\t", lineterminator="\n").writerows([["id", "text", "other"], *rows])
    assert column(read(sink.getvalue().encode(), "a.tsv"), "text") == [row[1] for row in rows]

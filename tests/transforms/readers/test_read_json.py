"""Claims about reading JSON lines: the same rows and reasons, whether Arrow or json reads them."""

import random

import pytest

from tests.transforms.shards import column, read, rejects
from transforms.options import ReadOptions
from transforms.readers.read_json import MAX_JSON_DEPTH

BAD_JSON_ROWS = [
    (b'{"text": "good"}', None),
    (b"", "blank_text"),
    (b"   ", "blank_text"),
    (b'{"text": ""}', "blank_text"),
    (b'{"text": " \\n\\u00a0"}', "blank_text"),
    (b'{"text": null}', "missing_text"),
    (b'{"txt": "a"}', "missing_text"),
    (b"{}", "missing_text"),
    (b'{"text": 5}', "not_a_string"),
    (b'{"text": ["a"]}', "not_a_string"),
    (b'{"text": true}', "not_a_string"),
    (b'["text"]', "malformed_json"),
    (b'"text"', "malformed_json"),
    (b"null", "malformed_json"),
    (b'{"text": "a"', "malformed_json"),
    (b'{"text": "a"} {"text": "b"}', "malformed_json"),
    (b'{"text": "a"}}', "malformed_json"),
    (b"{'text': 'a'}", "malformed_json"),
    (b'{"text": "a\tb"}', "malformed_json"),
    (b'{"text": "a", "x": Inf}', "malformed_json"),
    (b'{"text": "a", "x": -NaN }', "malformed_json"),
    (b'{"text": "a", "x": ' + b"[" * 300 + b"]" * 300 + b"}", "malformed_json"),
    (b'{"text": "a", "x": ' + b"[" * 30_000 + b"]" * 30_000 + b"}", "malformed_json"),
    (b'{"text": "\xff"}', "invalid_utf8"),
    (b'{"text": "a", "x": "\xff"}', "invalid_utf8"),
    (b'{"text": "\xed\xa0\x80"}', "invalid_utf8"),
    (b'{"text": "\\ud800"}', "invalid_utf8"),
    (b'{"text": "a\\udc00b"}', "invalid_utf8"),
    (b'{"text": "' + b"x" * 70_000 + b'"}', "line_too_long"),
    (b'{"text": "\\ud83d\\ude42"}', None),
    (b'{"text": "a", "x": NaN}', None),
    (b'{"text": "a", "x": 1e999}', None),
    (b'{"text": "a", "x": "\\ud800"}', None),
    (b'{"text": "a", "text": "b"}', None),
    (b'{"text": "Inf, -NaN [[[[ {{{{"}', None),
    (b'\t{"text": "a"} ', None),
    (b'{"te\\u0078t": "a\\u0000b"}', None),
    (b'{"text": "a", "x": ' + b"9" * 5000 + b"}", None),
    (b'{"text": "a", "x": "' + b"[" * 300 + b'"}', None),
    (b'{"text": "a", "x": [' + b"[]," * 300 + b"[]]}", None),
]


@pytest.mark.parametrize(("line", "reason"), BAD_JSON_ROWS)
def test_json_line_gets_its_reason_whatever_stands_beside_it(line, reason):
    """Alone, among good rows (which Arrow reads when it can), and beside a bad one (so that json reads them all)."""
    good, options = b'{"text": "fine"}\n', ReadOptions(max_text_bytes=4096 + 17)
    for before, after in [(b"", b""), (good, good), (b"nope\n", good)]:
        blocks = read(before + line + b"\n" + after, "a.jsonl", options=options)
        mine = [row for row in rejects(blocks) if row[0] == len(before)]
        assert mine == ([(len(before), f"a.jsonl@{len(before)}", reason)] if reason else [])
        assert sum(block.rows_read for block in blocks) == (before + line + b"\n" + after).count(b"\n")


def random_json_line(rng):
    line = rng.choice(BAD_JSON_ROWS[:20] + BAD_JSON_ROWS[-12:])[0]
    if rng.random() < 0.4:
        row_id = rng.choice(
            ['"x"', '""', "7", "-0", "7.0", "7.5", "1e2", "true", "null", "[1]", "99999999999999999999"]
        )
        line = b'{"text": "a", "id": ' + row_id.encode() + b"}"
    if rng.random() < 0.3:
        spot = rng.randint(0, len(line))
        line = (
            line[:spot] + rng.choice([b"{", b"}", b'"', b"\0", b"\xff", b"\\", b",", b"\r", b"e", b" "]) + line[spot:]
        )
    return line


@pytest.mark.parametrize("id_field", [None, "id"])
@pytest.mark.parametrize("seed", range(40))
def test_rows_read_together_are_those_read_one_by_one(seed, id_field):
    rng = random.Random(seed)
    if seed % 2:  # rows of which many batches are good, and rows of which hardly any are
        lines = [random_json_line(rng) for _ in range(rng.randint(1, 12))]
    else:
        ids = rng.choice([['"a"', '"b"', "null"], ["1", "-0", "null"], ['"a"', "1", "2.0"]])
        lines = [b'{"id": %s, "text": "t"}' % rng.choice(ids).encode() for _ in range(12)]
    data, options = b"\n".join(lines) + b"\n", ReadOptions(id_field=id_field)
    whole = read(data, "a.jsonl", options=options)
    each = [read(data, "a.jsonl", options=options, chunk_bytes=size) for size in (1, 30, 100)]
    assert all(blocks == whole for blocks in each)
    assert sum(block.rows_read for block in whole) == len(lines)


@pytest.mark.parametrize(
    ("value", "row_id"),
    [
        ('"a"', "a"),
        ("7", "7"),
        ("7.0", "7"),
        ("99999999999999999999", "99999999999999999999"),
        ("7.5", None),
        ("true", None),
        ("null", None),
        ('""', None),
        ("[1]", None),
    ],
)
def test_id_is_a_string_or_a_whole_number(value, row_id):
    blocks = read(b'{"text": "a", "id": %s}' % value.encode(), "a.jsonl", options=ReadOptions(id_field="id"))
    assert column(blocks, "id") == ([row_id] if row_id else [])
    assert rejects(blocks) == ([] if row_id else [(0, None, "missing_id")])


def test_json_depth_limit_is_exact():
    def nested(depth):
        return b'{"text": "a", "x": ' + b"[" * (depth - 1) + b"]" * (depth - 1) + b"}\n"

    data = nested(MAX_JSON_DEPTH) + nested(MAX_JSON_DEPTH + 1)
    assert [position for position, *_ in rejects(read(data, "a.jsonl"))] == [len(nested(MAX_JSON_DEPTH))]


NESTED = ReadOptions(text_field="data.text", id_field="data.id")
NESTED_ROWS = [
    (b'{"data": {"text": "a", "id": 1}}', ("a", "1"), None),
    (b'{"data": {"text": "a", "id": "x", "more": [1]}, "text": "b"}', ("a", "x"), None),
    (b'{"data.text": "literal", "data": {"text": "a", "id": 1}}', ("literal", "1"), None),
    (b'{"data.text": null, "data": {"text": "a", "id": 1}}', ("a", "1"), None),
    (b'{"data.text": "literal", "data.id": 7}', ("literal", "7"), None),
    (b'{"data": {"id": 1}}', None, "missing_text"),
    (b'{"data": {"text": null, "id": 1}}', None, "missing_text"),
    (b'{"data": {"text": 5, "id": 1}}', None, "not_a_string"),
    (b'{"data": {"text": "a"}}', None, "missing_id"),
    (b'{"data": null}', None, "missing_id"),
    (b'{"data": "text"}', None, "missing_id"),
    (b'{"data": [{"text": "a"}]}', None, "missing_id"),
    (b"{}", None, "missing_id"),
]


@pytest.mark.parametrize(("line", "row", "reason"), NESTED_ROWS)
def test_nested_fields_are_read_whatever_stands_beside_them(line, row, reason):
    good = b'{"data": {"text": "fine", "id": 0}}\n'
    for before, after in [(b"", b""), (good, good), (b"nope\n", good)]:
        blocks = read(before + line + b"\n" + after, "a.jsonl", options=NESTED)
        assert [mine[2] for mine in rejects(blocks) if mine[0] == len(before)] == ([reason] if reason else [])
        kept = dict(zip(column(blocks, "position"), zip(column(blocks, "text"), column(blocks, "id"))))
        assert kept.get(len(before)) == row


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize(
    "options",
    [
        NESTED,
        ReadOptions(text_field=("data.text", "data.more"), id_field="data.id"),
        ReadOptions(text_field=("data", "data.text")),
        ReadOptions(text_field=("title", "a.b.c")),
    ],
)
def test_nested_rows_read_together_are_those_read_one_by_one(seed, options):
    rng = random.Random(seed)
    lines = [
        *(line for line, *_ in NESTED_ROWS),
        b'{"title": "t", "a": {"b": {"c": "d"}}}',
        b'{"title": "", "a": {"b": {"c": ""}}}',
        b'{"title": null, "a": {"b": null}}',
        b'{"data": {"text": "", "more": "m", "id": 3}}',
    ]
    data = b"\n".join(rng.choices(lines if seed % 2 else [lines[0], lines[2], lines[-4], lines[-1]], k=12)) + b"\n"
    whole = read(data, "a.jsonl", options=options)
    assert all(read(data, "a.jsonl", options=options, chunk_bytes=size) == whole for size in (1, 100))
    assert sum(block.rows_read for block in whole) == 12


def test_several_text_fields_are_joined_without_those_that_are_missing():
    rows = [
        b'{"title": "A", "body": "b"}',
        b'{"body": "b"}',
        b'{"title": "A", "body": null}',
        b'{"title": "", "body": "b"}',
        b"{}",
        b'{"title": "", "body": null}',
        b'{"title": "A", "body": 5}',
    ]
    for noise in (b"", b"nope\n"):  # read by Arrow where it can, and line by line
        blocks = read(
            b"\n".join(rows[:6]) + b"\n" + noise, "a.jsonl", options=ReadOptions(text_field=["title", "body"])
        )
        assert column(blocks, "text") == ["A\nb", "b", "A", "b"]
        assert [reason for *_, reason in rejects(blocks)][:2] == ["missing_text", "blank_text"]
    blocks = read(b"\n".join(rows), "a.jsonl", options=ReadOptions(text_field=["title", "body"]))
    assert [reason for *_, reason in rejects(blocks)] == ["missing_text", "blank_text", "not_a_string"]
    assert blocks[0].rejects["detail"][0].as_py() == "fields 'title' and 'body' are missing or null"


def test_joined_text_is_truncated_as_a_whole():
    options = ReadOptions(text_field=["title", "body"], max_text_bytes=6)
    blocks = read(b'{"title": "abc", "body": "defg"}\n', "a.jsonl", options=options)
    assert (column(blocks, "text"), column(blocks, "truncated")) == (["abc\nde"], [True])

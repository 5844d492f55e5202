"""Claims about options, failures, and where blocks end."""

import json
import pickle
import random

import pyarrow as pa
import pytest

from transforms.blocks import REJECT_SCHEMA, ROW_SCHEMA, TEXT_SCHEMA, BlockLimits, UnitError, split_into_blocks
from transforms.options import ReadOptions


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"format": "xml"}, "unknown format 'xml'; choose from auto, text, jsonl, csv, tsv, parquet, arrow"),
        ({"text_field": ""}, "text_field is empty"),
        ({"id_field": ""}, "id_field is empty"),
        ({"id_field": "text"}, "id_field and text_field are both 'text'"),
        ({"text_field": ()}, "text_field is empty"),
        ({"text_field": ("title", "")}, "text_field is empty"),
        ({"text_field": ("title", "title")}, "text_field names a field twice: title, title"),
        ({"text_field": ("id", "text"), "id_field": "id"}, "id_field and text_field are both 'id'"),
        ({"delimiter": "||"}, r"delimiter is '\|\|' but must be one character other than a quote or line end"),
        ({"delimiter": ""}, "must be one character"),
        ({"delimiter": '"'}, "must be one character"),
        ({"delimiter": "\n"}, "must be one character"),
        ({"quoting": "all"}, "unknown quoting 'all'; choose from auto, minimal, none"),
        ({"encoding": "utf-99"}, "encoding is 'utf-99', which Python does not know; examples are utf-8, utf-16"),
        ({"encoding": "base64"}, "encoding is 'base64', which Python does not know"),
        ({"max_text_bytes": 0}, "max_text_bytes must be at least 1 and at most 67108864, not 0"),
        ({"max_text_bytes": 1 << 40}, "must be at least 1 and at most 67108864"),
    ],
)
def test_wrong_options_are_refused_with_what_is_right(wrong, message):
    with pytest.raises(ValueError, match=message):
        ReadOptions(**wrong)


def test_options_are_kept_in_one_form():
    assert ReadOptions(text_field="body") == ReadOptions(text_field=["body"]) == ReadOptions(text_field=("body",))
    assert ReadOptions(encoding="UTF8") == ReadOptions(encoding="utf-8-sig") == ReadOptions()
    assert ReadOptions(encoding="latin1") == ReadOptions(encoding="ISO-8859-1")
    assert ReadOptions(delimiter=r"\t") == ReadOptions(delimiter="\t")


KINDS = ["unknown", "text", "jsonl", "csv", "tsv", "parquet", "arrow"]


@pytest.mark.parametrize(
    ("change", "kinds"),
    [
        ({"max_text_bytes": 99}, KINDS),
        ({"text_field": "body"}, [kind for kind in KINDS if kind != "text"]),
        ({"text_field": ("title", "text")}, [kind for kind in KINDS if kind != "text"]),
        ({"id_field": "id"}, [kind for kind in KINDS if kind != "text"]),
        ({"encoding": "latin-1"}, ["unknown", "text", "jsonl", "csv", "tsv"]),
        ({"delimiter": ";"}, ["csv", "tsv"]),
        ({"delimiter": ","}, ["tsv"]),
        ({"delimiter": "\t"}, ["csv"]),
        ({"quoting": "none"}, ["csv", "tsv"]),
        ({"quoting": "minimal"}, ["tsv"]),
        ({"encoding": "UTF8"}, []),
    ],
)
def test_key_has_the_options_that_decide_what_is_read(change, kinds):
    changed = [kind for kind in KINDS if ReadOptions(**change).key_fields(kind) != ReadOptions().key_fields(kind)]
    assert changed == kinds
    json.dumps(ReadOptions(**change).key_fields("csv"))


@pytest.mark.parametrize("wrong", [{"rows": 0}, {"text_bytes": 0}])
def test_empty_blocks_cannot_be_asked_for(wrong):
    with pytest.raises(ValueError, match="both must be 1 or more"):
        BlockLimits(**wrong)


def test_unit_error_survives_pickling():
    error = pickle.loads(pickle.dumps(UnitError("a.gz: ends early", "truncated_stream")))
    assert (str(error), error.reason) == ("a.gz: ends early", "truncated_stream")


def rows_of(texts):
    """Make rows at positions 0, 10, 20, ...; None stands for a rejected row."""
    columns = {
        "id": [f"id{index}" for index in range(len(texts))],
        "text": texts,
        "truncated": [False] * len(texts),
        "position": [10 * index for index in range(len(texts))],
        "reason": [None if text is not None else "missing_text" for text in texts],
        "detail": [None if text is not None else "why" for text in texts],
    }
    return pa.record_batch(columns, schema=ROW_SCHEMA)


def split(batch, sizes):
    begin = 0
    while begin < batch.num_rows:
        size = next(sizes)
        yield batch.slice(begin, size)
        begin += size


def split_rows(texts, limits, sizes=None):
    batch = rows_of(texts)
    batches = split(batch, sizes) if sizes else [batch]
    unit_bytes = 10 * len(texts)
    return list(
        split_into_blocks(batches, "a.txt", limits, lambda position: unit_bytes if position is None else position)
    )


def test_rows_read_limit_counts_rejects():
    blocks = split_rows(["a", None, "b", "c", None], BlockLimits(rows=2))
    assert [block.table["text"].to_pylist() for block in blocks] == [["a"], ["b", "c"], []]
    assert [block.rejects["position"].to_pylist() for block in blocks] == [[10], [], [40]]
    assert [block.last for block in blocks] == [False, False, True]
    assert [block.source_bytes for block in blocks] == [20, 20, 10]


def test_text_limit_counts_kept_text_alone():
    blocks = split_rows(["aaa", None, "bb", "c", "dddddddd", "e"], BlockLimits(text_bytes=5))
    assert [block.table["text"].to_pylist() for block in blocks] == [["aaa", "bb"], ["c"], ["dddddddd"], ["e"]]


def test_full_last_block_is_known_to_be_last():
    assert [block.last for block in split_rows(["a"] * 4, BlockLimits(rows=2))] == [False, True]


def test_unit_without_rows_is_one_empty_block():
    (block,) = split_rows([], BlockLimits())
    assert (block.index, block.last, block.rows_read) == (0, True, 0)
    assert block.table.schema == TEXT_SCHEMA
    assert block.rejects.schema == REJECT_SCHEMA


@pytest.mark.parametrize("seed", range(20))
def test_borders_do_not_depend_on_how_rows_arrive(seed):
    rng = random.Random(seed)
    texts = [rng.choice([None, "", "x" * rng.randint(1, 12)]) for _ in range(rng.randint(1, 60))]
    limits = BlockLimits(rows=rng.randint(1, 9), text_bytes=rng.randint(1, 25))
    whole = split_rows(texts, limits)
    assert split_rows(texts, limits, iter(lambda: rng.randint(1, 7), None)) == whole
    assert [block.index for block in whole] == list(range(len(whole)))
    assert sum(block.source_bytes for block in whole) == 10 * len(texts)
    assert [text for block in whole for text in block.table["text"].to_pylist()] == [
        text for text in texts if text is not None
    ]
    for block in whole:
        assert block.rows_read == block.table.num_rows + block.rejects.num_rows <= limits.rows
        text_bytes = sum(len(text) for text in block.table["text"].to_pylist())
        assert text_bytes <= limits.text_bytes or block.table.num_rows == block.rows_read == 1


def test_block_pickles_without_its_neighbours():
    blocks = split_rows(["some text of a row"] * 10_000, BlockLimits(rows=10))
    assert all(len(pickle.dumps(block)) < 4000 for block in blocks[:3])

from __future__ import annotations

import pyarrow as pa
import pytest

from transforms.layout import (
    BlockName,
    Listing,
    codes_schema,
    labels_schema,
    read_metadata,
    shard_key,
    shard_path_key,
    with_metadata,
)


@pytest.mark.parametrize("last", [True, False])
def test_a_block_name_is_read_back(last):
    name = BlockName("news-csv-0123456789-abcdef0123", 3, 120_000, 7, last)
    assert BlockName.parse(str(name)) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        "x.parquet",
        "x.00000.00000.parquet",
        "x.00000-of-00001.00000.tmp",
        "a.b.00000-of-00001.00000.parquet",
        "x.0-of-1.0.parquet",
    ],
)
def test_what_is_no_block_name_is_told(name):
    assert BlockName.parse(name) is None


def test_names_sort_in_the_order_of_the_rows():
    names = [BlockName("s", unit, 12, block, False) for unit in range(12) for block in range(11)]
    assert sorted(map(str, names)) == [str(name) for name in sorted(names)]


def test_a_key_holds_nothing_a_path_or_a_name_could_trip_over():
    key = shard_key("Über/../weird dir/名前 (1).v2.JSONL.gz", 10, "5", {})
    assert key.replace("-", "").isalnum()
    assert key.isascii()
    assert "." not in key


@pytest.mark.parametrize(
    "change", [("b.txt", 1, "1", {}), ("a.txt", 2, "1", {}), ("a.txt", 1, "2", {}), ("a.txt", 1, "1", {"k": 1})]
)
def test_path_size_stamp_and_reading_make_the_key(change):
    assert shard_key(*change) != shard_key("a.txt", 1, "1", {})


def test_versions_of_one_path_share_the_beginning_of_their_key():
    first, second = shard_key("a/b.txt", 1, "1", {}), shard_key("a/b.txt", 2, "9", {})
    assert shard_path_key(first) == shard_path_key(second) != shard_path_key(shard_key("a/c.txt", 1, "1", {}))


def test_paths_with_the_same_slug_have_other_keys():
    assert shard_key("a b.txt", 1, "1", {}) != shard_key("a-b.txt", 1, "1", {})


def listing(*blocks: tuple[int, int, bool]) -> Listing:
    return Listing(str(BlockName("s", unit, 2, block, last)) for unit, block, last in blocks)


@pytest.mark.parametrize(
    ("blocks", "complete"),
    [
        ([], False),
        ([(0, 0, False)], False),
        ([(0, 0, True)], True),
        ([(0, 1, True)], False),
        ([(0, 0, False), (0, 1, True)], True),
        ([(0, 0, False), (0, 2, True)], False),
        ([(1, 0, True)], False),
    ],
)
def test_a_unit_is_complete_when_all_blocks_to_its_last_are_there(blocks, complete):
    assert listing(*blocks).is_complete("s", 0) is complete


def test_a_listing_knows_how_many_units_a_shard_has_and_keeps_strangers_apart():
    found = Listing(["notes.txt", str(BlockName("s", 1, 2, 0, True))])
    assert found.unit_count("s") == 2
    assert found.unit_count("t") is None
    assert found.strangers == ["notes.txt"]
    assert found.incomplete_units(found.shards) == 1


@pytest.mark.parametrize(
    "schema", [codes_schema(64), *(labels_schema(kind) for kind in ("single", "multi", "regression"))]
)
def test_metadata_is_read_back_from_any_schema(schema):
    assert read_metadata(with_metadata(schema, {"encoder": "ab"}))["encoder"] == "ab"
    assert with_metadata(schema, {"a": 1}).equals(schema)  # columns only


def test_metadata_of_another_format_is_refused():
    with pytest.raises(ValueError, match="carries no encode-once metadata"):
        read_metadata(pa.schema([]))
    with pytest.raises(ValueError, match="of format 9, this program reads 1"):
        read_metadata(pa.schema([]).with_metadata({"encode_once": '{"format_version": 9}'}))

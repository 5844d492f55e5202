from __future__ import annotations

import pyarrow as pa
import pytest

from transforms.layout import (
    FileName,
    Listing,
    PartName,
    codes_folder,
    codes_schema,
    labels_folder,
    labels_schema,
    read_metadata,
    shard_key,
    unit_prefix,
    with_metadata,
)


@pytest.mark.parametrize("last", [True, False])
def test_a_file_name_is_read_back(last):
    name = FileName("news-csv-0123456789-abcdef0123", 3, 120_000, 7, 199_728, 12, last)
    assert FileName.parse(str(name)) == FileName.parsed(str(name)) == name
    assert str(name).startswith(unit_prefix(name.shard, 3, 120_000))
    assert name.rows_read == 199_740


def test_a_part_name_is_read_back_and_is_no_file_name():
    name = PartName("s", 3, 12, 7, 4096, 1, 80_000)
    assert PartName.parse(str(name)) == name
    assert FileName.parse(str(name)) is None


@pytest.mark.parametrize(
    "name",
    [
        "",
        "x.parquet",
        "x.00000.00000.1r0.parquet",
        "x.00000-of-00001.00000.1r0.tmp",
        "x.00000-of-00001.00000.parquet",
        "a.b.00000-of-00001.00000.1r0.parquet",
        "x.0-of-1.0.1r0.parquet",
    ],
)
def test_other_names_are_not_file_names(name):
    assert FileName.parse(name) is None
    with pytest.raises(ValueError, match="is not the name of a file of codes"):
        FileName.parsed(name)


def test_names_sort_in_the_order_of_the_rows():
    names = [FileName("s", unit, 12, index, 5, 0, False) for unit in range(12) for index in range(11)]
    assert sorted(map(str, names)) == [str(name) for name in sorted(names)]


def test_a_key_holds_nothing_that_breaks_a_path_or_a_name():
    key = shard_key("Über/../weird dir/名前 (1).v2.JSONL.gz", 10, 5, {})
    assert key.replace("-", "").isalnum()
    assert key.isascii()
    assert "." not in key


@pytest.mark.parametrize(
    "change", [("b.txt", 1, 1, {}), ("a.txt", 2, 1, {}), ("a.txt", 1, 2, {}), ("a.txt", 1, 1, {"k": 1})]
)
def test_path_size_version_and_reading_make_the_key(change):
    assert shard_key(*change) != shard_key("a.txt", 1, 1, {})


def test_paths_with_the_same_slug_have_other_keys():
    assert shard_key("a b.txt", 1, 1, {}) != shard_key("a-b.txt", 1, 1, {})


def test_no_reader_takes_the_value_of_a_folder_for_a_number():
    for fingerprint in ("0123456789012345", "1234567e89012345"):
        assert codes_folder(fingerprint) == f"codes/encoder=e{fingerprint[:12]}"
        assert labels_folder("topic", fingerprint) == f"labels/task=topic/head=h{fingerprint[:12]}"


def listing(*files: tuple[int, int, bool]) -> Listing:
    return Listing(str(FileName("s", unit, 2, index, 5, 1, last)) for unit, index, last in files)


@pytest.mark.parametrize(
    ("files", "complete"),
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
def test_a_unit_is_complete_when_all_files_to_its_last_are_there(files, complete):
    assert listing(*files).is_complete("s", 0) is complete


def test_a_listing_tells_units_rows_and_rejects_and_keeps_other_names_apart():
    found = Listing(["notes.txt", str(FileName("s", 1, 2, 0, 7, 3, True))])
    assert found.unit_count("s") == 2
    assert found.unit_count("t") is None
    assert found.unrecognised == ["notes.txt"]
    assert found.incomplete_units(found.shards) == 1
    assert not found.is_complete_shard("s")
    assert found.complete_units() == {("s", 1)}
    assert (found.rows, found.unit("s", 1).rejects) == (7, 3)


def test_two_versions_of_a_file_are_a_conflict():
    names = [str(FileName("s", 0, 1, 0, rows, 0, True)) for rows in (7, 8)]
    assert Listing(names).conflicts == names[1:]


@pytest.mark.parametrize(
    "schema", [codes_schema(64), *(labels_schema(kind) for kind in ("single", "multi", "regression"))]
)
def test_metadata_is_read_back_from_any_schema(schema):
    assert read_metadata(with_metadata(schema, {"encoder": "ab"}))["encoder"] == "ab"
    assert with_metadata(schema, {"a": 1}).equals(schema)  # columns only


def test_metadata_of_another_format_is_refused():
    with pytest.raises(ValueError, match="carries no encode-once metadata"):
        read_metadata(pa.schema([]))
    with pytest.raises(ValueError, match="has format 9, this program reads 2"):
        read_metadata(pa.schema([]).with_metadata({"encode_once": '{"format_version": 9}'}))

"""Which shards of earlier runs are recognised: by path and time, or by content."""

from __future__ import annotations

import dataclasses
import os

import pytest

from transforms.blocks import BlockLimits
from transforms.known_shards import KnownShard, KnownShards, has_content
from transforms.match import match_shards
from transforms.options import ReadOptions
from transforms.plan import cut_shard
from transforms.read import ContentHash, read_unit
from transforms.store import open_or_create_store
from transforms.unit import Unit


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    return folder


def shards_of(folder, **options):
    return match_shards([f"{folder}/*"], str(folder), ReadOptions(**options))


def write(path, text="one\ntwo\n", time=1000.0):
    path.write_text(text)
    os.utime(path, (time, time))


def recognise(known: KnownShards, shards, *same: str):
    """Recognise shards where only the shards of the paths `same` have the content of any key."""
    return known.recognise(shards, lambda shard, key: shard.relative_path in same)


def test_a_shard_of_the_same_path_size_and_second_is_known_without_reading(folder):
    write(folder / "a.txt", time=1000.25)
    (first,) = shards_of(folder)
    known = KnownShards([KnownShard.of(first)])
    os.utime(folder / "a.txt", (1000, 1000))  # as tar keeps it
    (again,), recognised = recognise(known, shards_of(folder))
    assert again.key == first.key
    assert recognised == []


def test_a_touched_or_moved_shard_keeps_its_key_and_the_path_of_its_ids(folder):
    write(folder / "a.txt")
    (first,) = shards_of(folder)
    known = KnownShards([KnownShard.of(first)])
    os.rename(folder / "a.txt", folder / "b.txt")
    os.utime(folder / "b.txt", (5, 5))
    (moved,), recognised = recognise(known, shards_of(folder), "b.txt")
    assert (moved.key, moved.id_path, moved.relative_path) == (first.key, "a.txt", "b.txt")
    assert recognised == [("a.txt", "b.txt")]


def test_a_shard_of_other_content_is_new_whatever_its_size(folder):
    write(folder / "a.txt")
    known = KnownShards(map(KnownShard.of, shards_of(folder)))
    write(folder / "a.txt", "uno\ndue\n", time=2000)
    (changed,), recognised = recognise(known, shards_of(folder))
    assert changed.key not in known.latest
    assert recognised == []
    assert known.earlier_versions([changed]) == {changed.key: list(known.latest)}


def test_a_copy_beside_the_known_file_is_a_shard_of_its_own(folder):
    write(folder / "a.txt")
    known = KnownShards(map(KnownShard.of, shards_of(folder)))
    write(folder / "b.txt", time=2000)
    (first, copy), recognised = recognise(known, shards_of(folder), "b.txt")
    assert first.key != copy.key
    assert recognised == []


def test_two_moved_files_of_one_content_do_not_share_a_key(folder):
    write(folder / "a.txt")
    known = KnownShards(map(KnownShard.of, shards_of(folder)))
    os.rename(folder / "a.txt", folder / "b.txt")
    write(folder / "c.txt", time=2000)
    shards, recognised = recognise(known, shards_of(folder), "b.txt", "c.txt")
    assert len({shard.key for shard in shards}) == 2
    assert len(recognised) == 1


def test_a_file_that_took_the_place_of_a_moved_one_is_no_later_version_of_it(folder):
    write(folder / "a.txt")
    known = KnownShards(map(KnownShard.of, shards_of(folder)))
    os.rename(folder / "a.txt", folder / "b.txt")
    write(folder / "a.txt", "a new file\n", time=2000)
    shards, _ = recognise(known, shards_of(folder), "b.txt")
    assert known.earlier_versions(shards) == {}


def test_other_reading_options_make_another_shard(folder):
    (folder / "a.jsonl").write_text('{"text": "a", "body": "b"}\n')
    known = KnownShards(map(KnownShard.of, shards_of(folder)))
    (other,), _ = recognise(known, shards_of(folder, text_field="body"), "a.jsonl")
    assert known.other_readings(other) == list(known.latest)
    assert known.earlier_versions([other]) == {}


def test_sightings_are_written_once_and_read_back(folder, tmp_path):
    write(folder / "a.txt")
    write(folder / "b.jsonl")
    store = open_or_create_store(str(tmp_path / "store"), str(folder), {}, "test")
    shards = shards_of(folder)
    for run, new in (("1", True), ("2", False)):
        known = KnownShards.read(store)
        known.write_new(dataclasses.replace(store, run_id=run), shards)
        assert (tmp_path / "store/runs" / run / "shards.parquet").exists() is new
    assert KnownShards.read(store).latest == {shard.key: KnownShard.of(shard) for shard in shards}


def test_a_time_before_1970_is_kept(folder, tmp_path):
    write(folder / "a.txt", time=-86_400.0)
    store = open_or_create_store(str(tmp_path / "store"), str(folder), {}, "test")
    KnownShards().write_new(dataclasses.replace(store, run_id="1"), shards_of(folder))
    assert next(iter(KnownShards.read(store).latest.values())).version == -86_400


LIMITS = BlockLimits(rows=2)


def content_hashes(shard, ranges, options) -> dict[int, str]:
    hashes = {}
    for index, (start, stop, _) in enumerate(ranges):
        unit = Unit.of(shard, index, len(ranges), start, stop)
        content = ContentHash.of_unit(unit, options)
        for block in read_unit(unit, options, LIMITS):
            content.add(block)
        hashes[index] = content.hexdigest()
    return hashes


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("one\ntwo\nthree\nfour\n", True),
        ("one\ntwo\nthree\nfive\n", False),
        ("one\nwto\nthree\nfour\n", False),
        ("\none\ntwothree\nfour\n", False),
    ],
)
def test_content_is_compared_unit_by_unit(folder, text, same):
    options = ReadOptions()
    write(folder / "a.txt", "one\ntwo\nthree\nfour\n")
    (shard,) = shards_of(folder)
    ranges = cut_shard(shard, 8)
    assert len(ranges) > 1
    hashes = content_hashes(shard, ranges, options)
    write(folder / "a.txt", text)
    (now,) = shards_of(folder)
    assert has_content(now, cut_shard(now, 8), hashes, options, LIMITS) is same


def test_ids_of_a_field_are_content_and_ids_of_paths_are_not(folder):
    rows = '{"id": "1", "text": "a"}\n'
    for options, same in ((ReadOptions(), True), (ReadOptions(id_field="id"), False)):
        write(folder / "a.jsonl", rows)
        (shard,) = shards_of(folder)
        ranges = cut_shard(shard, 1 << 20)
        hashes = content_hashes(shard, ranges, options)
        write(folder / "a.jsonl", rows.replace("1", "2"))
        (now,) = shards_of(folder)
        assert has_content(now, ranges, hashes, options, LIMITS) is same


def test_a_shard_without_hashes_has_no_known_content(folder):
    write(folder / "a.txt")
    (shard,) = shards_of(folder)
    assert not has_content(shard, cut_shard(shard, 8), {}, ReadOptions(), LIMITS)

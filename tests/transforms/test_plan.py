from __future__ import annotations

import os

import pytest

from tests.conftest import write_corpus
from transforms.layout import FileName, Listing
from transforms.match import InputError, common_root, match_shards
from transforms.options import ReadOptions
from transforms.plan import cut_shard, plan, plan_labels, rows_to_label
from transforms.unit import Unit


@pytest.mark.parametrize(
    ("patterns", "root"),
    [
        (["/data/a/*.txt"], "/data/a"),
        (["/data/a/x.txt"], "/data/a"),
        (["/data/a/*.txt", "/data/b/*.txt"], "/data"),
        (["/data/2026-*/part?.txt"], "/data"),
        (["gs://bucket/corpus/*.gz"], "gs://bucket/corpus"),
        (["gs://bucket/a/*", "gs://other/b/*"], ""),
        (["gs://bucket/a/*", "/data/*"], ""),
        (["/x/{a,b}.txt"], "/x"),
    ],
)
def test_the_root_is_the_deepest_folder_all_patterns_share(patterns, root):
    assert common_root(patterns) == root


def test_a_folder_is_its_own_root(tmp_path):
    assert common_root([str(tmp_path)]) == str(tmp_path)


def shards_of(folder, pattern="*", **options):
    return match_shards([str(folder / pattern)], str(folder), ReadOptions(**options))


def test_shards_are_found_once_and_in_order(tmp_path):
    write_corpus(tmp_path, rows=2)
    shards = match_shards([str(tmp_path / "*"), str(tmp_path / "a*"), str(tmp_path)], str(tmp_path), ReadOptions())
    assert [shard.relative_path for shard in shards] == sorted(os.listdir(tmp_path))


def test_a_shard_outside_the_root_keeps_its_whole_path(tmp_path):
    write_corpus(tmp_path, rows=1)
    (shard,) = match_shards([str(tmp_path / "a.txt")], "/elsewhere", ReadOptions())
    assert shard.relative_path == str(tmp_path / "a.txt")


def test_a_text_fields_name_matters_only_where_there_are_fields(tmp_path):
    write_corpus(tmp_path, rows=1)
    before = {shard.relative_path: shard.key for shard in shards_of(tmp_path)}
    after = {shard.relative_path: shard.key for shard in shards_of(tmp_path, text_field="body")}
    assert {path for path in before if before[path] == after[path]} == {"a.txt", "f.txt.bz2"}


def test_names_with_glob_characters_are_files_too(tmp_path):
    (tmp_path / "a[1].txt").write_text("x\n")
    assert [
        shard.relative_path for shard in match_shards([str(tmp_path / "a[1].txt")], str(tmp_path), ReadOptions())
    ] == ["a[1].txt"]


def test_a_pattern_without_files_is_an_error_even_beside_one_that_has(tmp_path):
    (tmp_path / "a.txt").write_text("x\n")
    with pytest.raises(InputError, match=r"--input .*b\* matches no file"):
        match_shards([str(tmp_path / "a*"), str(tmp_path / "b*")], str(tmp_path), ReadOptions())


def test_units_cover_a_shard_without_gap_or_overlap(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"x" * 1000)
    (shard,) = shards_of(tmp_path)
    ranges = cut_shard(shard, 300)
    assert [start for start, _, _ in ranges] == [0, *(stop for _, stop, _ in ranges[:-1])]
    assert ranges[-1][1] == sum(size for _, _, size in ranges) == 1000


def names(shard, *files: tuple[int, int, int, bool]) -> Listing:
    return Listing(str(FileName(shard.key, unit, units, index, 100, 0, last)) for unit, units, index, last in files)


@pytest.fixture
def shard(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"x\n" * 500)
    return shards_of(tmp_path)[0]


def test_everything_is_to_do_in_an_empty_store(shard):
    made = plan([shard], Listing([]), {"t": Listing([])}, 500, {})
    assert [(unit.index, unit.count, unit.tasks, unit.files) for unit in made.units] == [
        (0, 2, ("t",), None),
        (1, 2, ("t",), None),
    ]
    assert made.counts["shards_new"] == 1
    assert made.counts["bytes_to_encode"] == 1000


def test_coded_units_want_only_the_labels_they_lack(shard):
    codes = names(shard, (0, 2, 0, False), (0, 2, 1, True), (1, 2, 0, True))
    labels = {"old": codes, "new": names(shard, (1, 2, 0, True))}
    made = plan([shard], codes, labels, 500, {})
    files = tuple(map(str, codes.unit(shard.key, 0).in_order()))
    assert [(unit.index, unit.tasks, unit.files) for unit in made.units] == [(0, ("new",), files)]
    assert rows_to_label(made.units) == 200
    assert made.counts["shards_coded"] == 1
    assert made.counts["units_done"] == 1


def test_a_unit_that_lacks_a_file_is_read_again_and_its_neighbour_is_not(shard):
    codes = names(shard, (0, 2, 0, False), (1, 2, 0, True))
    made = plan([shard], codes, {}, 500, {})
    assert [(unit.index, unit.files) for unit in made.units] == [(0, None)]
    assert made.counts["shards_partial"] == 1


def test_a_coded_shard_is_not_opened_again(shard):
    os.unlink(shard.path)
    codes = names(shard, (0, 2, 0, True), (1, 2, 0, True))
    assert plan([shard], codes, {}, 500, {}).units == []


def test_a_changed_shard_is_told_from_a_new_one(shard, tmp_path):
    codes = names(shard, (0, 1, 0, True))
    (tmp_path / "a.txt").write_text("other\n")
    (tmp_path / "b.txt").write_text("new\n")
    shards = shards_of(tmp_path)
    counts = plan(shards, codes, {}, 500, {shards[0].key: [shard.key]}).counts
    assert (counts["shards_changed"], counts["shards_new"]) == (1, 1)


def test_a_parquet_shard_without_footer_is_unreadable_alone(tmp_path):
    (tmp_path / "a.parquet").write_bytes(b"nothing")
    (tmp_path / "b.txt").write_text("x\n")
    made = plan(shards_of(tmp_path), Listing([]), {}, 500, {})
    assert len(made.units) == 1
    assert made.unreadable[0][1].endswith("a.parquet")


def test_labels_are_planned_from_the_codes_alone(shard):
    codes = names(shard, (0, 2, 0, True), (1, 2, 0, False))
    made = plan_labels(codes, {"t": Listing([])})
    assert [(unit.shard, unit.index, len(unit.files)) for unit in made.units] == [(shard.key, 0, 1)]
    assert made.counts["units_incomplete"] == 1


def test_a_unit_goes_through_a_plan_file_unchanged(shard):
    coded = plan_labels(names(shard, (0, 1, 0, True)), {"t": Listing([])}).units
    for unit in coded + plan([shard], Listing([]), {"t": Listing([])}, 500, {}).units:
        assert Unit.from_json(unit.to_json()) == unit


def test_a_file_that_links_lead_to_is_read_once(tmp_path, caplog):
    dated = tmp_path / "dumps" / "2024-01-01"
    dated.mkdir(parents=True)
    (dated / "a.txt").write_text("one\n")
    (tmp_path / "dumps" / "a-latest").symlink_to("2024-01-01")
    (dated / "up").symlink_to("..")
    (shard,) = match_shards([str(tmp_path / "dumps" / "**")], str(tmp_path), ReadOptions())
    assert shard.relative_path == "dumps/2024-01-01/a.txt"
    assert "2 links to folders are not followed" in caplog.text


def test_a_plan_is_written_in_an_order_drawn_from_the_run(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"x\n" * 5000)
    made = plan(shards_of(tmp_path), Listing([]), {}, 500, {})
    first, again, second = (made.to_lines(run).splitlines() for run in ("run-1", "run-1", "run-2"))
    assert first == again != second
    assert sorted(first) == sorted(second) == sorted(unit.to_json() for unit in made.units)

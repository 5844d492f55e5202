"""Corpora that are touched, moved, renamed, linked and changed, night after night."""

from __future__ import annotations

import os
import shutil
import subprocess
import time

import pytest

from pipelines import status
from tests.conftest import optional, store_files, write_corpus


def rows_of(store, task="mood") -> int:
    """Count labels as a reader that sees files only."""
    duckdb = optional("duckdb")
    query = (
        f"SELECT count(*) FROM read_parquet('{store}/labels/task={task}/head=*/*.parquet', hive_partitioning = true)"
    )
    return duckdb.sql(query).fetchall()[0][0]


@pytest.fixture
def night(annotate_tiny, tmp_path):
    """Give a function that annotates as every night, and the first night's store."""
    write_corpus(tmp_path / "in", rows=10)

    def run(*more, **named):
        return annotate_tiny("--id_field", "id", *more, heads=["mood"], **named)

    run()
    return run


def test_touched_files_keep_their_codes(night, tmp_path):
    before = store_files(tmp_path / "store")
    for path in (tmp_path / "in").iterdir():
        os.utime(path, (1000, 1000))
    summary = night()
    assert (summary.documents, summary.recognised) == (0, 8)
    assert night().recognised == 0  # the new times are known now
    assert store_files(tmp_path / "store") == before


def test_renamed_and_moved_files_keep_their_codes_and_ids(night, tmp_path, caplog):
    before = store_files(tmp_path / "store")
    (tmp_path / "in" / "old").mkdir()
    (tmp_path / "in" / "a.txt").rename(tmp_path / "in" / "old" / "a.txt")
    (tmp_path / "in" / "b.jsonl").rename(tmp_path / "in" / "renamed.jsonl")
    summary = night(input=f"{tmp_path}/in/**")
    assert (summary.documents, summary.recognised) == (0, 2)
    assert "2 shards are in the store under other paths" in caplog.text
    assert store_files(tmp_path / "store") == before
    assert status.run(["--store", str(tmp_path / "store")])[0].stale == ()


@pytest.mark.parametrize("how", ["tar", "copy"])
def test_a_corpus_moved_to_whole_seconds_is_known(night, tmp_path, how):
    if how == "tar":
        (tmp_path / "new").mkdir()
        tar = subprocess.run(["tar", "-C", tmp_path / "in", "-c", "."], check=True, capture_output=True).stdout
        subprocess.run(["tar", "-C", tmp_path / "new", "-x"], input=tar, check=True)
    else:
        shutil.copytree(tmp_path / "in", tmp_path / "new")
    assert night("--input_root", str(tmp_path / "new"), input=tmp_path / "new").documents == 0
    shutil.rmtree(tmp_path / "in")
    assert night(input=tmp_path / "new").documents == 0  # without telling the root


def test_a_corpus_copied_with_other_times_is_recognised_beside_the_original(night, tmp_path):
    before = store_files(tmp_path / "store")
    shutil.copytree(tmp_path / "in", tmp_path / "new", copy_function=shutil.copyfile)
    for path in (tmp_path / "new").iterdir():
        os.utime(path, (1000, 1000))
    summary = night("--input_root", str(tmp_path / "new"), input=tmp_path / "new")
    assert (summary.documents, summary.recognised) == (0, 8)
    assert store_files(tmp_path / "store") == before


def test_a_copy_beside_the_original_is_a_shard_of_its_own(night, tmp_path):
    shutil.copy(tmp_path / "in" / "a.txt", tmp_path / "in" / "copy.txt")
    assert night().documents == 10
    assert night(input=tmp_path / "in" / "copy.txt").documents == 0
    assert night().documents == 0


def test_a_changed_file_is_counted_once(night, tmp_path, capsys):
    with (tmp_path / "in" / "a.txt").open("a") as file:
        file.write("one more line\n")
    summary = night()
    assert (summary.documents, summary.replaced_shards, summary.replaced_documents) == (11, 1, 10)
    assert "replaced               1  shards that changed: the 10 documents" in capsys.readouterr().out
    assert rows_of(tmp_path / "store") == 81


def test_a_removal_that_was_interrupted_is_completed_by_the_next_run(night, tmp_path, monkeypatch):
    from pipelines import annotate

    with (tmp_path / "in" / "a.txt").open("a") as file:
        file.write("one more line\n")
    monkeypatch.setattr(annotate, "remove_earlier_versions", lambda job: (0, 0))
    night()
    assert rows_of(tmp_path / "store") == 91
    monkeypatch.undo()
    summary = night()  # nothing to encode or label
    assert (summary.documents, summary.replaced_shards) == (0, 1)
    assert rows_of(tmp_path / "store") == 81


def test_a_file_changed_back_within_the_second_is_the_same(night, tmp_path):
    content, times = (tmp_path / "in" / "a.txt").read_bytes(), os.stat(tmp_path / "in" / "a.txt")
    (tmp_path / "in" / "a.txt").write_bytes(b"other\n")
    os.utime(tmp_path / "in" / "a.txt", (times.st_mtime + 5, times.st_mtime + 5))
    night()
    (tmp_path / "in" / "a.txt").write_bytes(content)
    os.utime(tmp_path / "in" / "a.txt", (times.st_mtime, times.st_mtime))
    night()
    assert rows_of(tmp_path / "store") == 80


def test_a_recompressed_file_is_reported(night, tmp_path, caplog):
    import gzip

    content = (tmp_path / "in" / "b.jsonl").read_bytes()
    (tmp_path / "in" / "b.jsonl").unlink()
    (tmp_path / "in" / "b.jsonl.gz").write_bytes(gzip.compress(content))
    night()
    assert "b.jsonl.gz seems to be b.jsonl with another compression" in caplog.text


def test_a_link_to_a_folder_of_shards_does_not_count_them_twice(night, tmp_path):
    (tmp_path / "in" / "latest").symlink_to(".")
    assert night(input=f"{tmp_path}/in/**").documents == 0
    assert rows_of(tmp_path / "store") == 80


def test_links_that_lead_nowhere_are_reported(night, tmp_path, caplog):
    (tmp_path / "in" / "gone.txt").symlink_to("nowhere.txt")
    night()
    assert "1 links are broken; the first is" in caplog.text


def test_a_night_without_work_leaves_a_record(night, tmp_path):
    time.sleep(0.01)
    runs = len(list((tmp_path / "store" / "runs").iterdir()))
    night()
    assert len(list((tmp_path / "store" / "runs").glob("*/run.json"))) == runs + 1

from __future__ import annotations

import dataclasses
import errno
import json
import os
import pickle
import threading

import pyarrow as pa
import pytest

from encoder.declare import OptionError
from transforms.filesystem import files
from transforms.layout import BlockName, codes_schema
from transforms.store import Store, StoreError, open_or_create_store, open_store

NAME = BlockName("s", 0, 1, 0, True)


@pytest.fixture
def store(tmp_path) -> Store:
    return dataclasses.replace(open_or_create_store(str(tmp_path / "store"), "/in", {}, "test"), run_id="r")


def test_a_store_is_made_once_and_opened_after(tmp_path):
    made = open_or_create_store(str(tmp_path / "s"), "/in", {"block_rows": 7}, "test")
    assert open_store(str(tmp_path / "s")) == made
    assert made.rules.block_rows == 7
    assert open_or_create_store(str(tmp_path / "s"), "/other", {"block_rows": None}, "test").input_root == "/in"
    with pytest.raises(StoreError, match="--block_rows 8 differs from the 7 that store"):
        open_or_create_store(str(tmp_path / "s"), "/in", {"block_rows": 8}, "test")


def test_first_runs_at_once_agree_on_one_set_of_rules(tmp_path):
    rules = []

    def first(rows: int) -> None:
        try:
            rules.append(
                open_or_create_store(str(tmp_path / "s"), "/in", {"block_rows": rows}, "test").rules.block_rows
            )
        except StoreError:
            rules.append(open_store(str(tmp_path / "s")).rules.block_rows)

    threads = [threading.Thread(target=first, args=(rows,)) for rows in range(1, 17)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(rules) == 16
    assert len(set(rules)) == 1
    assert os.listdir(tmp_path / "s" / "runs") == []


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_store_is_made_where_there_are_no_links(tmp_path, monkeypatch, number):
    def link(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", link)
    rules = {"block_rows": 7}
    assert open_or_create_store(str(tmp_path / "s"), "/in", rules, "test").rules.block_rows == 7
    assert open_or_create_store(str(tmp_path / "s"), "/in", rules, "test").rules.block_rows == 7
    assert [path.name for path in (tmp_path / "s").iterdir() if path.is_file()] == ["store.json"]
    monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError(errno.EIO, "broken")))
    with pytest.raises(StoreError, match=r"cannot be written: .*broken"):
        open_or_create_store(str(tmp_path / "t"), "/in", rules, "test")


def test_content_is_on_the_disk_before_it_has_its_name(store, monkeypatch):
    done = []
    real_sync, real_replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda handle: (done.append(os.fstat(handle).st_size), real_sync(handle)))
    monkeypatch.setattr(os, "replace", lambda *a: (done.append("named"), real_replace(*a)))
    for folder, synced in (
        ("codes/encoder=x", True),
        ("labels/task=x/head=y", False),
    ):  # labels are made again from codes
        store.write_block(folder, NAME, pa.table({"id": ["a"]}))
        done.clear()
        store.write_block(folder, NAME, pa.table({"id": ["a"]}))
        size = os.path.getsize(store.path(folder, str(NAME)))
        assert done == ([size, "named"] if synced else ["named"])


@pytest.mark.parametrize(
    "content", ["", "[]", '{"format_version": 1}', '{"format_version": 1, "cut_rules": {"rows": 1}}']
)
def test_a_damaged_store_file_is_named(tmp_path, content):
    (tmp_path / "store.json").write_text(content)
    with pytest.raises(StoreError, match=r"store\.json cannot be read"):
        open_store(str(tmp_path))


def test_a_newer_store_is_refused(tmp_path):
    (tmp_path / "store.json").write_text(json.dumps({"format_version": 2}))
    with pytest.raises(StoreError, match="store of format 2 but this program knows format 1"):
        open_store(str(tmp_path))


@pytest.mark.parametrize("rule", ["unit_bytes", "block_rows", "block_text_bytes"])
def test_rules_are_positive(tmp_path, rule):
    with pytest.raises(OptionError, match=f"{rule} must be at least 1, not 0"):
        open_or_create_store(str(tmp_path / "s"), "/in", {rule: 0}, "test")
    assert not (tmp_path / "s").exists()


def table(rows: int = 3) -> pa.Table:
    columns = [[f"i{i}" for i in range(rows)], [b"x" * 8] * rows, [1] * rows, [False] * rows]
    return pa.table([pa.array(c, f.type) for c, f in zip(columns, codes_schema(64))], schema=codes_schema(64))


@pytest.mark.parametrize("rows", [0, 1, 5000])
def test_a_block_is_read_back_as_written_in_one_row_group(store, rows):
    store.write_block("codes/encoder=e", NAME, table(rows))
    assert store.read_block("codes/encoder=e", NAME).equals(table(rows))
    schema, count = store.read_schema("codes/encoder=e", NAME)
    assert schema.equals(codes_schema(64))
    assert count == rows


def test_writing_twice_leaves_one_file_and_no_temporary_one(store):
    for _ in range(2):
        store.write_block("codes/encoder=e", NAME, table())
    assert files.list_names(store.path("codes/encoder=e")) == [str(NAME)]
    assert files.list_names(store.temporary_folder) == []


def test_a_cleaned_up_temporary_folder_does_not_stop_a_writer(store):
    store.write_block("codes/encoder=e", NAME, table())
    os.rmdir(store.temporary_folder)
    store.write_block("codes/encoder=e", dataclasses.replace(NAME, block=1), table())
    assert len(files.list_names(store.path("codes/encoder=e"))) == 2


def test_a_store_travels_to_workers(store):
    assert pickle.loads(pickle.dumps(store)) == store


def test_the_same_failure_is_one_record(store):
    failure = {"shard": "s", "unit": 0, "path": "p", "step": "read", "reason": "x"}
    store.record_failure(failure)
    store.record_failure(failure)
    store.record_failure(failure | {"step": "label-t"})
    assert [found["step"] for found in store.failures()] == ["label-t", "read"]


def test_match_tells_size_and_stamp(tmp_path):
    (tmp_path / "a").write_text("abc")
    os.utime(tmp_path / "a", (1, 1.25))
    (found,) = files.match(str(tmp_path / "a"))
    assert (found.size_bytes, found.stamp) == (3, 1250)
    assert files.match(str(tmp_path / "none*")) == []
    with pytest.raises(FileNotFoundError):
        files.stat(str(tmp_path / "b"))


def test_an_unknown_file_system_is_said():
    with pytest.raises(OSError, match="cannot list nofs://"):
        files.match("nofs://bucket/*")

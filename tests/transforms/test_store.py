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
from transforms.layout import FileName, PartName, codes_schema, parts_folder
from transforms.store import Store, StoreError, check_unchanged, open_or_create_store, open_store
from transforms.tables import DamagedFileError, write_table

NAME = FileName("s", 0, 1, 0, 3, 0, True)


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
        ("rejects/encoder=x", True),
        ("labels/task=x/head=y", False),  # labels and parts are made again
        ("parts/encoder=x", False),
    ):
        store.commit(folder, NAME, write_table(table()))
        done.clear()
        store.commit(folder, NAME, write_table(table()))
        size = os.path.getsize(store.path(folder, str(NAME)))
        assert done == ([size, "named"] if synced else ["named"])


@pytest.mark.parametrize(
    "content", ["", "[]", '{"format_version": 2}', '{"format_version": 2, "cut_rules": {"rows": 1}}']
)
def test_a_damaged_store_file_is_named(tmp_path, content):
    (tmp_path / "store.json").write_text(content)
    with pytest.raises(StoreError, match=r"store\.json cannot be read"):
        open_store(str(tmp_path))


@pytest.mark.parametrize("version", [1, 3])
def test_a_store_of_another_format_is_refused(tmp_path, version):
    (tmp_path / "store.json").write_text(json.dumps({"format_version": version}))
    with pytest.raises(StoreError, match=f"store of format {version}, but this program reads format 2"):
        open_store(str(tmp_path))


def test_a_store_that_another_first_run_made_meanwhile_is_noticed(store):
    check_unchanged(store, None)
    with pytest.raises(StoreError, match=r"another run made store .* with other options"):
        check_unchanged(dataclasses.replace(store, input_root="/elsewhere"), None)
    check_unchanged(dataclasses.replace(store, input_root="/elsewhere"), "/elsewhere")


def test_two_first_runs_of_the_same_options_write_the_same_file(tmp_path):
    for name in "ab":
        open_or_create_store(str(tmp_path / name), "/in", {"block_rows": 7}, "test")
    assert (tmp_path / "a/store.json").read_bytes() == (tmp_path / "b/store.json").read_bytes()


@pytest.mark.parametrize("rule", ["unit_bytes", "block_rows", "block_text_bytes", "file_bytes"])
def test_rules_are_positive(tmp_path, rule):
    with pytest.raises(OptionError, match=f"{rule} must be at least 1, not 0"):
        open_or_create_store(str(tmp_path / "s"), "/in", {rule: 0}, "test")
    assert not (tmp_path / "s").exists()


def table(rows: int = 3) -> pa.Table:
    columns = [[f"i{i}" for i in range(rows)], range(rows), [b"x" * 8] * rows, [1] * rows, [2] * rows, [False] * rows]
    return pa.table([pa.array(c, f.type) for c, f in zip(columns, codes_schema(64))], schema=codes_schema(64))


@pytest.mark.parametrize("rows", [0, 1, 5000])
def test_a_file_is_read_back_as_written(store, rows):
    store.commit("codes/encoder=e", NAME, write_table(table(rows)))
    assert store.read("codes/encoder=e", NAME).equals(table(rows))
    footer = store.open_footer("codes/encoder=e", NAME)
    assert footer.schema.equals(codes_schema(64))
    assert footer.rows == rows


def test_the_files_and_parts_of_a_unit_are_listed_by_their_prefix(store):
    names = [FileName("s", unit, 11, index, 3, 0, index == 1) for unit in (0, 1, 10) for index in (0, 1)]
    for name in (*names, FileName("s-more", 1, 11, 0, 3, 0, True)):
        store.commit("codes/encoder=e", name, write_table(table()))
    part = PartName("s", 1, 11, 4, 3, 0, 99)
    store.commit(parts_folder("e"), part, write_table(table()))
    assert store.unit_files("codes/encoder=e", "s", 1, 11).in_order() == names[2:4]
    assert store.unit_files("codes/encoder=e", "s", 1, 11).complete
    assert not store.unit_files("codes/encoder=e", "s", 2, 11).files
    assert store.unit_parts(parts_folder("e"), "s", 1, 11) == {4: part}


def test_a_damaged_file_is_told_from_a_missing_one(store):
    store.commit("codes/encoder=e", NAME, write_table(table()))
    with open(store.path("codes/encoder=e", str(NAME)), "wb") as file:
        file.write(b"PAR1 half")
    for read in (store.open, store.read, store.open_footer):
        with pytest.raises(DamagedFileError):
            read("codes/encoder=e", NAME)
    store.remove("codes/encoder=e", NAME)
    store.remove("codes/encoder=e", NAME)
    for read in (store.open, store.read, store.open_footer):
        with pytest.raises(FileNotFoundError):
            read("codes/encoder=e", NAME)
    assert not store.has("codes/encoder=e", NAME)


def test_writing_twice_leaves_one_file_and_no_temporary_one(store):
    for _ in range(2):
        store.commit("codes/encoder=e", NAME, write_table(table()))
    assert files.list_names(store.path("codes/encoder=e")) == [str(NAME)]
    assert files.list_names(store.temporary_folder) == []


def test_a_cleaned_up_temporary_folder_does_not_stop_a_writer(store):
    store.commit("codes/encoder=e", NAME, write_table(table()))
    os.rmdir(store.temporary_folder)
    store.commit("codes/encoder=e", dataclasses.replace(NAME, index=1), write_table(table()))
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
    assert (found.size_bytes, found.stamp, found.version) == (3, 1250, 1)
    assert files.match(str(tmp_path / "none*")) == []
    with pytest.raises(FileNotFoundError):
        files.stat(str(tmp_path / "b"))


def test_an_unknown_file_system_is_said():
    with pytest.raises(OSError, match="cannot list nofs://"):
        files.match("nofs://bucket/*")

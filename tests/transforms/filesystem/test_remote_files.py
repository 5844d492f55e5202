"""Files on file systems that are not this machine's: errors, retries, what is read and what counts as another file."""

from __future__ import annotations

import io
import os

import pyarrow as pa
import pytest
from apache_beam.io.aws.clients.s3 import boto3_client
from apache_beam.io.aws.clients.s3.fake_client import FakeFile, FakeS3Client
from apache_beam.options.pipeline_options import PipelineOptions, S3Options

from tests import remote as systems
from transforms.encode import EncodeOptions, _EncodeUnits
from transforms.filesystem import files, remote, shared_s3
from transforms.label import _LabelAndWrite
from transforms.layout import FileName, codes_folder
from transforms.models import HeadName
from transforms.options import CutRules, ReadOptions
from transforms.store import Store
from transforms.tables import DamagedFileError, write_table
from transforms.unit import CodesFile, Unit

SCHEMES = ("objects", "folders", "cloud")


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    """Let the tests' file systems lie in the test's folder."""
    systems.forget_options()
    files.use_options(PipelineOptions(["--remote_root", str(tmp_path)]))
    monkeypatch.setattr(systems.Cloud, "failing", {})
    monkeypatch.setattr(remote, "_RETRY_WAIT_SECONDS", 0.0)
    yield tmp_path
    systems.forget_options()


def fail(what: str, *codes: int) -> None:
    systems.Cloud.failing[what] = list(codes)


def test_a_file_that_a_cloud_has_not_is_not_found():
    with pytest.raises(FileNotFoundError, match="cloud://none"):
        files.open_raw("cloud://none")
    with pytest.raises(FileNotFoundError):
        files.stat("cloud://none")


@pytest.mark.parametrize("code", [401, 403])
def test_what_a_cloud_forbids_is_a_permission_error(code):
    fail("open", code)
    with pytest.raises(PermissionError, match="not allowed"):
        files.read_bytes("cloud://any")


def test_what_else_a_cloud_says_is_an_os_error_that_names_the_file(root):
    (root / "a").write_bytes(b"x")
    fail("exists", 503)
    with pytest.raises(OSError, match=r"cloud://a: CloudError: status 503"):
        files.exists("cloud://a")


def test_an_error_while_reading_is_an_os_error(root):
    (root / "a").write_bytes(b"x")
    with files.open_raw("cloud://a") as file:
        fail("read", 500)
        with pytest.raises(OSError, match="status 500"):
            file.read()


def test_a_write_that_fails_for_a_while_is_tried_again(root):
    fail("create", 503, 500)
    files.commit("cloud://a", b"content", "cloud://tmp")
    assert (root / "a").read_bytes() == b"content"


def test_a_write_that_goes_on_failing_is_an_error(root):
    fail("create", *[503] * 9)
    with pytest.raises(OSError, match="status 503"):
        files.commit("cloud://a", b"content", "cloud://tmp")
    assert len(systems.Cloud.failing["create"]) == 9 - 3


def test_a_write_that_is_forbidden_is_not_tried_again():
    fail("create", 403, 403)
    with pytest.raises(PermissionError):
        files.commit("cloud://a", b"content", "cloud://tmp")
    assert systems.Cloud.failing["create"] == [403]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_file_is_replaced(root, scheme):
    for content in (b"old", b"new"):
        files.commit(f"{scheme}://in/a", content, f"{scheme}://tmp")
    assert (root / "in/a").read_bytes() == b"new"
    assert not list((root / "tmp").glob("*")) or scheme != "folders"


def test_who_commits_a_block_second_leaves_the_first_ones_and_no_temporary_file(root, monkeypatch):
    files.commit("folders://in/a", b"first", "folders://tmp", replace=False)
    monkeypatch.setattr(systems.Folders, "delete", only_temporary(systems.Folders.delete))
    files.commit("folders://in/a", b"second", "folders://tmp", replace=False)
    assert (root / "in/a").read_bytes() == b"first"
    assert not list((root / "tmp").iterdir())


def only_temporary(delete):
    def run(self, paths) -> None:
        assert all(path.endswith(".tmp") for path in paths), "a committed block was removed"
        delete(self, paths)

    return run


def test_two_workers_that_make_a_folder_at_once_both_have_it(root, monkeypatch):
    """HDFS says so by an error of Beam's, others by one of Python's: the folder is there, and that is all that counts."""

    def lose_the_race(self, path: str) -> None:
        if path.endswith("there"):
            (root / "there").mkdir()
        raise FileExistsError(path)

    monkeypatch.setattr(systems.Folders, "mkdirs", lose_the_race)
    remote._make_folder("folders://there")
    with pytest.raises(FileExistsError):
        remote._make_folder("folders://elsewhere")


@pytest.mark.parametrize("pattern", ["s3://bucket/in", "s3://bucket/in/", "s3://bucket/in/*"])
def test_objects_that_show_folders_in_a_console_are_no_files(s3, pattern):
    for name in ("in/", "in/a.txt", "in/below/", "in/below/b.txt"):
        s3.add_file(FakeFile("bucket", name, b"" if name.endswith("/") else b"text\n"))
    assert [found.path for found in files.match(pattern)] == ["s3://bucket/in/a.txt"]
    assert files.list_names("s3://bucket/in") == ["a.txt"]
    assert files.list_folders("s3://bucket/in") == ["below"]


def test_a_stamp_may_be_of_the_content(root, monkeypatch):
    """Where a rule that moves old files to cheaper disks changes their time, nothing must be encoded again."""
    monkeypatch.setattr(remote, "STAMPED_BY_CONTENT", {"objects"})
    (root / "a").write_bytes(b"one")
    before = files.stat("objects://a")
    os.utime(root / "a", (1, 1))
    assert files.stat("objects://a") == before
    assert files.match("objects://*") == [before]
    (root / "a").write_bytes(b"two")
    assert files.stat("objects://a") != before


def test_elsewhere_a_stamp_is_a_time(root):
    (root / "a").write_bytes(b"one")
    os.utime(root / "a", (7, 7))
    assert files.stat("objects://a").stamp == 7000


@pytest.mark.parametrize("scheme", ["objects", "folders"])
def test_no_more_is_fetched_than_a_mebibyte_past_what_is_read(root, monkeypatch, scheme):
    (root / "a").write_bytes(bytes(20 << 20))
    fetched = []

    class Counted(io.FileIO):
        def readinto(self, buffer) -> int:
            fetched.append(found := super().readinto(buffer))
            return found

        def read(self, size: int = -1) -> bytes:
            fetched.append(len(found := super().read(size)))
            return found

    system = {"objects": systems.Objects, "folders": systems.Folders}[scheme]
    opened = lambda self, path, **kinds: io.BufferedReader(Counted(self._local(path)), 16 << 20)  # noqa: E731
    monkeypatch.setattr(system, "open", opened)
    with files.open_raw(f"{scheme}://a") as file:
        file.seek(3 << 20)
        assert file.read(100) == bytes(100)
        assert file.tell() == (3 << 20) + 100
    assert sum(fetched) <= 1 << 20


@pytest.fixture
def s3(monkeypatch):
    """Give the client that Beam's own tests have for S3, behind the file system that takes one client for all."""
    fake, made = FakeS3Client(), []
    monkeypatch.setattr(boto3_client, "Client", lambda options: made.append(options) or fake)
    shared_s3._client.cache_clear()
    files.use_options(PipelineOptions(["--s3_region_name=here"]))
    fake.made = made
    yield fake
    shared_s3._client.cache_clear()


def test_all_calls_to_s3_share_one_client(s3):
    files.commit("s3://bucket/store/a", b"content", "s3://bucket/tmp")
    assert files.exists("s3://bucket/store/a")
    assert not files.exists("s3://bucket/store/b")
    assert files.read_bytes("s3://bucket/store/a") == b"content"
    assert files.list_names("s3://bucket/store") == ["a"]
    found = files.stat("s3://bucket/store/a")
    assert (found.size_bytes, found.stamp % 1000) == (7, 0)
    with pytest.raises(FileNotFoundError):
        files.read_bytes("s3://bucket/store/b")
    with pytest.raises(FileNotFoundError):
        files.stat("s3://bucket/store/b")
    assert len(s3.made) == 1
    assert s3.made[0].view_as(S3Options).s3_region_name == "here"


def test_two_files_on_s3_can_be_read_in_turns(s3):
    texts = {name: name.encode() * (3 << 20) for name in "ab"}
    for name, text in texts.items():
        s3.add_file(FakeFile("bucket", name, text))
    with files.open_raw("s3://bucket/a") as a, files.open_raw("s3://bucket/b") as b:
        for _ in range(4):
            assert a.read(500_000) == b"a" * 500_000
            assert b.read(500_000) == b"b" * 500_000


def test_workers_without_options_say_so():
    files.use_options(None)
    with pytest.raises(OSError, match="option"):
        files.exists("s3://bucket/a")


NAME = FileName("shard", 0, 1, 0, 1, 0, True)
FOLDER = codes_folder("f" * 64)


def store_with_a_file(scheme: str = "cloud") -> Store:
    store = Store(f"{scheme}://store", CutRules(), "", "run")
    store.commit(FOLDER, NAME, write_table(pa.table({"id": ["a"]})))
    return store


@pytest.mark.parametrize(("code", "said"), [(404, "not found"), (503, "status 503"), (403, "not allowed")])
def test_codes_that_cannot_be_read_now_fail_their_unit_and_nobody_is_told_to_delete_them(root, code, said):
    store = store_with_a_file()
    worker = _LabelAndWrite(store, "f" * 64, (HeadName("t", "a" * 64),), with_torch=False)
    fail("open", code)
    worker.process(CodesFile(NAME, ("t",)))
    (failure,) = store.failures()
    assert said in failure["reason"]
    assert "delete" not in failure["reason"]


def test_damaged_codes_fail_their_unit_and_the_message_says_what_to_do(root):
    store = store_with_a_file("folders")
    (root / "store" / FOLDER / str(NAME)).write_bytes(b"PAR1 half")
    worker = _LabelAndWrite(store, "f" * 64, (HeadName("t", "a" * 64),), with_torch=False)
    worker.process(CodesFile(NAME, ("t",)))
    (failure,) = store.failures()
    assert f"{FOLDER}/{NAME} is damaged" in failure["reason"]
    assert "delete it; annotate recreates it" in failure["reason"]


def test_a_whole_file_is_read_in_pieces_of_a_mebibyte(root, monkeypatch):
    (root / "a").write_bytes(bytes(3 << 20))
    calls = []
    read = systems._Failing.read
    monkeypatch.setattr(systems._Failing, "read", lambda self, size=-1: calls.append(size) or read(self, size))
    assert files.read_bytes("cloud://a") == bytes(3 << 20)
    assert len(calls) <= 4


def test_a_temporary_file_that_broke_off_does_not_stand_in_the_way(root, monkeypatch):
    create, failed = systems.Folders.create, []

    def breaks_off(self, path, *more, **kinds):
        file = create(self, path)
        if not failed:
            failed.append(path)
            file.write(b"half")
            file.close()
            raise ConnectionError("reset")
        return file

    monkeypatch.setattr(systems.Folders, "create", breaks_off)
    files.commit("folders://in/a", b"content", "folders://tmp")
    assert (root / "in/a").read_bytes() == b"content"


def test_a_store_that_cannot_be_listed_now_fails_the_unit(root, monkeypatch):
    worker = _EncodeUnits(store_with_a_file(), ReadOptions(), "f" * 64, EncodeOptions())
    worker.loads = 0
    monkeypatch.setattr(systems.Cloud, "match", lambda *_: (_ for _ in ()).throw(systems.CloudError(503)))
    assert list(worker.process(Unit("shard", 0, 1, ()))) == []
    monkeypatch.undo()
    assert (root / "store/runs/run/failures/shard.00000.encode.json").exists()
    assert (root / "store" / FOLDER / str(NAME)).exists()


@pytest.mark.parametrize("content", [b"", b"PAR1 half", b"PAR1" + b"\xff" * 60 + b"\x30\x00\x00\x00PAR1"])
def test_a_footer_that_is_none_is_damage_and_one_that_cannot_be_read_is_not(root, content):
    store = store_with_a_file()
    (root / "store" / FOLDER / str(NAME)).write_bytes(content)
    with pytest.raises(DamagedFileError):
        store.open_footer(FOLDER, NAME)
    with pytest.raises(DamagedFileError):
        store.read(FOLDER, NAME)
    fail("read", 503, 503)
    with pytest.raises(OSError, match="status 503"):
        store.open_footer(FOLDER, NAME)

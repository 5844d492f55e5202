"""Corpus and store on file systems that are not this machine's: an object store, and one with folders as HDFS has."""

from __future__ import annotations

import pytest

from pipelines import annotate, cli, status, verify
from pipelines.options import OptionError
from tests import remote
from tests.conftest import write_corpus

SCHEMES = ("objects", "folders")


@pytest.fixture(autouse=True)
def new_process():
    remote.forget_options()
    yield
    remote.forget_options()


@pytest.fixture
def call(tmp_path, tiny_bundle, tiny_heads):
    """Give a function that runs a command on `SCHEME://in` and `SCHEME://store`, which lie in the test's folder."""

    def run(scheme: str, command: str, *more: str):
        remote.forget_options()
        arguments = ["--store", f"{scheme}://store", *more, "--remote_root", str(tmp_path)]
        if command in ("annotate", "encode"):
            arguments += ["--input", f"{scheme}://in/*"]
        if command in ("annotate", "encode", "label"):
            arguments += ["--encoder", str(tiny_bundle), "--no_progress"]
        if command in ("annotate", "label"):
            arguments += ["--heads", *map(str, tiny_heads.values())]
        programs = {"annotate": annotate.run, "encode": annotate.run_encode, "label": annotate.run_label}
        return (programs | {"status": status.run, "verify": verify.run})[command](arguments)

    return run


def content(folder) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for kind in ("codes", "labels", "rejects")
        for path in (folder / kind).rglob("*.parquet")
    }


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_remote_store_is_made_gone_on_with_and_read_as_a_local_one(tmp_path, call, annotate_tiny, scheme):
    write_corpus(tmp_path / "in")
    (tmp_path / "in" / "odd[1].txt").write_text("a file whose name is a pattern\n")
    (tmp_path / "in" / "below").mkdir()  # a folder between the shards
    (tmp_path / "in" / "below" / "more.txt").write_text("not matched\n")
    first = call(scheme, "encode")
    assert (first.exit_code, first.documents) == (0, 321)
    assert call(scheme, "label").labelled == {"mood": 321, "themes": 321, "stars": 321}
    again = call(scheme, "annotate")
    assert (again.exit_code, again.documents, again.labelled) == (0, 0, {})
    codes, *labels = call(scheme, "status")
    assert (codes.documents, codes.incomplete, codes.stale) == (321, 0, ())
    assert [found.documents for found in labels] == [321] * 3
    found = call(scheme, "verify", "--input", f"{scheme}://in/*")
    assert (found.documents, found.problems) == (321, ())
    annotate_tiny(store=tmp_path / "quiet")
    ours, local = content(tmp_path / "store"), content(tmp_path / "quiet")
    assert len(ours) == len(
        local
    )  # ids and names hold the scheme or hold when a file was written, so no more than this


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_folder_stands_for_the_shards_in_it(tmp_path, call, scheme):
    write_corpus(tmp_path / "in")
    (tmp_path / "in" / "below").mkdir()
    for pattern in (f"{scheme}://in", f"{scheme}://in/"):
        found = call(scheme, "encode", "--dry_run", "--input", pattern)
        assert found.plan["shards"] == len([path for path in (tmp_path / "in").iterdir() if path.is_file()])


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_remote_block_is_replaced(tmp_path, call, scheme):
    write_corpus(tmp_path / "in")
    call(scheme, "annotate")
    whole = content(tmp_path / "store")
    codes = sorted(name for name in whole if name.startswith("codes") and ".end." in name)
    (tmp_path / "store" / codes[0]).unlink()
    (tmp_path / "store" / codes[1]).write_bytes(b"")
    found = call(scheme, "verify")
    assert any(
        "cannot be read" in problem and "delete it, and annotate makes it again" in problem
        for problem in found.problems
    )
    (tmp_path / "store" / codes[1]).unlink()
    call(scheme, "annotate")
    assert content(tmp_path / "store") == whole


@pytest.mark.parametrize("command", ["annotate", "encode", "label", "status", "verify"])
def test_what_a_file_system_says_is_one_line(tmp_path, capsys, command, tiny_bundle):
    inputs = ["--input", "objects://in/*"] if command in ("annotate", "encode") else []
    assert cli.main([command, "--store", "nowhere://store", *inputs]) == 2
    said = capsys.readouterr().err
    assert "error: store nowhere://store cannot be used" in said
    assert "Traceback" not in said


@pytest.mark.parametrize("command", [status.run, verify.run])
def test_a_mistyped_option_of_status_and_verify_is_said(tmp_path, command):
    with pytest.raises(OptionError, match="unknown option '--inptu'; did you mean --input"):
        command(["--store", str(tmp_path), "--inptu", "x"])

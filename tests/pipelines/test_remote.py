"""Corpus and store on file systems that are not this machine's: an object store, and one with folders as HDFS has."""

from __future__ import annotations

import pytest

from pipelines import annotate, status, verify
from pipelines.command_line import cli
from pipelines.command_line.options import OptionError
from tests import remote
from tests.conftest import write_corpus
from transforms.store import StoreError

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
        if command in ("annotate", "encode") and "--input" not in more:
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
        "cannot be read" in problem and "delete it; annotate recreates it" in problem for problem in found.problems
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


@pytest.mark.parametrize(
    ("command", "mistyped", "said"),
    [
        (verify.run, "--inptu", "did you mean --input"),
        (status.run, "--inpt_root", "did you mean --input_root"),
        (status.run, "--heads", "encode-once status --help lists ours"),
        (annotate.run_label, "--input", "encode-once label --help lists ours"),
    ],
)
@pytest.mark.parametrize("runner", [[], ["--runner", "FlinkRunner"]])
def test_an_option_that_a_command_has_not_is_said(tmp_path, command, mistyped, said, runner):
    with pytest.raises(OptionError, match=f"unknown option '{mistyped}'; {said}"):
        command(["--store", str(tmp_path), mistyped, "x", *runner])


def test_a_local_store_may_hold_codes_of_remote_shards(tmp_path, call, tiny_bundle):
    write_corpus(tmp_path / "in", rows=5)
    store, root = str(tmp_path / "local"), ["--remote_root", str(tmp_path)]
    arguments = ["--store", store, "--encoder", str(tiny_bundle), "--no_progress", *root]
    annotate.run_encode([*arguments, "--input", "objects://in/*"])
    remote.forget_options()
    (codes,) = status.run(["--store", store, *root])
    assert codes.stale == ()
    remote.forget_options()
    assert verify.run(["--store", store, "--input", "objects://in/*", *root]).problems == ()


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_remote_store_whose_path_is_a_pattern_is_refused(tmp_path, scheme):
    with pytest.raises(StoreError, match=r"takes \*, \? and \[ in its path for a pattern"):
        status.run(["--store", f"{scheme}://st[1]", "--remote_root", str(tmp_path)])


@pytest.mark.parametrize("scheme", SCHEMES)
def test_one_shard_may_be_named_though_its_name_is_a_pattern(tmp_path, call, scheme):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "odd[1].txt").write_text("one\n")
    remote.forget_options()
    assert call(scheme, "encode", "--input", f"{scheme}://in/odd[1].txt").documents == 1

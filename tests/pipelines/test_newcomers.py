"""What people type, pipe and feed in that nobody planned: each gets what it meant, or one line that says what is wrong."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines import annotate, status
from pipelines.command_line import cli
from pipelines.command_line.options import OptionError, annotate_parser, parse_annotate
from pipelines.models import train_head
from pipelines.models.labelled import DataError, check_classes, read_labelled, read_texts
from pipelines.models.options import parse_train_head
from pipelines.running.beam_options import check_options, is_local
from transforms.filesystem import files
from transforms.match import InputError

TRAIN = ["--name", "t", "--train", "a.csv", "--validation", "b.csv", "--output", "out"]


def test_a_list_that_is_given_twice_is_both():
    options = parse_annotate(
        ["--store", "s", "--input", "a", "b", "--input", "c", "--heads", "x", "--heads", "y"], "annotate"
    )
    assert options.input == ("a", "b", "c")
    assert options.heads == ("x", "y")


def test_one_value_that_is_given_twice_is_the_last():
    assert parse_annotate(["--store", "s", "--store", "t", "--input", "a"], "annotate").store.endswith("/t")


def test_a_home_is_resolved_where_the_shell_does_not(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    options = parse_train_head([*TRAIN, "--output=~/head", "--test=~/t.csv"])
    assert (options.output, options.test) == ("/home/me/head", "/home/me/t.csv")


@pytest.mark.parametrize("option", ["--output", "--train"])
def test_a_path_on_another_machine_is_refused_where_it_cannot_be_used(capsys, option):
    with pytest.raises(SystemExit, match="2"):
        parse_train_head([*TRAIN, option, "gs://bucket/x"])
    assert "gs://bucket/x is not on this machine" in capsys.readouterr().err


def test_a_mistyped_option_of_training_is_answered_in_one_line(capsys):
    with pytest.raises(SystemExit, match="2"):
        parse_train_head([*TRAIN, "--label-field", "y"])
    assert capsys.readouterr().err.splitlines() == [
        "encode-once train-head: error: unknown option '--label-field'; did you mean --label_field?"
    ]


@pytest.mark.parametrize("runner", ["DirectRunner", "direct", "Direct", "apache_beam.runners.direct.DirectRunner"])
def test_a_runner_has_one_name_however_it_is_written(runner):
    from apache_beam.options.pipeline_options import PipelineOptions

    assert is_local(PipelineOptions([f"--runner={runner}"]))
    with pytest.raises(OptionError, match="unknown option '--limit'"):
        check_options(["--runner", runner, "--limit", "3"], annotate_parser("annotate"))


def test_a_shard_that_follows_another_option_is_not_lost():
    with pytest.raises(OptionError, match=r"unknown argument 'extra\.txt'; shards follow --input directly"):
        check_options(["extra.txt", "--runner", "FlinkRunner"], annotate_parser("annotate"))


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be"])
def test_a_shard_in_utf_16_fails_instead_of_being_encoded(annotate_tiny, tmp_path, encoding):
    (tmp_path / "in").mkdir()
    mark = "" if encoding == "utf-16" else "\ufeff"
    (tmp_path / "in" / "a.txt").write_bytes((mark + "Вот текст\nи ещё\n").encode(encoding))
    (tmp_path / "in" / "b.txt").write_text("good\n")
    summary = annotate_tiny(heads=[])
    assert (summary.exit_code, summary.documents) == (3, 1)
    assert "UTF-16" in summary.failures[0]["reason"]
    with pytest.raises(DataError, match="UTF-16"):
        read_texts(str(tmp_path / "in" / "a.txt"), "text")


@pytest.mark.parametrize(
    "content", ['[\n {"text": "a"},\n {"text": "b"}\n]\n', '[{"text": "a"}, {"text": "b"}]\n', ' [{"text": "a"},\n']
)
def test_a_json_array_fails_instead_of_being_rejected_line_by_line(annotate_tiny, tmp_path, content):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.json").write_text(content)
    summary = annotate_tiny(heads=[])
    assert (summary.exit_code, summary.documents, summary.rejected) == (3, 0, {})
    assert "JSON array" in summary.failures[0]["reason"]
    if content.count("\n") > 1:
        (tmp_path / "a.jsonl").write_text(content)
        with pytest.raises(DataError, match="JSON array"):
            read_texts(str(tmp_path / "a.jsonl"), "text")


def test_a_row_that_is_an_array_is_a_reject(annotate_tiny, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jsonl").write_text('[1, 2]\n{"text": "good"}\n')
    summary = annotate_tiny("--max_reject_share", "1", heads=[])
    assert (summary.documents, summary.rejected) == (1, {"malformed_json": 1})


def test_folders_that_are_not_read_are_reported(annotate_tiny, tmp_path, caplog):
    (tmp_path / "in" / "sub").mkdir(parents=True)
    (tmp_path / "in" / "a.txt").write_text("good\n")
    (tmp_path / "in" / "sub" / "b.txt").write_text("bad\n")
    assert annotate_tiny(heads=[]).documents == 1
    assert "1 folders are not read" in caplog.text
    assert annotate_tiny(heads=[], input=f"{tmp_path}/in/**").documents == 1


@pytest.mark.parametrize("name", ["changes", "notice", "old.tmp"])
def test_a_folder_with_the_name_of_documentation_is_reported_like_any_other(annotate_tiny, tmp_path, caplog, name):
    (tmp_path / "in" / name).mkdir(parents=True)
    (tmp_path / "in" / name / "b.txt").write_text("good\n")
    (tmp_path / "in" / "_hidden").mkdir()
    with pytest.raises(InputError, match="matches no file"):
        annotate_tiny(heads=[])
    assert f"1 folders are not read; the first is {tmp_path}/in/{name};" in caplog.text
    assert annotate_tiny(heads=[], input=f"{tmp_path}/in/**").documents == 1


def test_another_root_that_makes_everything_new_is_told(annotate_tiny, tmp_path, caplog):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.txt").write_text("good\n")
    annotate_tiny(heads=[])
    assert "--input_root" not in caplog.text
    summary = annotate_tiny("--input_root", str(tmp_path), heads=[])
    assert (summary.documents, summary.recognised) == (0, 1)
    (tmp_path / "in" / "a.txt").write_text("another text\n")
    annotate_tiny("--input_root", str(tmp_path), heads=[])
    assert "--input_root" not in caplog.text
    (tmp_path / "in" / "a.txt").rename(tmp_path / "in" / "b.txt")
    (tmp_path / "in" / "b.txt").write_text("a third text\n")
    annotate_tiny("--input_root", str(tmp_path), heads=[])
    assert f"--input_root is {tmp_path}, the store was made with {tmp_path}/in, and no shard is known" in caplog.text


def test_options_that_rejected_all_rows_put_nothing_in_twice(annotate_tiny, tmp_path, caplog):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jsonl").write_text('{"body": "good"}\n')
    annotate_tiny("--max_reject_share", "1", heads=[])
    annotate_tiny("--text_field", "body", heads=[])
    assert "twice" not in caplog.text


def test_labels_are_stripped_and_lists_that_python_printed_are_refused(tmp_path):
    (tmp_path / "a.csv").write_text("text,label\nx, good\ny,good\nz,\"['a', 'b']\"\n")
    assert read_labelled(str(tmp_path / "a.csv"), "text", "label", "single")[1][:2] == ["good", "good"]
    with pytest.raises(DataError, match=r"row 2: .* is not a label of kind multi"):
        read_labelled(str(tmp_path / "a.csv"), "text", "label", "multi")
    with pytest.raises(DataError, match="cannot be both text and label"):
        read_labelled(str(tmp_path / "a.csv"), "text", "text", "single")


@pytest.mark.parametrize(("classes", "told"), [(40, True), (10, False)])
def test_a_class_a_row_is_told(caplog, classes, told):
    rows = (["x"] * 40, [str(i % classes) for i in range(40)])
    check_classes({"train": rows, "validation": rows}, "single")
    assert ("is --label_field another field" in caplog.text) == told


def shell(command: str, **environment: str) -> subprocess.CompletedProcess:
    script = command.replace("eo", f"{sys.executable} -m encode_once")
    return subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, env={"PATH": "/usr/bin:/bin", **environment}
    )


@pytest.mark.parametrize("arguments", ["", "--version", "annotate --help"])
def test_a_reader_that_leaves_is_no_error(arguments):
    found = shell(f"eo {arguments} | true; exit ${{PIPESTATUS[0]}}")
    assert found.stderr == ""
    assert found.returncode in (0, 2, 141)  # it may be done before the reader has left


@pytest.mark.parametrize("arguments", ["annotate --help", "zero-shot-head --help", "--help"])
def test_help_is_for_every_terminal(arguments):
    found = shell(f"eo {arguments}", PYTHONIOENCODING="ascii")
    assert (found.returncode, found.stderr) == (0, "")
    assert "\\u" not in found.stdout


def test_only_what_goes_on_says_so(capsys):
    def stop():
        raise KeyboardInterrupt

    assert cli.guard(stop, "train-head", "train-head") == 130
    assert capsys.readouterr().err == "train-head: interrupted\n"
    cli.guard(stop, "annotate", "annotate")
    assert "the same command continues from there" in capsys.readouterr().err


def test_a_full_disk_is_one_line_and_leaves_no_temporary_files(annotate_tiny, tmp_path, monkeypatch, capsys):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.txt").write_text("good\n")
    real, full = files._write, []

    def write(path, content, sync):
        if bytes(content[:4]) == b"PAR1" or full:  # from the first block on
            full.append(path)
            with open(path, "wb") as file:
                file.write(content[:10])
            raise OSError(errno.ENOSPC, "No space left on device", path)
        real(path, content, sync)

    monkeypatch.setattr(files, "_write", write)
    assert cli.guard(lambda: annotate_tiny(heads=[]), "annotate", "annotate") == 2
    said = capsys.readouterr().err
    assert "annotate: error: the store cannot be written: No space left on device; finished work is kept" in said
    assert len(full) > 1
    assert not list((tmp_path / "store" / "runs").glob("*/tmp/*"))


def test_a_head_may_be_put_where_no_folder_can_be_renamed(tmp_path, tiny_heads, monkeypatch):
    """A mount point, or a folder whose parent may not be written to."""
    from pathlib import Path

    import heads

    head = heads.load(str(tiny_heads["mood"]))
    (tmp_path / "out").mkdir()
    real = Path.rename

    def rename(self, target):
        if self == tmp_path / "out":
            raise OSError(errno.EBUSY, "Device or resource busy")
        return real(self, target)

    monkeypatch.setattr(Path, "rename", rename)
    for _ in range(2):
        head.save(tmp_path / "out")
        assert heads.load(str(tmp_path / "out")).fingerprint == head.fingerprint
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["head.json", "weights.safetensors"]
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".out")] == []


def test_one_file_may_not_be_train_and_validation(tmp_path, capsys):
    rows = [json.dumps({"text": f"t{i}", "label": str(i % 2)}) for i in range(30)]
    (tmp_path / "a.jsonl").write_text("\n".join(rows))
    same = str(tmp_path / "a.jsonl")
    arguments = ["--name", "t", "--train", same, "--validation", same, "--output", str(tmp_path / "out")]
    with pytest.raises(OptionError, match="--train and --validation are one file"):
        train_head.run(arguments)
    (tmp_path / "b.jsonl").write_text("\n".join(rows))
    arguments[5] = str(tmp_path / "b.jsonl")
    with pytest.raises(OptionError, match="--validation and --test are one file"):
        train_head.run([*arguments, "--test", arguments[5]])
    assert not (tmp_path / "out").exists()


def test_what_takes_long_says_what_it_does(tasks, tiny_bundle, tmp_path, capsys):
    folder = tasks / "held"
    files_ = [part for split in ("train", "validation") for part in (f"--{split}", str(folder / f"{split}.parquet"))]
    train_head.run(["--name", "held", *files_, "--encoder", str(tiny_bundle), "--output", str(tmp_path / "head")])
    assert capsys.readouterr().err.startswith("encoding ")


def test_workers_elsewhere_must_find_the_base_model_too(tmp_path, tiny_bundle, caplog, monkeypatch):
    """A folder is only here; that is told before a job is sent."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.txt").write_text("good\n")
    monkeypatch.setattr(annotate, "is_local", lambda options: False)
    annotate.run_encode(
        ["--input", f"{tmp_path}/in", "--store", f"{tmp_path}/s", "--encoder", str(tiny_bundle), "--no_progress"]
    )
    assert "every worker needs the base model at the same path as here" in caplog.text


def test_a_shard_whose_name_is_no_utf_8_is_not_gone(annotate_tiny, tmp_path):
    (tmp_path / "in").mkdir()
    with open(os.fsencode(tmp_path / "in") + b"/caf\xe9.txt", "w") as file:
        file.write("good\n")
    assert annotate_tiny(heads=[]).documents == 1
    assert status.run(["--store", str(tmp_path / "store")])[0].stale == ()
    os.unlink(os.fsencode(tmp_path / "in") + b"/caf\xe9.txt")
    assert len(status.run(["--store", str(tmp_path / "store")])[0].stale) == 1


def test_every_unit_of_a_shard_in_utf_16_fails(annotate_tiny, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.txt").write_bytes("good film\n".encode("utf-16") * 100)
    summary = annotate_tiny("--unit_bytes", "500", heads=[])
    assert summary.documents == 0
    assert len(summary.failures) == summary.plan["units"] > 2


def test_the_store_and_hidden_folders_are_no_folders_of_shards(annotate_tiny, tmp_path, caplog):
    (tmp_path / "in" / ".git").mkdir(parents=True)
    (tmp_path / "in" / "a.txt").write_text("good\n")
    for _ in range(2):
        annotate_tiny(heads=[], store=tmp_path / "in" / "store")
    assert "not looked into" not in caplog.text


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [("heads.HeadError('the reason')", 2, "error: the reason"), ("KeyError('x')", 1, "KeyError")],
)
def test_what_went_wrong_is_said_though_the_reader_has_left(error, code, said):
    program = "import sys, heads; from pipelines.command_line.cli import guard; sys.exit(guard(f, 'x'))"
    program = f"def f():\n    print('some')\n    import time; time.sleep(0.3)\n    raise {error}\n{program}"
    found = subprocess.run(
        ["bash", "-c", f'{sys.executable} -c "$0" | true; exit ${{PIPESTATUS[0]}}', program],
        capture_output=True,
        text=True,
        env={"PATH": "/usr/bin:/bin"},  # buffered, as usual
    )
    assert (found.returncode, said in found.stderr) == (code, True), found.stderr


def test_a_closed_output_is_no_error():
    found = shell("eo --version >&-")
    assert (found.returncode, found.stderr) == (0, "")


def test_a_folder_named_as_a_bundled_head_may_be_given_as_a_path(tmp_path, monkeypatch, tiny_heads):
    import heads

    monkeypatch.chdir(tmp_path)
    heads.load(str(tiny_heads["mood"])).save(tmp_path / heads.bundled()[0])
    assert heads.load(Path(heads.bundled()[0])).task == "mood"

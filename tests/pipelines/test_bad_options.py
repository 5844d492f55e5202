"""What a wrong command gets: one clear line and exit 2, before anything is done."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys

import pytest

from pipelines import annotate
from pipelines.command_line import cli


def run_cli(capsys, *arguments: str) -> tuple[int, str]:
    code = cli.main(["annotate", *arguments, "--no_progress"])
    return code, capsys.readouterr().err.strip()


@pytest.fixture
def no_model(monkeypatch):
    """Fail where a model is loaded."""
    for load in ("encoder.forward.load.load_model", "encoder.forward.transformer.load"):
        monkeypatch.setattr(load, lambda *a: pytest.fail("a model was loaded"))


@pytest.fixture
def one_text(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.txt").write_text("good film\n")
    return str(tmp_path / "in")


def test_a_pattern_that_matches_nothing(capsys, tmp_path, no_model, tiny_bundle):
    code, said = run_cli(
        capsys, "--input", f"{tmp_path}/no*", "--store", f"{tmp_path}/s", "--encoder", str(tiny_bundle)
    )
    assert code == 2
    assert said == f"encode-once annotate: error: --input {tmp_path}/no* matches no file"
    assert not (tmp_path / "s").exists()


def test_input_that_may_not_be_read(capsys, tmp_path, no_model, one_text, tiny_bundle, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root, as which tests may run, may read everything
    code, said = run_cli(capsys, "--input", one_text, "--store", f"{tmp_path}/s", "--encoder", str(tiny_bundle))
    assert code == 2
    assert "permission denied" in said


def test_a_store_that_cannot_be_written(capsys, tmp_path, no_model, one_text, tiny_bundle):
    (tmp_path / "file").write_text("")
    code, said = run_cli(capsys, "--input", one_text, "--store", f"{tmp_path}/file/s", "--encoder", str(tiny_bundle))
    assert code == 2
    assert "cannot be written" in said
    assert "\n" not in said


def test_a_folder_that_is_no_store_is_left_alone(capsys, tmp_path, no_model, one_text, tiny_bundle):
    code, said = run_cli(capsys, "--input", one_text, "--store", one_text, "--encoder", str(tiny_bundle))
    assert code == 2
    assert "holds other files and is not a store" in said
    assert os.listdir(one_text) == ["a.txt"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--heads", "moood"], "unknown head 'moood'"),
        (["--encoder", "/no/such/bundle"], "is not a model"),
        (
            ["--encoder", "default", "--heads", "sentiment", "none"],
            "--heads takes heads or none, not both: sentiment none",
        ),
        (["--max_reject_share", "2"], "--max_reject_share must be at least 0 and at most 1, not 2.0"),
        (["--block_rows", "0"], "--block_rows must be at least 1, not 0"),
        (["--runnner", "FlinkRunner"], "unknown option '--runnner'; encode-once annotate --help lists ours"),
        (["--text_feild", "body"], "unknown option '--text_feild'; did you mean --text_field?"),
        (["--text_feild=body", "--runner", "FlinkRunner"], "unknown option '--text_feild'; did you mean --text_field?"),
        (["--text_feild=body", "--runner", "DataflowRunner"], "did you mean --text_field?"),
        (
            ["--no_such", "--runner=apache_beam.runners.DataflowRunner"],
            "unknown option '--no_such'; encode-once annotate --help lists ours",
        ),
        (["--id_field", "text"], "name two different fields"),
        (["--input", ""], "--input is empty"),
        (["--input_root", " "], "--input_root is empty"),
        (["--direct_num_workers", "two"], "--direct_num_workers: invalid int value: 'two' (an option of Beam's)"),
        (["--runner"], "argument --runner: expected one argument"),
        (["--runner", "NoSuch"], "--runner: Unexpected pipeline runner: NoSuch"),
        (["--dry_run=True"], "--dry_run takes no value; with one it is an option of Dataflow's"),
    ],
)
def test_what_the_user_got_wrong_is_said_in_one_line(capsys, tmp_path, no_model, one_text, arguments, message):
    code, said = run_cli(capsys, "--input", one_text, "--store", f"{tmp_path}/s", *arguments)
    assert code == 2
    assert message in said.splitlines()[-1]
    assert not (tmp_path / "s").exists()


def test_a_runner_that_lacks_an_option_is_said_before_the_run_begins(capsys, tmp_path, no_model, one_text, tiny_bundle):
    arguments = ["--input", one_text, "--store", f"{tmp_path}/s", "--encoder", str(tiny_bundle), "--heads", "none"]
    lacking = ["--runner", "PortableRunner", "--environment_type", "PROCESS"]
    code, said = run_cli(capsys, *arguments, *lacking)
    assert code == 2
    assert "process_command is required" in said
    assert sorted(os.listdir(tmp_path / "s")) == ["runs", "store.json"]
    assert os.listdir(tmp_path / "s" / "runs") == []
    code, _ = run_cli(capsys, *arguments, *lacking, "--dry_run", "--no_measure")
    assert code == 0  # a plan asks no runner for anything


@pytest.mark.parametrize(
    "command",
    [
        ["train-head", "--name", "m", "--validation", "v", "--output", "o", "--train", ""],
        ["train-head", "--name", "m", "--train", "t", "--validation", "v", "--output", "o", "--test", ""],
        ["train-encoder", "--output", "o", "--tasks", "t", ""],
        ["make-encoder", "--calibrate", "c", "--output", ""],
        ["zero-shot-head", "--labels", "a,b", "--task", "m", "--output", "o", "--test", ""],
        ["status", "--store", "s", "--input_root", ""],
        ["verify", "--store", "s", "--input_root", ""],
    ],
)
def test_an_empty_path_is_no_path(capsys, tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    assert cli.main(command) == 2
    assert "is empty; is a shell variable unset?" in capsys.readouterr().err
    assert os.listdir(tmp_path) == []


def test_an_empty_store_is_not_the_working_directory(capsys, tmp_path, one_text, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for command in (["annotate", "--input", one_text], ["label"], ["status"], ["verify"]):
        assert cli.main([*command, "--store", ""]) == 2
        assert "--store is empty" in capsys.readouterr().err
    assert os.listdir(tmp_path) == ["in"]


def test_an_archive_is_not_encoded_line_by_line(capsys, tmp_path, no_model, one_text, tiny_bundle):
    for name in ("b.zip", "c.tar.gz"):
        (tmp_path / "in" / name).write_bytes(b"PK")
        code, said = run_cli(capsys, "--input", one_text, "--store", f"{tmp_path}/s", "--encoder", str(tiny_bundle))
        assert code == 2
        assert f"{name} is not text" in said
        (tmp_path / "in" / name).unlink()


def test_all_heads_may_stand_beside_others(tmp_path):
    import heads
    from pipelines import prepare
    from pipelines.command_line.options import AnnotateOptions

    mine = heads.load("sentiment")
    dataclasses.replace(mine, task="mine").save(tmp_path / "mine")
    bundle = prepare.find_encoder("default", str(tmp_path))

    def tasks(*names: str) -> list[str]:
        return [head.task for head in prepare.find_heads(AnnotateOptions(str(tmp_path), heads=names), bundle)]

    assert tasks("all", str(tmp_path / "mine")) == [*heads.bundled(), "mine"]
    assert sorted(tasks("all", "sentiment")) == heads.bundled()
    mine.save(tmp_path / "other")
    with pytest.raises(heads.HeadError, match="two heads are for task 'sentiment'"):
        tasks("all", str(tmp_path / "other"))


def test_dry_run_with_a_value_is_the_runners():
    from pipelines.command_line.options import annotate_parser, parse_annotate
    from pipelines.running.beam_options import check_options

    given = ["--input", "a", "--store", "s"]
    assert parse_annotate([*given, "--dry_run"], "annotate").dry_run
    options = parse_annotate([*given, "--dry_run=True", "--runner=DataflowRunner"], "annotate")
    assert (options.dry_run, options.beam_args) == (False, ("--runner=DataflowRunner", "--dry_run=True"))
    check_options(options.beam_args, annotate_parser("annotate"))


def test_a_job_server_may_know_options_that_beam_does_not():
    from pipelines.command_line.options import annotate_parser
    from pipelines.running.beam_options import beam_pipeline_options, check_options, is_local

    arguments = ["--runner", "FlinkRunner", "--flink_only_java_knows", "3"]
    check_options(arguments, annotate_parser("annotate"))
    options = beam_pipeline_options(arguments)
    assert options.display_data()["runner"] == "FlinkRunner"
    assert not is_local(options)
    assert is_local(beam_pipeline_options([]))


def test_a_store_of_a_newer_format(capsys, tmp_path, no_model, one_text, tiny_bundle):
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "store.json").write_text(json.dumps({"format_version": 99}))
    code, said = run_cli(capsys, "--input", one_text, "--store", f"{tmp_path}/s", "--encoder", str(tiny_bundle))
    assert code == 2
    assert "is a store of format 99, but this program reads format 2" in said


def test_other_cutting_rules_than_the_stores(capsys, annotate_tiny, tmp_path, one_text, tiny_bundle):
    annotate_tiny(heads=[])
    store = f"{tmp_path}/store"
    code, said = run_cli(
        capsys, "--input", one_text, "--store", store, "--encoder", str(tiny_bundle), "--block_rows", "7"
    )
    assert code == 2
    assert "--block_rows 7 differs from the 4096 that store" in said


def test_an_input_root_above_no_shard_is_refused(capsys, tmp_path, one_text, tiny_bundle):
    arguments = ["--input", one_text, "--store", f"{tmp_path}/s", "--encoder", str(tiny_bundle)]
    code, said = run_cli(capsys, *arguments, "--input_root", f"{tmp_path}/elsewhere")
    assert code == 2
    assert f"no shard lies below --input_root {tmp_path}/elsewhere" in said


@pytest.mark.parametrize("content", ["{", "[]", '{"format_version": 2}', b"\xff\xfe{"])
def test_a_damaged_store_file_is_said_in_one_line(capsys, tmp_path, one_text, tiny_bundle, content):
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "store.json").write_bytes(content if isinstance(content, bytes) else content.encode())
    code, said = run_cli(capsys, "--input", one_text, "--store", f"{tmp_path}/s", "--encoder", str(tiny_bundle))
    assert code == 2
    assert "store.json cannot be read" in said


def test_a_store_that_became_unwritable(capsys, annotate_tiny, tmp_path, one_text, tiny_bundle):
    annotate_tiny(heads=[])
    import shutil

    shutil.rmtree(tmp_path / "store" / "runs")
    (tmp_path / "store" / "runs").write_text("in the way")
    (tmp_path / "in" / "b.txt").write_text("bad\n")
    code, said = run_cli(capsys, "--input", one_text, "--store", f"{tmp_path}/store", "--encoder", str(tiny_bundle))
    assert code == 2
    assert "cannot be written" in said


def test_a_store_on_a_file_system_that_is_not_installed(capsys, tmp_path, one_text, tiny_bundle):
    code, said = run_cli(capsys, "--input", one_text, "--store", "nofs://bucket/store", "--encoder", str(tiny_bundle))
    assert code == 2
    assert "nofs://bucket/store" in said


def test_an_unknown_device_is_said_before_a_model_is_loaded(capsys, tmp_path, no_model, one_text, tiny_bundle):
    arguments = ["--input", one_text, "--store", f"{tmp_path}/s", "--encoder", str(tiny_bundle), "--heads", "none"]
    code, said = run_cli(capsys, *arguments, "--device", "gpu")
    assert code == 2
    assert "choose from auto, cpu, cuda, cuda:N, mps" in said


def test_interrupting_says_that_the_same_command_goes_on(capsys, monkeypatch):
    def interrupted(argv):
        raise KeyboardInterrupt

    monkeypatch.setattr(annotate, "run", interrupted)
    code, said = run_cli(capsys)
    assert code == 130
    assert "the same command continues from there" in said


def test_an_unexpected_error_is_not_hidden(monkeypatch):
    def broken(argv):
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr(annotate, "run", broken)
    with pytest.raises(RuntimeError, match="a fault of ours"):
        cli.main(["annotate"])


def test_a_one_line_error_has_no_traceback_in_a_real_shell(tmp_path):
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pipelines.command_line.cli",
            "annotate",
            "--input",
            f"{tmp_path}/*",
            "--store",
            f"{tmp_path}/s",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.strip().splitlines() == [f"encode-once annotate: error: --input {tmp_path}/* matches no file"]
    assert done.stdout == ""

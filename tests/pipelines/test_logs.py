"""`--log_format json`: every line on stderr is a JSON object."""

from __future__ import annotations

import datetime
import json
import logging
import subprocess
import sys
import warnings

import pytest

from pipelines.command_line import cli, logs


@pytest.fixture(autouse=True)
def restore():
    """Put logging back as it was."""
    root = logging.getLogger()
    before, handlers = root.level, list(root.handlers)
    formatters = [handler.formatter for handler in handlers]
    yield
    logs._in_json = False
    logging.captureWarnings(False)
    logging.getLogger("encode_once").setLevel(logging.NOTSET)
    root.setLevel(before)
    root.handlers[:] = handlers
    for handler, formatter in zip(handlers, formatters):
        handler.setFormatter(formatter)


def run(*arguments: str) -> tuple[int, list[dict], str]:
    """Run a command in a process of its own: its exit code, its lines on stderr, its output."""
    done = subprocess.run(
        [sys.executable, "-m", "encode_once", *arguments], capture_output=True, text=True, check=False
    )
    return done.returncode, [json.loads(line) for line in done.stderr.splitlines()], done.stdout


def test_a_run_ends_with_its_summary_and_warnings_are_lines(tmp_path, tiny_bundle):
    (tmp_path / "in" / "sub").mkdir(parents=True)
    (tmp_path / "in" / "a.txt").write_text("good\n\nbad\nlong\n" * 5)
    (tmp_path / "in" / "sub" / "b.txt").write_text("good\n")
    arguments = ["--input", f"{tmp_path}/in", "--store", f"{tmp_path}/store", "--encoder", str(tiny_bundle)]
    code, lines, output = run(
        "annotate", *arguments, "--heads", "none", "--log_format", "json", "--max_reject_share", "1"
    )
    assert code == 0
    assert "documents" in output
    warning, end = lines[0], lines[-1]
    assert (warning["level"], warning["logger"]) == ("WARNING", "transforms.match")
    assert "1 folders are not read" in warning["message"]
    assert datetime.datetime.fromisoformat(warning["time"].replace("Z", "+00:00")).tzinfo is not None
    assert (end["level"], end["message"]) == ("INFO", "annotate ended with exit code 0")
    assert end["fields"]["exit_code"] == 0
    assert end["fields"]["result"]["documents"] == 15
    assert end["fields"]["result"]["rejected"] == {"blank_text": 5}
    code, (end,), _ = run("status", "--store", f"{tmp_path}/store", "--log_format=json")
    assert [folder["documents"] for folder in end["fields"]["result"]] == [15]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--store", "none"], "none is not a store"),
        (["--store", "none", "--stor", "x"], "unknown option '--stor'; did you mean --store?"),
        ([], "the following arguments are required: --store"),
    ],
)
def test_an_error_is_a_line(arguments, message, tmp_path):
    code, (line,), _ = run("status", "--log_format", "json", *arguments)
    assert code == 2
    assert line["level"] == "ERROR"
    assert message in line["message"]
    assert line["fields"]["exit_code"] == 2


def test_the_format_may_stand_in_the_file_of_options(tmp_path):
    (tmp_path / "job.toml").write_text("log_format = 'json'\nstore = 'none'\n")
    code, (line,), _ = run("status", "--config", f"{tmp_path}/job.toml")
    assert (code, line["level"]) == (2, "ERROR")
    assert cli.find_log_format(["--config", f"{tmp_path}/job.toml", "--log_format", "text"], "status") == "text"
    assert cli.find_log_format(["--config", f"{tmp_path}/none.toml", "--log_format=json"], "status") == "json"
    assert cli.find_log_format(["--log_format"], "status") == "text"


def test_faults_interruptions_and_python_warnings_are_lines(capsys, monkeypatch):
    def warn_and_fail():
        warnings.warn("old", stacklevel=1)
        raise ZeroDivisionError("a bug")

    def stop():
        raise KeyboardInterrupt

    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    assert cli.guard(warn_and_fail, "x", "status", "json") == 1
    assert cli.guard(stop, "x", "annotate", "json") == 130
    warning, fault, interruption = map(json.loads, capsys.readouterr().err.splitlines())
    assert "old" in warning["message"]
    assert fault["message"] == "ZeroDivisionError: a bug"
    assert "warn_and_fail" in fault["traceback"]
    assert interruption["message"].startswith("interrupted; finished work is kept")
    assert interruption["fields"] == {"command": "annotate", "exit_code": 130}


def test_progress_is_a_line_with_numbers(capsys, monkeypatch):
    from pipelines.progress import Progress
    from transforms.options import CutRules
    from transforms.plan import Plan
    from transforms.store import Store

    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    logs.set_up_logging("json")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    plan = Plan([], {("a", 0): 100}, [], {})
    with pytest.raises(KeyboardInterrupt), Progress(Store("/none", CutRules(), ""), "0" * 64, [], plan):
        raise KeyboardInterrupt
    (line,) = map(json.loads, capsys.readouterr().err.splitlines())
    assert line["message"] == "0% done when the run was stopped"
    assert line["fields"] == {"percent": 0, "documents": 0, "documents_per_second": None, "seconds_left": None}


def test_what_is_no_json_is_left_out_of_the_result(capsys, monkeypatch):
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    logs.set_up_logging("json")
    logs.write_end("make-encoder", 0, 1.23456, object())
    (line,) = map(json.loads, capsys.readouterr().err.splitlines())
    assert line["fields"] == {"command": "make-encoder", "exit_code": 0, "seconds": 1.235}

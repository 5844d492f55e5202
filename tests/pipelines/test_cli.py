from __future__ import annotations

import platform
import subprocess
import sys
from importlib.metadata import version

import pytest

from encoder.forward.model import choose_device, choose_precision
from pipelines.command_line import cli


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_every_command_has_a_help_that_loads_nothing_heavy(command):
    program = f"""
import sys
from pipelines.command_line import cli
try:
    cli.main([{command!r}, "--help"])
except SystemExit as end:
    assert end.code == 0
heavy = {{"torch", "transformers", "apache_beam"}} & set(sys.modules)
sys.exit(f"imported {{heavy}}" if heavy else 0)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"usage: encode-once {command}" in done.stdout
    assert not any(odd in done.stdout for odd in ("default: None", "default: False", "default: )", "default: ["))


@pytest.mark.parametrize("columns", [60, 80, 200])
@pytest.mark.parametrize("command", cli.COMMANDS)
def test_the_help_fits_the_terminal_and_shows_examples(command, columns, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", str(columns))
    assert cli.main([command, "-h"]) == 0
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) < min(columns, 111)
    assert f"examples:\n  {'eval' if command == 'completion' else f'encode-once {command}'} " in shown
    assert cli.main(["help", command]) == 0
    assert capsys.readouterr().out == shown


def test_help_of_no_command_gets_a_hint(capsys):
    assert cli.main(["help", "anotate"]) == 2
    assert "no command 'anotate'; did you mean annotate?" in capsys.readouterr().err


def test_no_command_shows_all_of_them(capsys):
    assert cli.main([]) == 2
    said = capsys.readouterr().out
    assert all(command in said for command in cli.COMMANDS)
    assert cli.main(["--help"]) == 0


def test_a_mistyped_command_gets_a_hint(capsys):
    assert cli.main(["anotate"]) == 2
    assert "no command 'anotate'; did you mean annotate?" in capsys.readouterr().err
    assert cli.main(["zzz"]) == 2
    assert "choose from annotate, encode, label" in capsys.readouterr().err


def test_the_version_names_packages_processor_and_what_is_used(capsys):
    assert cli.main(["--version"]) == 0
    first, *lines = capsys.readouterr().out.splitlines()
    assert first == f"encode-once {version('encode-once')}"
    shown = dict(line.split(maxsplit=1) for line in lines)
    assert list(shown) == ["python", "packages", "processor", "GPU", "encoding", "labelling"]
    assert shown["python"].startswith(platform.python_version())
    for package in ("torch", "apache-beam", "pyarrow", "transformers"):
        assert f"{package} {version(package)}" in shown["packages"]
    device = choose_device("auto")
    assert f"on {device} in {str(choose_precision('auto', device)).removeprefix('torch.')}" in shown["encoding"]


def test_the_version_is_shown_where_torch_is_broken(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    assert cli.main(["--version"]) == 0
    assert "torch      cannot be imported" in capsys.readouterr().out


def test_a_missing_required_option_is_a_usage_error():
    with pytest.raises(SystemExit) as end:
        cli.main(["annotate", "--store", "x"])
    assert end.value.code == 2


@pytest.mark.parametrize(
    "module",
    [
        "annotate",
        "status",
        "verify",
        "models.train_head",
        "models.make_encoder",
        "models.train_encoder",
        "models.zero_shot_head",
        "models.bundled_heads",
        "command_line.cli",
    ],
)
def test_every_program_runs_as_a_module(module):
    done = subprocess.run(
        [sys.executable, "-m", f"pipelines.{module}", "--help"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "usage" in done.stdout


def test_status_and_dry_run_import_neither_beam_nor_torch(annotate_tiny, tmp_path, tiny_bundle):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.txt").write_text("good\n")
    annotate_tiny(heads=[])
    program = f"""
import sys
from pipelines import annotate, status
annotate.run(["--input", {str(tmp_path / "in")!r}, "--store", {str(tmp_path / "store")!r}, "--encoder",
              {str(tiny_bundle)!r}, "--heads", "none", "--dry_run", "--no_measure"])
status.run(["--store", {str(tmp_path / "store")!r}])
print({{"torch", "transformers", "apache_beam"}} & set(sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "set()"

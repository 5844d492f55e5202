"""The package `encode_once`: public names imported when used, and found whatever the working directory holds."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
from pathlib import Path

import pyarrow.dataset
import pytest

import encode_once as eo

FOLDER = Path(eo.__file__).parents[1]
NAMES = ("encoder", "heads", "pipelines", "transforms")


def python(*arguments: str, folder: Path, **environment: str) -> subprocess.CompletedProcess:
    """Run Python in a folder, with this project on the path as an installation would have it."""
    environment = os.environ | {"PYTHONPATH": str(FOLDER)} | environment
    command = [sys.executable, *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, cwd=folder, env=environment, timeout=240, check=False
    )


@pytest.fixture
def folder_with_modules_of_our_names(tmp_path) -> Path:
    for name in NAMES:
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('a module of the user was imported')\n")
    return tmp_path


def test_public_names_are_the_documented_ones_and_all_exist():
    assert sorted(eo._PLACES) == eo.__all__
    for name in eo.__all__:
        assert callable(getattr(eo, name))
    assert set(dir(eo)) == {*eo.__all__, "__version__"}
    with pytest.raises(AttributeError, match="no attribute 'anotate'"):
        eo.anotate  # noqa: B018


def test_importing_the_package_imports_nothing_heavy(tmp_path):
    heavy = {"torch", "apache_beam", "pyarrow", "numpy", "encoder"}
    program = f"import sys, encode_once; print(sorted({heavy} & set(sys.modules)))"
    done = python("-c", program, folder=tmp_path)
    assert done.stdout.strip() == "[]", done.stderr


def test_the_version_is_that_of_the_setup_file():
    done = python("setup.py", "--version", folder=FOLDER)
    assert done.stdout.split()[-1] == eo.__version__ == importlib.metadata.version("encode-once")


def test_a_command_ignores_modules_of_the_working_directory(folder_with_modules_of_our_names):
    path = f"{folder_with_modules_of_our_names}{os.pathsep}{FOLDER}"
    (folder_with_modules_of_our_names / "a.txt").write_text("good\n")
    done = python(
        "-m", "encode_once", "annotate", "--input", "a.txt", "--store", "s", "--heads", "none", "--dry_run",
        folder=folder_with_modules_of_our_names, PYTHONPATH=path,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("mode", ["in_memory", "multi_processing"])
def test_workers_ignore_modules_of_the_working_directory(
    folder_with_modules_of_our_names, tiny_bundle, tiny_heads, mode
):
    folder = folder_with_modules_of_our_names
    for name in ("a", "b"):
        (folder / f"{name}.txt").write_text("good film\nbad film\n")
    done = python(
        "-m", "encode_once", "annotate", "--input", "?.txt", "--store", "s", "--encoder", str(tiny_bundle),
        "--heads", str(tiny_heads["mood"]), "--no_progress", "--direct_num_workers=2", f"--direct_running_mode={mode}",
        folder=folder,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert pyarrow.dataset.dataset(folder / "s" / "labels", format="parquet").count_rows() == 4


def test_every_run_keeps_the_plugins_that_were_asked_for():
    from apache_beam.options.pipeline_options import SetupOptions

    from pipelines.running.beam_options import beam_pipeline_options

    options = beam_pipeline_options(["--beam_plugins=theirs"])
    assert options.view_as(SetupOptions).beam_plugins == ["encode_once", "theirs"]


def test_a_module_that_was_imported_before_is_named(folder_with_modules_of_our_names):
    (folder_with_modules_of_our_names / "transforms.py").write_text("")
    program = "import transforms\nimport encode_once"
    done = python("-c", program, folder=folder_with_modules_of_our_names)
    assert done.returncode == 1
    said = done.stderr.splitlines()[-1]
    assert "needs its package 'transforms', but a module of that name was imported from" in said
    assert f"{folder_with_modules_of_our_names}/transforms.py; import encode_once first" in said

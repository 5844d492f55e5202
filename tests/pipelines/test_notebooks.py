"""Annotate from the cell of a notebook."""

from __future__ import annotations

import os
import subprocess
import sys
import types
from pathlib import Path

import pytest

from tests.conftest import optional, store_files, write_corpus


def test_beam_does_not_see_ipython(annotate_tiny, tmp_path, monkeypatch):
    """Inside IPython, Beam imports its interactive modules for each transform."""
    write_corpus(tmp_path / "in")
    shell = types.SimpleNamespace(execution_count=1, config={"IPKernelApp": {}})
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: shell))
    monkeypatch.setitem(sys.modules, "apache_beam.runners.interactive", None)  # to import it is an error
    assert annotate_tiny(heads=["mood"]).exit_code == 0
    assert annotate_tiny(heads=["mood", "themes"]).exit_code == 0  # only labels, over gRPC
    from apache_beam.utils.interactive_utils import is_in_notebook

    assert is_in_notebook()  # for other pipelines of the notebook


HIDE_PANDAS = """
import sys

class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "pandas":
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Hidden())
"""


@pytest.fixture
def execute(tmp_path, monkeypatch):
    """Give a function that runs cells in a kernel of Jupyter, and returns what each of them shows."""
    nbclient, nbformat = optional("nbclient"), optional("nbformat")
    optional("ipykernel")
    for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "jupyter"))

    def run(*sources: str) -> list[str]:
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
        nbclient.NotebookClient(notebook, timeout=240, kernel_name="python3").execute(cwd=str(tmp_path))
        return ["".join(text_of(output) for output in cell.outputs) for cell in notebook.cells]

    return run


def text_of(output: dict) -> str:
    return output["text"] if output["output_type"] == "stream" else output["data"]["text/plain"]


@pytest.mark.slow
@pytest.mark.parametrize("pandas", [True, False])
def test_a_notebook_annotates_as_a_shell_does(pandas, execute, annotate_tiny, tiny_bundle, tiny_heads, tmp_path):
    write_corpus(tmp_path / "in")
    annotate_tiny(store=tmp_path / "reference", heads=["mood", "themes"])
    common = ["--store", "store", "--encoder", str(tiny_bundle)]
    encode = ["--input", "in", *common]
    processes = ["--direct_num_workers=2", "--direct_running_mode=multi_processing"]
    shown = execute(
        "import pandas" if pandas else HIDE_PANDAS,
        "import encode_once as eo",
        f"summary = eo.annotate({[*encode, '--heads', str(tiny_heads['mood'])]})",
        "summary.exit_code, summary.documents",
        f"eo.label({[*common, '--heads', str(tiny_heads['mood']), str(tiny_heads['themes'])]}).labelled",
        f"eo.verify({['--store', 'store']}).problems",
        "from pipelines.command_line.cli import main",
        f"main({['annotate', *encode, '--store', 'processes', '--heads', str(tiny_heads['mood']), *processes]})",
        "main(['status', '--store', 'processes'])",
        "main(['annotate', '--input', 'gone', '--store', 'processes'])",
    )
    _, _, annotated, summary, labelled, verified, _, processed, status, mistake = shown
    assert "Traceback" not in "".join(shown)
    assert "320  encoded" in annotated
    assert "100%" in annotated  # the bar
    assert summary == "(0, 320)"
    assert "'themes': 320" in labelled
    assert verified.endswith("()")
    assert "320  encoded" in processed
    assert processed.endswith("0")
    assert "mood" in status
    assert "error: " in mistake
    assert mistake.endswith("2")
    assert store_files(tmp_path / "store") == store_files(tmp_path / "reference")


@pytest.mark.slow
def test_ipython_annotates(tiny_bundle, tmp_path):
    optional("IPython")
    write_corpus(tmp_path / "in")
    arguments = ["--input", "in", "--store", "store", "--encoder", str(tiny_bundle), "--heads", "none"]
    (tmp_path / "cell.ipy").write_text(f"import encode_once as eo\nprint(eo.annotate({arguments}).exit_code)\n")
    done = subprocess.run(
        [sys.executable, "-m", "IPython", "--no-banner", "cell.ipy"],
        cwd=tmp_path,
        env=os.environ | {"IPYTHONDIR": str(tmp_path / "ipython"), "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.stdout.splitlines()[-1] == "0", done.stdout + done.stderr

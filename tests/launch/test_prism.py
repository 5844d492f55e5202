"""Prism, built from its Go module: the same files as a local run; a worker that dies ends the run, which resumes."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time

import psutil
import pytest

from launch.prism import fetch_prism
from launch.processes import running
from launch.worker_pool import worker_pool
from pipelines import verify
from tests.conftest import store_files
from tests.launch.conftest import REPOSITORY, children, committed, run

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def prism() -> list[str]:
    if shutil.which("go") is None:
        pytest.skip("Go, which builds Prism, is not installed")
    return ["--runner=PrismRunner", f"--prism_location={fetch_prism()}"]


def test_the_example_corpus_on_prism_is_that_of_a_local_run(prism, annotate_corpus, corpus_files, tmp_path):
    done = run("launch.prism", *annotate_corpus, "--store", f"{tmp_path}/store")
    assert done.returncode == 0, done.stderr[-2000:]
    assert "351 labelled" in done.stdout
    assert store_files(tmp_path / "store") == corpus_files
    (record,) = (json.loads(path.read_text()) for path in (tmp_path / "store" / "runs").glob("*/run.json"))
    assert record["summary"]["models_loaded"] == 1


def test_a_killed_worker_of_a_pool_ends_the_run_which_resumes(prism, annotate_tiny_lines, tiny_lines_files, tmp_path):
    store = tmp_path / "store"
    with worker_pool(tmp_path) as pool:
        command = [*annotate_tiny_lines, "--store", str(store), *prism, *pool.options()]
        arguments = [sys.executable, "-m", "encode_once", *command]
        process = subprocess.Popen(arguments, cwd=REPOSITORY, stderr=subprocess.PIPE, text=True)
        while process.poll() is None and committed(store) < 3:
            time.sleep(0.02)
        (worker,) = children(pool.process)
        worker.kill()
        _, said = process.communicate(timeout=120)
        assert process.returncode == 2, said
        assert "error: the job failed: " in said.splitlines()[-1]
        assert "the same command continues" in said.splitlines()[-1]
        assert "Traceback" not in said
        assert 0 < committed(store) < sum("codes/" in name for name in tiny_lines_files)
        resumed = run("encode_once", *command)
    assert resumed.returncode == 0, resumed.stderr[-2000:]
    assert store_files(store) == tiny_lines_files
    assert verify.run(["--store", str(store)]).problems == ()


def test_running_stops_what_a_program_has_started(tmp_path):
    with running(["sh", "-c", "sleep 300 & echo $!; wait"], tmp_path / "log") as shell:
        while not (tmp_path / "log").read_text():
            time.sleep(0.05)
        started = children(shell)
        assert len(started) == 1
    assert psutil.wait_procs(started, timeout=30)[1] == []

"""A real Flink cluster on this machine: it starts, is checked, and is stopped; jobs on it write what a local run writes.

Flink comes from PyPI on the first use (310 MB). Beam's job server comes from Maven Central: the tests that submit a job
are skipped where `python -m launch.flink` has not fetched it and FLINK_JOB_SERVER_JAR does not name it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from encoder.declare import OptionError
from launch.flink.__main__ import flink_options
from launch.flink.cluster import FlinkCluster, flink_cluster
from launch.flink.fetch import fetch_flink, job_server_jar
from launch.processes import LaunchError, running, wait_until
from launch.worker_pool import Pool, worker_pool
from pipelines.running.engine import check_engine
from tests.conftest import store_files
from tests.launch.conftest import REPOSITORY, committed, run

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("java") is None, reason="Flink needs Java, which is not installed"),
]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory) -> Iterator[FlinkCluster]:
    with flink_cluster(fetch_flink(), tmp_path_factory.mktemp("flink")) as started:
        yield started
    assert all(program.poll() is not None for program in (started.job_manager, *started.task_managers))
    assert started.overview() == {}, "something of the cluster still runs"


@pytest.fixture(scope="module")
def pool(tmp_path_factory) -> Iterator[Pool]:
    with worker_pool(tmp_path_factory.mktemp("pool")) as started:
        yield started


@pytest.fixture
def any_file(tmp_path) -> Path:
    path = tmp_path / "no-job-server.jar"
    path.write_bytes(b"")
    return path


@pytest.fixture
def job(cluster, pool) -> list[str]:
    """Give the options of a job on the cluster."""
    jar = Path(os.environ.get("FLINK_JOB_SERVER_JAR") or job_server_jar())
    if not jar.is_file():
        pytest.skip(f"Beam's job server for Flink is not there: {jar}")
    return [*flink_options(cluster.master, jar, 2), *pool.options(), "--threads=1"]


def test_the_cluster_offers_a_slot_in_each_of_two_task_managers(cluster):
    overview = cluster.overview()
    assert (overview["taskmanagers"], overview["slots-total"], overview["flink-version"]) == (2, 2, "2.2.1")


def test_a_run_accepts_the_cluster_and_the_pool(cluster, pool, any_file):
    check_engine("FlinkRunner", PipelineOptions([*flink_options(cluster.master, any_file, 2), *pool.options()]))


def test_a_job_server_of_another_version_is_refused(cluster, any_file):
    options = [*flink_options(cluster.master, any_file, 2), "--flink_version=1.20"]
    with pytest.raises(OptionError, match="and the job server is for Flink 1"):
        check_engine("FlinkRunner", PipelineOptions(options))


def test_a_jar_that_is_no_job_server_ends_in_one_line(cluster, pool, any_file, annotate_corpus, tmp_path):
    job = [*flink_options(cluster.master, any_file, 2), *pool.options()]
    done = run("encode_once", *annotate_corpus, "--store", f"{tmp_path}/store", *job)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("encode-once annotate: error: the job could not be submitted: ")
    assert "Traceback" not in done.stderr
    assert cluster.overview()["jobs-running"] == 0


def test_a_program_that_ends_while_it_starts_is_reported_with_its_output(tmp_path):
    log = tmp_path / "log"
    with (
        running(["sh", "-c", "echo the reason; exit 3"], log) as process,
        pytest.raises(LaunchError, match="the program ended with exit code 3; its output ends:\nthe reason"),
    ):
        wait_until(lambda: False, {"the program": (process, log)}, 60)


def test_the_example_corpus_on_flink_is_that_of_a_local_run(job, annotate_corpus, corpus_files, tmp_path):
    done = run("encode_once", *annotate_corpus, "--store", f"{tmp_path}/store", *job)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "351 labelled" in done.stdout
    assert store_files(tmp_path / "store") == corpus_files


def test_a_killed_task_manager_does_not_change_the_store(job, cluster, annotate_tiny_lines, tiny_lines_files, tmp_path):
    store = tmp_path / "store"
    command = [*annotate_tiny_lines, "--store", str(store), *job, "--parallelism=1"]
    process = subprocess.Popen([sys.executable, "-m", "encode_once", *command], cwd=REPOSITORY)
    while process.poll() is None and committed(store) < 3:
        time.sleep(0.02)
    cluster.task_managers[0].kill()
    if process.wait(timeout=240):  # the job did not survive it: the same command completes it
        assert process.returncode == 2
        assert run("encode_once", *command).returncode == 0
    assert store_files(store) == tiny_lines_files

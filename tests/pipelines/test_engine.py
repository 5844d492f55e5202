"""An engine that is not there ends a run in one line that says what to do, before anything is submitted."""

from __future__ import annotations

import http.server
import json
import socket
import sys
import threading

import pytest

from pipelines.command_line.cli import main
from tests.conftest import write_corpus


@pytest.fixture(scope="module")
def command(tmp_path_factory, tiny_bundle) -> list[str]:
    folder = tmp_path_factory.mktemp("engine")
    write_corpus(folder / "in", rows=3)
    return [
        "annotate", "--input", f"{folder}/in", "--store", f"{folder}/store", "--encoder", str(tiny_bundle),
        "--heads", "none", "--no_progress",
    ]  # fmt: skip


@pytest.fixture
def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.fixture
def program(tmp_path):
    """Give a program that ends at once: an engine is checked before it is started."""
    path = tmp_path / "program"
    path.write_text("#!/bin/sh\nexit 7\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def flink_answers():
    """Give a function that starts a server which answers as a job manager does, and returns its address."""
    servers = []

    def start(overview: dict) -> str:
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.end_headers()
                self.wfile.write(json.dumps(overview).encode())

            def log_message(self, *arguments) -> None:
                pass

        servers.append(http.server.HTTPServer(("127.0.0.1", 0), Handler))
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        return f"127.0.0.1:{servers[-1].server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def fails(command: list[str], options: list[str], capsys) -> str:
    """Run a command that must end with exit code 2; return its only line."""
    assert main([*command, *options]) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("WARNING")]
    assert len(lines) == 1, lines
    return lines[0]


def test_a_job_service_that_does_not_answer(command, free_port, capsys):
    said = fails(command, ["--runner=PortableRunner", f"--job_endpoint=localhost:{free_port}"], capsys)
    assert f"--job_endpoint localhost:{free_port}: nothing answers there" in said
    assert "start the job service" in said


@pytest.mark.parametrize("address", ["localhost", "localhost:none", "localhost:0", "localhost:99999"])
def test_an_address_without_a_port(command, address, capsys):
    said = fails(command, ["--runner=PortableRunner", f"--job_endpoint={address}"], capsys)
    assert f"--job_endpoint {address}: nothing answers there" in said


def test_a_portable_runner_without_an_address(command, capsys):
    assert "needs --job_endpoint=HOST:PORT" in fails(command, ["--runner=PortableRunner"], capsys)


def test_a_prism_that_is_not_there(command, tmp_path, capsys):
    said = fails(command, ["--runner=PrismRunner", f"--prism_location={tmp_path}/none"], capsys)
    assert f"--prism_location {tmp_path}/none: there is no such file; build it (go install " in said


def test_a_prism_that_is_no_engine_is_one_line(command, program, capsys):
    said = fails(command, ["--runner=PrismRunner", f"--prism_location={program}"], capsys)
    assert "the job could not be submitted: " in said
    assert "exit code 7" in said or "error 7" in said


def test_a_pool_that_was_not_started(command, program, free_port, capsys):
    pool = ["--environment_type=EXTERNAL", f"--environment_config=localhost:{free_port}"]
    said = fails(command, ["--runner=PrismRunner", f"--prism_location={program}", *pool], capsys)
    assert f"--environment_config localhost:{free_port}: nothing answers there" in said
    assert f"worker_pool_main --service_port={free_port}" in said


def test_flink_without_java(command, program, capsys):
    java = ["--job_server_java_launcher=no-such-java", f"--flink_job_server_jar={program}"]
    assert "needs Java" in fails(command, ["--runner=FlinkRunner", *java], capsys)


def test_flink_without_the_jar(command, tmp_path, capsys):
    options = [f"--flink_job_server_jar={tmp_path}/none.jar", f"--job_server_java_launcher={sys.executable}"]
    said = fails(command, ["--runner=FlinkRunner", *options], capsys)
    assert f"--flink_job_server_jar {tmp_path}/none.jar: there is no such file; download " in said


@pytest.fixture
def job_server(program) -> list[str]:
    return ["--runner=FlinkRunner", f"--flink_job_server_jar={program}", f"--job_server_java_launcher={sys.executable}"]


def test_a_flink_that_does_not_answer(command, job_server, free_port, capsys):
    said = fails(command, [*job_server, f"--flink_master=localhost:{free_port}"], capsys)
    assert f"--flink_master localhost:{free_port}: no Flink answers there" in said
    assert "8081" in said


def test_something_else_than_flink_answers(command, job_server, flink_answers, capsys):
    assert "no Flink answers there" in fails(command, [*job_server, f"--flink_master={flink_answers({})}"], capsys)


def test_a_flink_of_another_version(command, job_server, flink_answers, capsys):
    master = flink_answers({"flink-version": "1.20.3", "slots-total": 2})
    said = fails(command, [*job_server, f"--flink_master=http://{master}"], capsys)
    assert "runs Flink 1.20.3, and the job server is for Flink 2.2" in said
    assert "--flink_version" in said


def test_a_pool_beside_a_cluster_elsewhere_is_not_asked(monkeypatch, tmp_path):
    """On Kubernetes each task manager has a pool beside it, at its own localhost."""
    from apache_beam.options.pipeline_options import PipelineOptions

    from pipelines.running import engine

    monkeypatch.setattr(engine, "_check_flink", lambda options: None)
    monkeypatch.setattr(engine, "_find_job_server", lambda options: None)
    pool = ["--environment_type=EXTERNAL", "--environment_config=localhost:9"]
    engine.check_engine("FlinkRunner", PipelineOptions(["--flink_master=flink.example:8081", *pool]))
    with pytest.raises(engine.OptionError, match="start the worker pool"):
        engine.check_engine("FlinkRunner", PipelineOptions(["--flink_master=localhost:8081", *pool]))


def test_other_runners_are_not_checked():
    from apache_beam.options.pipeline_options import PipelineOptions

    from pipelines.running.engine import check_engine

    check_engine("FnApiRunner", PipelineOptions(["--job_endpoint=localhost:9"]))

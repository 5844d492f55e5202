"""Workers on this machine: they are reached behind a proxy, and one that dies ends the run, with the reason in one line."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from concurrent import futures
from pathlib import Path

import grpc
import psutil
import pytest

from pipelines.running import local_workers
from pipelines.running.interruption import WorkerError, run_and_wait
from pipelines.running.local_workers import direct_connections
from tests.conftest import random_texts, store_files

EXEMPT = "no_grpc_proxy"
PROXY = "http://127.0.0.1:9"  # nobody listens
TWO_PROCESSES = "--direct_num_workers=2 --direct_running_mode=multi_processing"


def without_proxies() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}


@pytest.fixture
def clean(monkeypatch):
    """Remove all variables of proxies from the environment."""
    for name in set(os.environ) - set(without_proxies()):
        monkeypatch.delenv(name)
    return monkeypatch


@pytest.mark.parametrize("variable", ["http_proxy", "https_proxy", "grpc_proxy"])
def test_grpc_reaches_this_machine_behind_a_proxy(clean, variable):
    clean.setenv(variable, PROXY)
    server = grpc.server(futures.ThreadPoolExecutor(1))
    port = server.add_insecure_port("localhost:0")
    server.start()
    with direct_connections(), grpc.insecure_channel(f"localhost:{port}") as channel:
        grpc.channel_ready_future(channel).result(timeout=30)
    server.stop(None)


@pytest.mark.parametrize(
    ("given", "effective"),
    [
        ({}, ""),
        ({"no_proxy": "a.example, .b.example"}, "a.example,.b.example,"),
        ({EXEMPT: "c.example", "no_proxy": "a.example"}, "c.example,"),
    ],
)
def test_hosts_that_are_exempt_from_the_proxy_stay_exempt(clean, given, effective):
    for name, value in (given | {"https_proxy": PROXY}).items():
        clean.setenv(name, value)
    before = dict(os.environ)
    with direct_connections():
        assert os.environ[EXEMPT].startswith(f"{effective}localhost,127.0.0.1,::1")
        changed = {name for name in os.environ if os.environ[name] != before.get(name)}
        assert changed == {EXEMPT}  # which no other client reads
    assert dict(os.environ) == before


def test_without_a_proxy_the_environment_is_left_alone(clean):
    before = dict(os.environ)
    with direct_connections():
        assert dict(os.environ) == before


def run_pipeline(work, *arguments: str, waits: bool = False) -> None:
    """Run a function over two elements in two worker processes. `waits`: the runner waits for its results as well."""
    import apache_beam as beam

    from pipelines.running.beam_options import beam_pipeline_options, create_pipeline

    options = beam_pipeline_options([*TWO_PROCESSES.split(), *arguments])
    pipeline = create_pipeline(options)
    results = pipeline | beam.Create([0, 1]) | beam.Reshuffle() | beam.Map(work)
    if waits:
        results | "Again" >> beam.Reshuffle()
    run_and_wait(pipeline, local=True)


@pytest.mark.slow
@pytest.mark.parametrize("waits", [False, True])
def test_a_killed_worker_ends_the_run_and_the_other_workers(waits):
    def work(number: int) -> None:
        if number:
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(600)

    with pytest.raises(WorkerError, match=r"a worker was killed by SIGKILL \(out of memory\?\); finished work is kept"):
        run_pipeline(work, waits=waits)
    assert not [child for child in psutil.Process().children() if "sdk_worker_main" in " ".join(child.cmdline())]


@pytest.mark.slow
def test_a_worker_that_exits_ends_the_run():
    with pytest.raises(WorkerError, match="a worker ended before its work was done, with exit code 3"):
        run_pipeline(lambda number: os._exit(3))


@pytest.mark.slow
def test_an_error_of_a_step_in_a_worker_is_no_death():
    with pytest.raises(RuntimeError, match="division by zero"):
        run_pipeline(lambda number: 1 / 0)


def test_a_worker_that_cannot_be_started_ends_the_run(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", str(tmp_path / "no python"))
    with pytest.raises(WorkerError, match=r"a worker could not be started: .*no python"):
        run_pipeline(print)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("workers")
    (folder / "in").mkdir()
    for i in range(4):
        (folder / "in" / f"{i}.txt").write_text("\n".join(random_texts(400, seed=i)))
    return folder


def command(corpus: Path, store: Path, bundle: Path, heads: list[Path], *arguments: str, python=sys.executable):
    return [
        str(python), "-m", "pipelines.annotate", "--input", f"{corpus}/in", "--store", str(store), "--encoder", str(bundle),
        "--heads", *map(str, heads), "--block_rows", "10", "--unit_bytes", "4000", "--no_progress", *arguments,
    ]  # fmt: skip


def start(command: list[str], **environment: str) -> subprocess.Popen:
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=without_proxies() | {"OMP_NUM_THREADS": "1"} | environment,
    )


@pytest.fixture(scope="module")
def reference(corpus, tiny_bundle, tiny_heads) -> dict[str, bytes]:
    process = start(command(corpus, corpus / "quiet", tiny_bundle, [tiny_heads["mood"]]))
    assert process.wait(120) == 0, process.stderr.read()
    return store_files(corpus / "quiet")


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["in_memory", "multi_threading", "multi_processing"])
def test_a_proxy_is_not_asked_for_this_machine(mode, corpus, reference, tiny_bundle, tiny_heads, tmp_path):
    proxies = {name: PROXY for lower in ("http_proxy", "https_proxy") for name in (lower, lower.upper())}
    workers = [f"--direct_num_workers={1 if mode == 'in_memory' else 2}", f"--direct_running_mode={mode}"]
    for heads in (["none"], [tiny_heads["mood"]]):  # the second run only labels
        process = start(command(corpus, tmp_path / "store", tiny_bundle, heads, *workers), **proxies)
        _, errors = process.communicate(timeout=240)
        assert process.returncode == 0, errors
    assert store_files(tmp_path / "store") == reference


def workers_of(process: psutil.Process) -> list[psutil.Process]:
    markers = ("sdk_worker_main", "import SdkHarness")
    return [
        child
        for child in process.children(recursive=True)
        if any(marker in " ".join(child.cmdline()) for marker in markers) and child.name() not in ("sh", "dash", "bash")
    ]


def kill_one_worker(process: subprocess.Popen, parent: psutil.Process, store: Path) -> str:
    """Kill one of the workers below a process as soon as it commits, and return what the run prints then."""
    while process.poll() is None and not list(store.rglob("parts/**/*.parquet")) + list(
        store.rglob("codes/*/*.parquet")
    ):
        time.sleep(0.01)
    workers = workers_of(parent)
    assert workers, process.communicate()
    workers[0].kill()
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 2, errors
    assert "Traceback" not in errors
    return errors.splitlines()[-1]


@pytest.mark.slow
def test_a_run_whose_worker_was_killed_says_so_and_resumes(corpus, reference, tiny_bundle, tiny_heads, tmp_path):
    annotate = command(
        corpus, tmp_path / "store", tiny_bundle, [tiny_heads["mood"]], "--part_seconds", "0", *TWO_PROCESSES.split()
    )
    process = start(annotate)
    last = kill_one_worker(process, psutil.Process(process.pid), tmp_path / "store")
    assert "error: a worker was killed by SIGKILL (out of memory?); finished work is kept; the same command" in last
    process = start(annotate)
    assert process.wait(240) == 0, process.stderr.read()
    assert store_files(tmp_path / "store") == reference


@pytest.mark.slow
def test_the_path_of_python_may_hold_a_space(corpus, reference, tiny_bundle, tiny_heads, tmp_path):
    (tmp_path / "an environment").symlink_to(sys.prefix)
    python = tmp_path / "an environment" / "bin" / "python"
    process = start(
        command(corpus, tmp_path / "store", tiny_bundle, [tiny_heads["mood"]], *TWO_PROCESSES.split(), python=python)
    )
    _, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors
    assert store_files(tmp_path / "store") == reference


POOL = "--runner=PortableRunner --job_endpoint=embed --environment_type=EXTERNAL --environment_config=localhost:{port}"


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def pool_options(port: int) -> list[str]:
    return POOL.format(port=port).split()


@contextlib.contextmanager
def running_pool(python: Path):
    """Start a pool of workers, and give its process and its options."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "apache_beam.runners.worker.worker_pool_main", "--service_port", str(port)],
        env=without_proxies() | {"PATH": f"{python.parent}:{os.environ['PATH']}"},
        stderr=subprocess.DEVNULL,
    )
    for _ in range(240):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.5)
    yield psutil.Process(process.pid), pool_options(port)
    process.terminate()
    process.wait()


@pytest.fixture
def pool():
    with running_pool(Path(sys.executable)) as found:
        yield found


@pytest.mark.slow
def test_a_run_whose_pool_loses_a_worker_says_so_and_resumes(
    pool, corpus, reference, tiny_bundle, tiny_heads, tmp_path
):
    parent, options = pool
    annotate = command(corpus, tmp_path / "store", tiny_bundle, [tiny_heads["mood"]], "--part_seconds", "0", *options)
    last = kill_one_worker(start(annotate), parent, tmp_path / "store")
    assert "error: a worker of the pool at localhost:" in last
    assert "is gone (killed: out of memory?); finished work is kept; the same command continues from there" in last
    process = start(annotate)
    assert process.wait(240) == 0, process.stderr.read()
    assert store_files(tmp_path / "store") == reference


@pytest.mark.slow
def test_a_pool_that_is_not_there_ends_the_run(corpus, tiny_bundle, tmp_path):
    process = start(command(corpus, tmp_path / "store", tiny_bundle, ["none"], *pool_options(free_port())))
    _, errors = process.communicate(timeout=240)
    assert process.returncode == 2, errors
    assert "Traceback" not in errors
    assert "nothing answers there" in errors.splitlines()[-1]


@pytest.mark.slow
def test_a_pool_whose_worker_never_connects_ends_the_run(tmp_path, monkeypatch, clean):
    monkeypatch.setattr(local_workers, "_MAX_CONNECT_SECONDS", 1)
    (tmp_path / "python").symlink_to("/bin/true")
    with (
        running_pool(tmp_path / "python") as (_, options),
        pytest.raises(WorkerError, match=r"no worker of the pool at localhost:.* has connected within 1 s"),
    ):
        run_pipeline(print, *options)

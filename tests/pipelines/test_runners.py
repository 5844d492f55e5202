"""The same corpus through every local runner ends in the same files, byte for byte."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time

import pytest

from tests.conftest import store_files, write_corpus


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runners")
    write_corpus(folder / "in", rows=30)
    return folder


@pytest.fixture(scope="module")
def reference(corpus, tiny_bundle, tiny_heads):
    from pipelines import annotate

    arguments = ["--input", f"{corpus}/in", "--encoder", str(tiny_bundle), "--heads", *map(str, tiny_heads.values())]
    annotate.run([*arguments, "--store", f"{corpus}/reference", "--block_rows", "12", "--no_progress"])
    return store_files(corpus / "reference")


@pytest.fixture(scope="module")
def job_server():
    """Start Beam's own local job service; its workers need this Python first on PATH."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    module = "apache_beam.runners.portability.local_job_service_main"
    server = subprocess.Popen(
        [sys.executable, "-m", module, "--port", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    for _ in range(120):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.5)
    yield f"127.0.0.1:{port}"
    server.terminate()
    server.wait()


@pytest.mark.slow
@pytest.mark.parametrize(
    "runner",
    [
        "--runner=FnApiRunner",
        "--runner=FnApiRunner --direct_num_workers=2 --direct_running_mode=multi_processing",
        "--runner=FnApiRunner --direct_num_workers=2 --direct_running_mode=multi_threading",
        "--runner=DirectRunner",
        "--runner=PortableRunner --environment_type=LOOPBACK --job_endpoint={job_server}",
    ],
)
def test_every_local_runner_ends_in_the_same_files(runner, corpus, reference, tiny_bundle, tiny_heads, request):
    if "{job_server}" in runner:
        runner = runner.format(job_server=request.getfixturevalue("job_server"))
    store = corpus / f"store-{abs(hash(runner))}"
    command = [
        sys.executable, "-m", "pipelines.annotate",
        "--input", f"{corpus}/in", "--store", str(store), "--encoder", str(tiny_bundle),
        "--heads", *map(str, tiny_heads.values()), "--block_rows", "12", *runner.split(),
    ]  # fmt: skip
    path = os.path.dirname(sys.executable) + os.pathsep + os.environ["PATH"]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=240, check=False, env=os.environ | {"PATH": path}
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "240 labelled" in done.stdout
    assert store_files(store) == reference

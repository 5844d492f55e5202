"""Start Beam's worker pool: the programs that an engine asks for Python workers (`--environment_type=EXTERNAL`).

python -m launch.worker_pool --port 50000
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from launch.processes import answers, free_port, running, wait_until

_START_SECONDS = 60


def pool_command(port: int) -> list[str]:
    """Return the command line of a worker pool."""
    return [sys.executable, "-m", "apache_beam.runners.worker.worker_pool_main", f"--service_port={port}"]


def pool_environment() -> dict[str, str]:
    """Return the variables of a pool: it starts its workers as `python`, which must be this Python."""
    return {"PATH": os.pathsep.join([os.path.dirname(sys.executable), os.environ.get("PATH", "")])}


class Pool(NamedTuple):
    """A running worker pool; the workers are children of its process."""

    port: int
    process: subprocess.Popen[bytes]

    def options(self) -> list[str]:
        """Return the options of a job whose workers it starts."""
        return ["--environment_type=EXTERNAL", f"--environment_config=localhost:{self.port}"]


@contextlib.contextmanager
def worker_pool(folder: Path) -> Iterator[Pool]:
    """Run a worker pool, with its log in a folder."""
    port, log = free_port(), folder / "worker-pool.log"
    with running(pool_command(port), log, pool_environment()) as process:
        wait_until(lambda: answers(port), {"the worker pool": (process, log)}, _START_SECONDS)
        yield Pool(port, process)


def main() -> int:
    """Run a worker pool until it is stopped."""
    parser = argparse.ArgumentParser(prog="python -m launch.worker_pool", description=__doc__.split("\n")[0])
    parser.add_argument("--port", type=int, default=50000, help="port that the pool listens at (default 50000)")
    options = parser.parse_args()
    os.environ.update(pool_environment())
    command = pool_command(options.port)
    if hasattr(os, "execv") and os.name == "posix":
        os.execv(command[0], command)  # signals reach the pool itself
    return subprocess.call(command)


if __name__ == "__main__":
    sys.exit(main())

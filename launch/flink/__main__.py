"""Run a command of encode-once on a Flink cluster of this machine: start it, submit the job, wait, stop it.

    python -m launch.flink annotate --input 'corpus/*.txt' --store my-store
    python -m launch.flink --task_managers 4 --job_server_jar beam-job-server.jar annotate …

Flink comes from PyPI, Beam's job server from Maven Central; both are kept in ~/.cache/encode-once.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from launch.flink.cluster import flink_cluster
from launch.flink.fetch import FLINK_MINOR, fetch_flink, fetch_job_server
from launch.processes import LaunchError, exit_on_sigterm, run_encode_once
from launch.worker_pool import worker_pool
from pipelines.command_line.cli import EXIT_USAGE
from transforms.machine import usable_cores


def flink_options(master: str, jar: Path, parallelism: int) -> list[str]:
    """Return the options of a job on a cluster, besides those of its workers."""
    return [
        "--runner=FlinkRunner",
        f"--flink_master={master}",
        f"--flink_version={FLINK_MINOR}",
        f"--flink_job_server_jar={jar}",
        f"--parallelism={parallelism}",
    ]


def main(argv: Sequence[str]) -> int:
    """Run a command and return its exit code; 2 if nothing could be started."""
    parser = argparse.ArgumentParser(
        prog="python -m launch.flink",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--task_managers", type=int, default=2, help="each loads one model (default %(default)s)")
    parser.add_argument("--slots", type=int, default=1, help="units that a task manager processes at once (default 1)")
    parser.add_argument("--flink_home", type=Path, help="folder of another Flink; by default the pinned one is fetched")
    parser.add_argument("--job_server_jar", type=Path, help="Beam's job server; by default Maven fetches it")
    parser.add_argument("command", nargs=argparse.REMAINDER, help="annotate, encode or label, with its options")
    options = parser.parse_args(argv)
    if not options.command:
        parser.error("name a command, for example annotate")
    threads = []
    if not any(arg.split("=")[0] == "--threads" for arg in options.command):  # the workers share this machine
        threads = [f"--threads={max(1, usable_cores() // options.task_managers)}"]
    try:
        jar = options.job_server_jar or fetch_job_server()
        home = options.flink_home or fetch_flink()
        with tempfile.TemporaryDirectory(prefix="encode-once-flink-") as folder:
            work = Path(folder)
            with (
                flink_cluster(home, work, options.task_managers, options.slots) as cluster,
                worker_pool(work) as pool,
            ):
                job = flink_options(cluster.master, jar, options.task_managers * options.slots)
                return run_encode_once([*options.command, *threads, *job, *pool.options()])
    except LaunchError as error:
        print(f"python -m launch.flink: error: {error}", file=sys.stderr)
        return EXIT_USAGE


if __name__ == "__main__":
    exit_on_sigterm()
    sys.exit(main(sys.argv[1:]))

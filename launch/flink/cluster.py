"""A Flink cluster of this machine: a job manager and task managers on free ports of the loopback interface."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from launch.processes import LaunchError, free_port, running, wait_until

_START_SECONDS = 120
_SETTINGS = {
    "jobmanager.rpc.address": "localhost",
    "jobmanager.bind-host": "localhost",
    "jobmanager.memory.process.size": "1g",
    "rest.address": "localhost",
    "rest.bind-address": "localhost",
    "taskmanager.host": "localhost",
    "taskmanager.bind-host": "localhost",
    "taskmanager.memory.process.size": "1200m",
    # Workers keep nothing in Flink: what a failed attempt has committed is there, and the next one skips it.
    "restart-strategy.type": "fixed-delay",
    "restart-strategy.fixed-delay.attempts": "10",
    "restart-strategy.fixed-delay.delay": "2 s",
    # A lost task manager is noticed within this time, not within 50 s.
    "heartbeat.interval": "2 s",
    "heartbeat.timeout": "10 s",
}


class FlinkCluster:
    """A running cluster.

    Attributes:
        port: port of the job manager's REST interface.
        task_managers: the processes of the task managers.
    """

    def __init__(
        self, port: int, job_manager: subprocess.Popen[bytes], task_managers: list[subprocess.Popen[bytes]]
    ) -> None:
        self.port = port
        self.job_manager = job_manager
        self.task_managers = task_managers

    @property
    def master(self) -> str:
        return f"localhost:{self.port}"

    def overview(self) -> dict[str, Any]:
        """Return Flink's own summary: task managers, slots, jobs, version. Empty until the job manager answers."""
        # Never through a proxy: the cluster is on this machine.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(f"http://{self.master}/overview", timeout=5) as answer:
                return json.load(answer)
        except OSError:
            return {}


@contextlib.contextmanager
def flink_cluster(home: Path, folder: Path, task_managers: int = 2, slots: int = 1) -> Iterator[FlinkCluster]:
    """Run a cluster and stop it at the end.

    Args:
        home: folder of the distribution.
        folder: where logs, settings and temporary files go; each task manager has its own folder.
        task_managers: number of task managers.
        slots: tasks that a task manager runs at once.

    Raises:
        LaunchError: Java is missing, or the cluster does not start.
    """
    if shutil.which("java") is None:
        raise LaunchError("Flink needs Java 11, 17 or 21: install one and put `java` on PATH")
    ports = {"jobmanager.rpc.port": free_port(), "rest.port": free_port()}
    settings = (
        _SETTINGS
        | {name: str(port) for name, port in ports.items()}
        | {
            "rest.bind-port": str(ports["rest.port"]),
            "taskmanager.numberOfTaskSlots": str(slots),
            "parallelism.default": str(task_managers * slots),
        }
    )
    with contextlib.ExitStack() as started:
        programs = {}
        names = [("jobmanager", "jobmanager"), *((f"taskmanager-{i}", "taskmanager") for i in range(task_managers))]
        for name, script in names:
            log = folder / f"{name}.log"
            env = _environment(home, folder / name, settings)
            command = [str(home / "bin" / f"{script}.sh"), "start-foreground"]
            programs[name] = started.enter_context(running(command, log, env)), log
        processes = [process for process, _ in programs.values()]
        cluster = FlinkCluster(ports["rest.port"], processes[0], processes[1:])
        wait_until(lambda: cluster.overview().get("slots-total") == task_managers * slots, programs, _START_SECONDS)
        yield cluster


def _environment(home: Path, folder: Path, settings: dict[str, str]) -> dict[str, str]:
    """Write the settings of one process into its folder; return the variables that make it use them."""
    conf, temporary = folder / "conf", folder / "tmp"
    shutil.copytree(home / "conf", conf)
    temporary.mkdir()
    # Only the options that Java needs are taken over from the distribution: its other settings are among ours.
    for_java = re.findall(r"^ +all: (.+)", (home / "conf" / "config.yaml").read_text(encoding="utf-8"), re.MULTILINE)
    lines = {"env.java.opts.all": " ".join([*for_java, f"-Djava.io.tmpdir={temporary}"]), "io.tmp.dirs": temporary}
    text = "".join(f"{name}: {json.dumps(str(value))}\n" for name, value in (settings | lines).items())
    (conf / "config.yaml").write_text(text, encoding="utf-8")
    return {
        "FLINK_CONF_DIR": str(conf),
        "FLINK_LOG_DIR": str(folder),
        "FLINK_PID_DIR": str(folder),
    }

"""Run programs as a shell does, and measure their wall time and peak memory."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

PROGRAM = [sys.executable, "-m", "encode_once"]


@dataclasses.dataclass(frozen=True)
class Ended:
    """The result of a program: wall seconds from its start to its exit, peak resident MB, and its output."""

    seconds: float
    peak_mb: float
    printed: str


class ChildError(RuntimeError):
    """A program failed; the message holds its output."""


# A process inherits the peak memory of its parent. So a small Python process starts the program and measures it.
_LAUNCHER = """
import json, os, sys, time
started = time.monotonic()
child = os.fork()
if child == 0:
    os.execvp(sys.argv[2], sys.argv[2:])
_, status, usage = os.wait4(child, 0)
with open(sys.argv[1], "w") as file:
    json.dump([time.monotonic() - started, usage.ru_maxrss, os.waitstatus_to_exitcode(status)], file)
"""


def run(command: list[str], environment: dict[str, str] | None = None) -> Ended:
    """Run a command and wait until it exits.

    Raises:
        ChildError: the command could not be started, or its exit code is not 0.
    """
    with tempfile.TemporaryDirectory() as folder:
        measured = Path(folder, "measured.json")
        launch = [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(measured), *command]
        environment = os.environ | (environment or {})
        done = subprocess.run(launch, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)
        if not measured.exists():
            raise ChildError(f"{' '.join(command)} could not be started:\n{done.stdout}")
        seconds, peak, code = json.loads(measured.read_text())
    if code:
        raise ChildError(f"{' '.join(command)} ended with {code}:\n{done.stdout}")
    return Ended(seconds, peak / (2**20 if sys.platform == "darwin" else 2**10), done.stdout)


def annotate(corpus: Path, store: Path, *more: str) -> list[str]:
    """Return the command that annotates a corpus with the bundled encoder and heads."""
    options = ["--input", f"{corpus}/*", "--store", str(store), "--id_field", "id", "--no_progress"]
    return [*PROGRAM, "annotate", *options, *more]


def last_summary(store: Path) -> dict:
    """Return the summary of a store's last run, from its `run.json`."""
    record = max((store / "runs").glob("*/run.json"), key=lambda path: path.stat().st_mtime)
    return json.loads(record.read_text(encoding="utf-8"))["summary"]

"""Run programs as a shell does, and measure them from outside."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PROGRAM = [sys.executable, "-m", "pipelines.cli"]


@dataclasses.dataclass(frozen=True)
class Ended:
    """Say how a program ended: wall seconds shell to exit, peak resident MB of its largest process, what it printed."""

    seconds: float
    peak_mb: float
    printed: str


class ChildError(RuntimeError):
    """Say that a program failed, and what it printed."""


def run(command: list[str], environment: dict[str, str] | None = None) -> Ended:
    """Run a command to its end.

    Raises:
        ChildError: it ended with another code than 0.
    """
    started = time.monotonic()
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, env=os.environ | (environment or {})
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.monotonic() - started
        output.seek(0)
        printed = output.read()
    if process.returncode:
        raise ChildError(f"{' '.join(command)} ended with {process.returncode}:\n{printed}")
    return Ended(seconds, usage.ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10), printed)


def annotate(corpus: Path, store: Path, *more: str) -> list[str]:
    """Return the command that annotates a corpus with the bundled encoder and heads."""
    where = ["--input", f"{corpus}/*", "--store", str(store), "--id_field", "id", "--no_progress"]
    return [*PROGRAM, "annotate", *where, *more]


def last_summary(store: Path) -> dict:
    """Return the summary in the record of a store's last run."""
    record = max((store / "runs").glob("*/run.json"), key=lambda path: path.stat().st_mtime)
    return json.loads(record.read_text(encoding="utf-8"))["summary"]

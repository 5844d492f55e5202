"""Start programs in the background, wait until they answer, and stop them."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

_STOP_SECONDS = 20
_LOG_TAIL_BYTES = 2000


class LaunchError(Exception):
    """An engine could not be fetched or started; the message says what to do."""


def cache_folder() -> Path:
    """Return the folder of downloads, outside any checkout."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "encode-once"


def free_port() -> int:
    """Return a port of this machine that nothing uses now."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def answers(port: int) -> bool:
    """Return whether something listens at a port of this machine."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextlib.contextmanager
def running(command: Sequence[str], log: Path, env: dict[str, str] | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program in a process group of its own, with its output in a file; at the end, stop the whole group."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=os.environ | (env or {}),
            start_new_session=True,
        )
    try:
        yield process
    finally:
        _stop(process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_STOP_SECONDS)
    # What the program started has received the signals, too.


def wait_until(
    ready: Callable[[], bool], processes: dict[str, tuple[subprocess.Popen[bytes], Path]], seconds: float
) -> None:
    """Wait until programs are ready.

    Args:
        ready: whether they are.
        processes: the programs by name, each with its log.
        seconds: how long to wait.

    Raises:
        LaunchError: one has ended, or they are not ready in time.
    """
    deadline = time.monotonic() + seconds
    while not ready():
        for name, (process, log) in processes.items():
            if process.poll() is not None:
                raise LaunchError(f"{name} ended with exit code {process.returncode}; its output ends:\n{_tail(log)}")
        if time.monotonic() > deadline:
            logs = ", ".join(str(log) for _, log in processes.values())
            raise LaunchError(f"{' and '.join(processes)} did not start within {seconds:.0f} s; see {logs}")
        time.sleep(0.2)


def _tail(log: Path) -> str:
    return log.read_bytes()[-_LOG_TAIL_BYTES:].decode(errors="replace").strip()


def exit_on_sigterm() -> None:
    """Make SIGTERM end this program as an exception does, so that what it has started is stopped."""
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))


def run_encode_once(arguments: Sequence[str]) -> int:
    """Run the command line of encode-once and return its exit code; SIGINT and SIGTERM are passed on to it, once."""
    command = [sys.executable, "-m", "encode_once", *arguments]
    process = subprocess.Popen(command, start_new_session=True)  # no second Ctrl-C from the terminal
    before = {
        number: signal.signal(number, lambda received, frame: process.send_signal(received))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        return process.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

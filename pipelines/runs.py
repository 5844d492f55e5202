"""Write the record of a run (options, plan, results) into the store, and clean up after killed runs."""

from __future__ import annotations

import dataclasses
import datetime
import json
import logging
import os
import platform
import re
import secrets
import shutil
from collections.abc import Container, Sequence
from types import TracebackType
from typing import Any

from pipelines.command_line.options import annotate_parser
from pipelines.report_page import render
from transforms.filesystem import files
from transforms.machine import PACKAGES, package_version
from transforms.store import Store, StoreError

LOCK_FILE = "lock"
PAGE = "report.html"
_log = logging.getLogger(__name__)
# Options of Beam whose values are recorded. The values of all others may hold secrets.
_BEAM_OPTIONS_SHOWN = frozenset(
    f"--{name}"
    for name in (
        "direct_num_workers",
        "direct_running_mode",
        "environment_type",
        "job_name",
        "machine_type",
        "max_num_workers",
        "num_workers",
        "parallelism",
        "project",
        "region",
        "runner",
        "sdk_worker_parallelism",
    )
)


class Run:
    """A run on a store, as a context manager. `run.json` has the state "running" until the run ends.

    On a local store the run holds a lock on a file in its folder. The lock is released however the process ends, so a later
    run recognises temporary files as leftovers. `report.html` is written at the end.
    """

    def __init__(self, store: Store, command: str, argv: Sequence[str]) -> None:
        started = datetime.datetime.now(datetime.timezone.utc)
        # Milliseconds, because what a later run saw of a shard replaces what an earlier one saw, in the order of run ids.
        run_id = f"{started:%Y%m%dT%H%M%S}.{started.microsecond // 1000:03d}Z-{secrets.token_hex(4)}"
        self.store = dataclasses.replace(store, run_id=run_id)
        self.record: dict[str, Any] = {
            "run": self.store.run_id,
            "state": "running",
            "command": command,
            "arguments": redact(argv, annotate_parser(command)._option_string_actions),
            "started": started.isoformat(timespec="seconds"),
            "machine": {"host": platform.node(), "system": platform.platform(), "cores": os.cpu_count()},
            "versions": {"python": platform.python_version(), **_versions()},
        }
        self._lock: int | None = None

    def __enter__(self) -> Run:
        try:
            if files.is_local(self.store.root):
                os.makedirs(self.store.run_folder)
                # The lock first, because a folder of temporary files without a lock belongs to a dead run.
                self._lock = _lock(files.join(self.store.run_folder, LOCK_FILE))
                os.makedirs(self.store.temporary_folder)
                clean_dead_runs(self.store)
            self.note()
        except OSError as error:
            raise StoreError(f"store {self.store.root} cannot be written: {error}") from None
        return self

    def note(self, **values: Any) -> None:
        """Add values to `run.json`."""
        self.record |= values
        self.store.write_file(f"runs/{self.store.run_id}/run.json", self.record)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        finished = datetime.datetime.now(datetime.timezone.utc)
        state = "done" if kind is None else "interrupted" if issubclass(kind, KeyboardInterrupt) else "failed"
        ended = {"state": state, "finished": finished.isoformat(timespec="seconds")}
        if error is not None:
            ended["error"] = f"{type(error).__name__}: {error}"
        if self._lock is not None:
            shutil.rmtree(self.store.temporary_folder, ignore_errors=True)  # frees space for the record
        try:
            self.note(**ended)
            self.store.write_file(f"runs/{self.store.run_id}/{PAGE}", render(self.record))
        except OSError as second:
            if error is None:
                raise
            _log.warning("the run's record cannot be written: %s", second)
        finally:
            if self._lock is not None:
                shutil.rmtree(self.store.temporary_folder, ignore_errors=True)
                os.close(self._lock)


def redact(argv: Sequence[str], options: Container[str]) -> list[str]:
    """Redact values of command-line arguments that may be secrets, because many people can read a store.

    Values of `options` (this program's own, such as "--store") and of harmless options of Beam are kept, except users,
    passwords and signatures in URLs. All other values become `***`.
    """
    redacted: list[str] = []
    shown = False
    for argument in argv:
        name, equals, value = argument.partition("=")
        if name.startswith("--"):
            shown = name in options or name in _BEAM_OPTIONS_SHOWN
            redacted.append(name + equals + (_redact_value(value, shown) if equals else ""))
        else:
            redacted.append(_redact_value(argument, shown))
    return redacted


def _redact_value(value: str, shown: bool) -> str:
    if not shown:
        return "***"
    return re.sub(r"(://[^?#\s]*)\?\S*", r"\1?***", re.sub(r"://[^/@\s]*@", "://***@", value))


def clean_dead_runs(store: Store) -> None:
    """Remove the temporary files of dead runs, and record in their `run.json` that they were killed. Local stores only."""
    for name in files.list_names(store.path("runs")):
        if name.endswith(".tmp"):  # of a run that died while it created store.json
            os.unlink(store.path("runs", name))
    for name in files.list_folders(store.path("runs")):
        folder = store.path("runs", name)
        temporary = os.path.join(folder, "tmp")
        if name == store.run_id or not os.path.isdir(temporary):
            continue
        lock = _lock(os.path.join(folder, LOCK_FILE))
        if lock is None:
            continue  # the run is alive
        shutil.rmtree(temporary, ignore_errors=True)
        _mark_dead(folder)
        os.close(lock)


def is_alive(store: Store, run_id: str) -> bool:
    """Return whether a run on a local store holds its lock. On other stores every run may be alive: True."""
    if not files.is_local(store.root):
        return True
    path = store.path("runs", run_id, LOCK_FILE)
    if not os.path.exists(path):
        return False
    if (lock := _lock(path)) is None:
        return True
    os.close(lock)
    return False


def _mark_dead(folder: str) -> None:
    path = os.path.join(folder, "run.json")
    try:
        with open(path, encoding="utf-8") as file:
            record = json.load(file)
    except (FileNotFoundError, json.JSONDecodeError):
        return
    if record.get("state") == "running":
        files.commit(path, (json.dumps(record | {"state": "killed"}, indent=2) + "\n").encode(), folder)


def _lock(path: str) -> int | None:
    """Lock a file until the process ends; None if another process holds the lock."""
    import fcntl

    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return None
    return handle


def _versions() -> dict[str, str]:
    return {package: package_version(package) for package in ("encode-once", *PACKAGES)}

"""Cache results in files, so that a killed study continues where it stopped and computes nothing twice.

A result's key is a hash of the step's name, its version and all its inputs. Each file is written under a temporary name
and renamed, so no file is ever incomplete. Processes can share a folder: while one computes a result, the others wait
for it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np


class StepError(RuntimeError):
    """A step that failed; the message names the step and its input."""


@dataclasses.dataclass(frozen=True)
class Step:
    """A kind of computation. A new version invalidates all its cached results."""

    name: str
    version: int


class Cache:
    """A folder of results, each found by its inputs. A result that is not there is computed.

    Attributes:
        spent_seconds: time that all results returned so far took to compute, in this process or an earlier one.
    """

    def __init__(self, folder: Path, clock: Callable[[], float] = time.perf_counter) -> None:
        self.folder = folder
        self.spent_seconds = 0.0
        self._clock = clock
        self._nested: list[float] = []  # seconds of the computations nested in the current ones
        self._counted: set[Path] = set()

    def value(self, step: Step, label: str, inputs: dict[str, Any], make: Callable[[], Any]) -> Any:
        """Return a JSON value. `label` is part of the file name, for people who read the folder."""
        path = self.path(step, label, inputs, ".json")

        def write(temporary: Path) -> None:
            temporary.write_text(json.dumps(make(), ensure_ascii=False), encoding="utf-8")

        self._ensure(path, step, label, inputs, write)
        return json.loads(path.read_text(encoding="utf-8"))

    def arrays(
        self, step: Step, label: str, inputs: dict[str, Any], make: Callable[[], dict[str, np.ndarray]]
    ) -> dict[str, np.ndarray]:
        """Return arrays by name."""
        path = self.path(step, label, inputs, ".npz")

        def write(temporary: Path) -> None:
            with temporary.open("wb") as file:
                np.savez(file, allow_pickle=False, **make())

        self._ensure(path, step, label, inputs, write)
        with np.load(path, allow_pickle=False) as loaded:
            return {name: loaded[name] for name in loaded.files}

    def tree(self, step: Step, label: str, inputs: dict[str, Any], make: Callable[[Path], Any]) -> Path:
        """Return a folder that `make` writes."""
        path = self.path(step, label, inputs, "")
        self._ensure(path, step, label, inputs, make)
        return path

    def path(self, step: Step, label: str, inputs: dict[str, Any], end: str) -> Path:
        """Return the path of a result, whether or not it exists."""
        return self.folder / step.name / f"{label.replace('/', '-').replace(' ', '-')}-{key(step, inputs)}{end}"

    def _ensure(self, path: Path, step: Step, label: str, inputs: dict, write: Callable[[Path], Any]) -> None:
        record = path.with_name(f"{path.name}.about")
        began = self._clock()
        with _locked(path.parent, path.name):
            if self._nested:
                # The wait for another process is not work of the enclosing step.
                self._nested[-1] += self._clock() - began
            if not (path.exists() and record.exists()):
                self._make(path, record, step, label, inputs, write)
        if path not in self._counted:
            self._counted.add(path)
            self.spent_seconds += json.loads(record.read_text(encoding="utf-8"))["seconds"]

    def _make(self, path: Path, record: Path, step: Step, label: str, inputs: dict, write: Callable) -> None:
        temporary = path.with_name(f".{path.name}.tmp")
        _remove(temporary)  # left by a run that was killed
        started = self._clock()
        self._nested.append(0.0)
        try:
            write(temporary)
        except StepError:  # a nested step failed: the message names that one
            raise
        except Exception as error:
            raise StepError(f"step {step.name} failed on {label}: {type(error).__name__}: {error}") from error
        finally:
            nested_seconds = self._nested.pop()
        seconds = self._clock() - started
        if self._nested:
            self._nested[-1] += seconds
        _write_json(record, {"step": step.name, "label": label, "seconds": seconds - nested_seconds, "inputs": inputs})
        _remove(path)
        temporary.replace(path)


def key(step: Step, inputs: dict[str, Any]) -> str:
    """Return the hash that identifies a result."""
    text = json.dumps([step.name, step.version, inputs], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:20]


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def _write_json(path: Path, content: Any) -> None:
    write_text(path, json.dumps(content, ensure_ascii=False) + "\n")


@contextlib.contextmanager
def _locked(folder: Path, name: str) -> Iterator[None]:
    """Hold the lock of one result, so that no other process computes it. The lock ends with its process."""
    import fcntl

    locks = folder / "locks"
    locks.mkdir(parents=True, exist_ok=True)
    with (locks / name).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)

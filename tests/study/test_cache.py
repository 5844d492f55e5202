from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

from study.cache import Cache, Step, StepError

DOUBLE = Step("double", 1)


class Calls:
    """A cached computation that records its calls."""

    def __init__(self) -> None:
        self.made: list[int] = []

    def double(self, cache: Cache, number: int, step: Step = DOUBLE) -> int:
        def make() -> int:
            self.made.append(number)
            return 2 * number

        return cache.value(step, f"of {number}", {"number": number}, make)


class Killed(BaseException):
    """An exception that stands for the end of the process."""


def test_killed_study_resumes_and_does_nothing_twice(tmp_path):
    calls = Calls()

    def study() -> list[int]:
        cache = Cache(tmp_path)
        found = [calls.double(cache, number) for number in (1, 2)]
        if len(calls.made) == 2:
            raise Killed
        return [*found, calls.double(cache, 3)]

    with pytest.raises(Killed):
        study()
    calls.made.append(0)
    assert study() == [2, 4, 6]
    assert calls.made == [1, 2, 0, 3]


def test_changed_inputs_or_version_are_computed_anew(tmp_path):
    cache, calls = Cache(tmp_path), Calls()
    calls.double(cache, 1)
    calls.double(cache, 1)
    calls.double(cache, 2)
    calls.double(cache, 1, Step("double", 2))
    assert calls.made == [1, 2, 1]


def test_kill_within_a_step_leaves_no_result(tmp_path):
    cache = Cache(tmp_path)

    def half(path):
        path.mkdir()
        (path / "first").write_text("half")
        raise Killed

    def whole(path):
        path.mkdir()
        (path / "second").write_text("whole")

    with pytest.raises(Killed):
        cache.tree(Step("folder", 1), "it", {}, half)
    assert not cache.path(Step("folder", 1), "it", {}, "").exists()
    made = cache.tree(Step("folder", 1), "it", {}, whole)
    assert [path.name for path in made.iterdir()] == ["second"]
    assert not [path for path in made.parent.iterdir() if path.name.endswith(".tmp")]


def test_what_one_process_makes_another_waits_for(tmp_path):
    """Two processes without a lock would compute a result twice, or rename a file that the other still writes."""
    program = """
import os, sys, time
from pathlib import Path
from study.cache import Cache, Step

def make():
    with open(sys.argv[1] + "/made", "a") as file:
        file.write("x")
    time.sleep(0.2)
    return os.getpid()

print([Cache(Path(sys.argv[1])).value(Step("number", 1), "it", {"number": n}, make) for n in range(3)])
"""
    processes = [
        subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    outputs = {process.communicate(timeout=60)[0] for process in processes}
    assert [process.returncode for process in processes] == [0, 0]
    assert len(outputs) == 1  # both return the results that one of them made
    assert (tmp_path / "made").read_text() == "xxx"


def test_arrays_come_back_as_they_were(tmp_path):
    given = {"floats": np.arange(3, dtype=np.float16), "bits": np.array([[1, 255]], np.uint8)}
    for _ in range(2):
        found = Cache(tmp_path).arrays(Step("arrays", 1), "it", {}, lambda: given)
        assert {name: (array.dtype, array.tolist()) for name, array in found.items()} == {
            name: (array.dtype, array.tolist()) for name, array in given.items()
        }


def test_failure_names_its_step_and_what_it_was_on(tmp_path):
    cache = Cache(tmp_path)

    def fail():
        raise ZeroDivisionError("no rows")

    def outer():
        return cache.value(Step("inner", 1), "sst2", {}, fail)

    with pytest.raises(StepError, match=r"step inner failed on sst2: ZeroDivisionError: no rows"):
        cache.value(Step("outer", 1), "all", {}, outer)


def test_seconds_are_counted_once_and_come_back_after_a_resume(tmp_path):
    now = [0.0]

    def spend(seconds, value=None):
        now[0] += seconds
        return value

    def study() -> float:
        cache = Cache(tmp_path, clock=lambda: now[0])

        def outer():
            spend(1)
            return cache.value(Step("inner", 1), "it", {}, lambda: spend(10, "inner"))

        for _ in range(2):
            cache.value(Step("outer", 1), "it", {}, outer)
        return cache.spent_seconds

    assert study() == 11
    assert json.loads((next((tmp_path / "outer").glob("*.about"))).read_text())["seconds"] == 1
    assert study() == 1  # the time of the outer step alone; the inner one was not requested

from __future__ import annotations

import itertools
import json
import threading

import pytest

from benchmarks.harness import Contender, Report, Table, Timing, best_setting, interleave
from benchmarks.settings import Settings


class Clock:
    """A fake clock: the functions that `spending` returns advance it by the given seconds, in turn."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def spending(self, *seconds: float):
        durations = itertools.cycle(seconds)

        def run() -> None:
            self.now += next(durations)

        return run


def test_rate_is_the_median_and_ratio_the_median_of_each_rounds_ratio():
    timing = Timing({"ours": [1.0, 2.0, 4.0], "theirs": [3.0, 4.0, 40.0]})
    assert timing.per_second("ours", 100) == 50
    assert timing.ratios("ours", "theirs") == [3.0, 2.0, 10.0]
    figures = timing.figures("ours", 100)
    assert figures["theirs"] == {"ours_times_as_fast": 3.0, "ratios": [3.0, 2.0, 10.0], "per_second": 25.0}
    assert figures["ours"]["ours_times_as_fast"] == 1.0


def test_rounds_are_interleaved_begin_elsewhere_and_leave_the_warm_up_out():
    clock, calls = Clock(), []

    def contender(name: str, *seconds: float) -> Contender:
        spend = clock.spending(*seconds)
        return Contender(name, lambda: (calls.append(name), spend()), lambda: calls.append(f"warm {name}"))

    timing = interleave([contender("a", 1, 2, 3), contender("b", 10, 20, 30)], rounds=3, clock=clock)
    assert calls == ["warm a", "warm b", "a", "b", "b", "a", "a", "b"]
    assert timing.seconds == {"a": [1, 2, 3], "b": [10, 20, 30]}


@pytest.mark.parametrize("when", ["warm_up", "run"])
def test_contender_that_throws_is_absent_with_its_reason_in_one_line(when):
    def fail() -> None:
        raise ImportError("no module\nnamed so")

    bad = Contender("bad", fail, fail if when == "warm_up" else None)
    timing = interleave([bad, Contender("good", lambda: None)], rounds=2)
    assert timing.absent == {"bad": "ImportError: no module"}
    assert len(timing.seconds["good"]) == 2
    assert "absent: ImportError: no module" in str(timing.table("title", "good", 1))
    assert timing.figures("good", 1)["bad"] == {"absent": "ImportError: no module"}


def test_table_puts_ratios_first_and_the_fastest_on_top():
    timing = Timing({"slow": [4.0], "fast": [1.0]}, notes={"fast": "bfloat16"})
    lines = str(timing.table("Encode", "fast", 8)).splitlines()
    assert lines[0] == "Encode"
    assert lines[2].split() == ["1.00", "1.00–1.00", "8", "fast", "bfloat16"]
    assert lines[3].split() == ["4.00", "4.00–4.00", "2", "slow"]


def test_report_ends_with_one_json_line(capsys):
    Report("encode", [Table.of("Figures", {"share": 0.5})], {"share": 0.5}).print()
    printed = capsys.readouterr().out.strip().splitlines()
    assert json.loads(printed[-1]) == {"benchmark": "encode", "share": 0.5}


def test_best_setting_is_the_fastest(monkeypatch):
    monkeypatch.setattr("benchmarks.harness.time_in_thread", lambda run, thread: run())
    assert best_setting([8, 16, 32], lambda setting: {8: 2.0, 16: 1.0, 32: 1.5}[setting]) == 16


def test_a_setting_that_throws_is_not_the_best():
    def run(setting: int) -> None:
        if setting > 8:
            raise MemoryError(f"batches of {setting}")

    assert best_setting([32, 8, 16], run) == 8
    with pytest.raises(MemoryError, match="batches of 32"):
        best_setting([16, 32], run)


@pytest.mark.parametrize(("own_threads", "threads"), [(True, 1), (False, 4)])
def test_a_contender_may_keep_its_thread(own_threads, threads):
    used = []
    run = lambda: used.append(threading.current_thread())  # noqa: E731
    interleave([Contender("a", run, run), Contender("b", lambda: None, None)], 3, own_threads=own_threads)
    assert len(set(used)) == threads


def test_quick_settings_are_smaller_everywhere(tmp_path):
    full = Settings(tmp_path, tmp_path)
    quick = full.quick()
    assert quick.encode_documents < full.encode_documents
    assert max(quick.label_documents) < min(full.label_documents)

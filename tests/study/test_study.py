"""Tests of the whole study on the tiny model and synthetic tasks."""

from __future__ import annotations

import json

import pytest

from study import __main__ as study
from study import rivals, steps
from study.cache import Cache
from tests.conftest import optional


@pytest.fixture
def arguments(tiny_data, tiny_base, tmp_path) -> list[str]:
    places = ["--data", str(tiny_data), "--work", str(tmp_path / "work"), "--output", str(tmp_path / "docs")]
    tasks = ["--tasks", "sst2", "reuters_topics", "--long_tasks", "reuters_topics"]
    return [*places, *tasks, "--quick", "--base", str(tiny_base), "--device", "cpu", "--seeds", "0"]


def test_quick_study_runs_end_to_end_and_again_from_its_cache(arguments, tmp_path, monkeypatch):
    optional("sklearn")
    figures = study.run(arguments)
    assert set(figures["steps"]) == set(steps.STEPS)
    assert not [goal for goal in figures["goals"] if goal["met"] is None and "1,024 bits" not in goal["asks"]]
    page = (tmp_path / "docs" / "results.md").read_text(encoding="utf-8")
    assert "Not measured." not in page
    assert json.loads((tmp_path / "docs" / "results.json").read_text()) == figures
    text_of_the_data = (tmp_path / "docs" / "results.json").read_text()
    assert "film story" not in text_of_the_data

    monkeypatch.setattr(Cache, "_make", lambda self, *_: pytest.fail("computed twice"))
    again = study.run(arguments)
    assert again["goals"] == figures["goals"]
    assert (tmp_path / "docs" / "results.md").read_text(encoding="utf-8") == page


def test_step_that_fails_is_named_and_what_came_before_is_kept(arguments, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise MemoryError("no memory")

    steps_asked = [*arguments, "--steps", "frozen", "rivals"]
    monkeypatch.setattr(rivals, "train", fail)
    with pytest.raises(
        study.StepError, match=r"step classifier failed on fine-tuned-sst2-0-0.001-1\+2\+3: MemoryError"
    ):
        study.run(steps_asked)
    monkeypatch.undo()
    monkeypatch.setattr(steps, "STEPS", {"frozen": steps.STEPS["frozen"]})
    monkeypatch.setattr(Cache, "_make", lambda self, *_: pytest.fail("computed twice"))
    assert "frozen" in study.run([*arguments, "--steps", "frozen"])["steps"]


@pytest.mark.slow
def test_every_step_runs_on_the_default_base_model(tiny_data, tmp_path):
    optional("sklearn")
    places = ["--data", str(tiny_data), "--work", str(tmp_path / "work"), "--output", str(tmp_path / "docs")]
    tasks = ["--tasks", "sst2", "reuters_topics", "--long_tasks", "reuters_topics"]
    figures = study.run([*places, *tasks, "--quick", "--device", "cpu", "--seeds", "0", "--note", "a test"])
    assert set(figures["steps"]) == set(steps.STEPS)
    assert "Not measured." not in (tmp_path / "docs" / "results.md").read_text(encoding="utf-8")

from __future__ import annotations

import json

import pytest

from study import __main__ as study
from study import kept, steps


@pytest.fixture
def arguments(tiny_data, tiny_base, tmp_path) -> list[str]:
    places = ["--data", str(tiny_data), "--work", str(tmp_path / "work"), "--output", str(tmp_path / "docs")]
    return [*places, "--tasks", "sst2", "trec", "--quick", "--base", str(tiny_base), "--device", "cpu"]


@pytest.mark.slow
def test_a_step_that_is_kept_stands_as_it_was_and_the_page_says_so(arguments, tmp_path, monkeypatch):
    first = study.run([*arguments, "--steps", "frozen", "--shots", "4"])
    monkeypatch.setitem(steps.STEPS, "frozen", ("nowhere", "run", "may not be run again"))
    again = study.run(
        [*arguments, "--steps", "frozen", "size", "--keep", "frozen", "--shots", "5", "--note", "Of old."]
    )
    assert again["steps"]["frozen"] == first["steps"]["frozen"] | {"kept": first["settings"]}
    page = (tmp_path / "docs" / "results.md").read_text(encoding="utf-8")
    assert "Kept from an earlier page, not measured again for this one: frozen (`shots 4`)." in page
    assert "- Of old." in page
    # The settings of the measurement, not of the last run that kept it.
    once_more = study.run([*arguments, "--steps", "size", "--keep", "frozen", "--shots", "4", "--size_rows", "50"])
    assert once_more["steps"]["frozen"]["kept"] == first["settings"]
    page = (tmp_path / "docs" / "results.md").read_text(encoding="utf-8")
    assert "frozen (`size_rows 60`)." in page


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "results.json, which is not there"),
        ({"steps": {"size": {}}, "settings": {}}, "names frozen, but .* has size"),
    ],
)
def test_an_absent_page_or_step_cannot_be_kept(tmp_path, content, message):
    path = tmp_path / "results.json"
    if content is not None:
        path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=message):
        kept.read(path, ["frozen"])


def test_nothing_is_looked_for_where_nothing_is_kept(tmp_path):
    assert kept.read(tmp_path / "absent.json", []) == {}

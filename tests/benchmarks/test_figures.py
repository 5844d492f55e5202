from __future__ import annotations

import json
import sys

import pytest

import encoder
from benchmarks import __main__ as benchmarks
from benchmarks import child, make_corpus, page
from tests.conftest import random_texts

CORPUS_TEXTS = 300  # more than any part takes with --quick


@pytest.mark.parametrize("name", page.PAGES)
def test_pages_hold_the_figures_of_the_results_file(name):
    text = (page.REPOSITORY / name).read_text(encoding="utf-8")
    assert "<!-- figures: " in text
    assert page.filled(text, page.read(page.FIGURES)) == text, "run python -m benchmarks.page"


def test_published_figures_are_of_the_encoder_that_ships():
    shipped = encoder.describe("default").fingerprint[:12]
    figures = page.read(page.FIGURES)
    assert set(figures) == set(benchmarks.PARTS)
    assert {part: values["bundle"]["fingerprint"] for part, values in figures.items()} == dict.fromkeys(
        figures, shipped
    )


def test_later_lines_replace_earlier_ones(tmp_path):
    lines = [{"benchmark": "machine"}, {"benchmark": "kills", "kills": 1}, {"benchmark": "kills", "kills": 2}]
    (tmp_path / "results.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    figures = page.last_lines(tmp_path / "results.jsonl")
    assert figures == {"kills": {"kills": 2}}
    (tmp_path / "figures.json").write_text(page.dump(figures))
    assert page.read(tmp_path / "figures.json") == figures


def test_what_was_not_measured_is_said():
    text = "a\n<!-- figures: encode -->\nold\n<!-- end of figures -->\nb\n"
    assert page.filled(text, {}) == "a\n<!-- figures: encode -->\nNot measured.\n<!-- end of figures -->\nb\n"
    with pytest.raises(KeyError):
        page.filled(text.replace("encode", "unknown"), {})


@pytest.mark.slow
def test_every_part_runs_on_the_default_encoder_and_the_pages_can_be_written(tmp_path):
    texts = [f"{text} {number}" for number, text in enumerate(random_texts(CORPUS_TEXTS, seed=6))]
    make_corpus.make(texts, tmp_path / "corpus")
    places = ["--corpus", str(tmp_path / "corpus"), "--work", str(tmp_path / "work")]
    sizes = ["--quick", "--rounds", "1", "--output", str(tmp_path / "results.jsonl")]
    child.run([sys.executable, "-m", "benchmarks", "all", *places, *sizes])
    figures = page.last_lines(tmp_path / "results.jsonl")
    assert set(figures) == set(benchmarks.PARTS)
    assert figures["kills"]["identical"]
    for name in page.PAGES:
        assert page.NOT_MEASURED not in page.filled((page.REPOSITORY / name).read_text(encoding="utf-8"), figures)

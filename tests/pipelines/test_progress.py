from __future__ import annotations

import dataclasses
import sys

import pytest

from pipelines import progress
from pipelines.progress import Progress
from tests.conftest import write_corpus
from transforms.blocks import ReadOptions
from transforms.layout import Listing, codes_folder
from transforms.plan import match_shards, plan
from transforms.store import open_store


@pytest.fixture
def finished(annotate_tiny, tmp_path, tiny_bundle):
    """Give a store of 24 blocks of 320 documents, and the plan of the run that made it."""
    import encoder

    write_corpus(tmp_path / "in")
    annotate_tiny("--block_rows", "16", heads=["mood"])
    store = open_store(str(tmp_path / "store"))
    shards = match_shards([str(tmp_path / "in")], str(tmp_path / "in"), ReadOptions())
    made = plan(shards, Listing([]), {"mood": Listing([])}, store.rules.unit_bytes)
    return store, encoder.describe(str(tiny_bundle)).fingerprint, made


def test_blocks_done_are_counted_and_the_rest_guessed_from_their_bytes(finished, tmp_path):
    store, fingerprint, made = finished
    blocks = sorted((tmp_path / "store" / codes_folder(fingerprint)).iterdir())
    kept = [path.read_bytes() for path in blocks]
    for path in blocks:
        path.unlink()
    watch = Progress(store, fingerprint, {}, made)
    watch._look(first=True)
    assert watch._blocks_done == 0
    guesses = [watch._planned_blocks()]
    for path, content in zip(blocks, kept):
        path.write_bytes(content)
        watch._look()
        guesses.append(watch._planned_blocks())
    assert watch._documents == 320
    assert watch._blocks_done == guesses[-1] == 24
    assert min(guesses) >= 8  # a unit gives a block at least
    assert max(guesses[3:]) <= 48


def test_blocks_of_an_earlier_run_are_done_but_make_no_rate(finished):
    store, fingerprint, made = finished
    watch = Progress(store, fingerprint, {}, made)
    watch._look(first=True)
    assert (watch._blocks_done, watch._documents) == (24, 0)


def test_blocks_that_are_not_planned_are_neither_read_nor_remembered(finished, monkeypatch):
    store, fingerprint, made = finished
    kept = made.to_encode[0].shard
    only = dataclasses.replace(made, units=[unit for unit in made.units if unit.shard == kept])
    watch = Progress(store, fingerprint, {}, only)
    opened = []
    real = type(store).read_schema
    monkeypatch.setattr(type(store), "read_schema", lambda *a: (opened.append(a[-1].shard), real(*a))[1])
    watch._look(first=True)
    assert set(opened) == {kept}
    assert len(watch._counted) == watch._blocks_done == len(opened) < 24


def test_a_terminal_gets_a_bar(finished, monkeypatch, capsys):
    store, fingerprint, made = finished
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with Progress(store, fingerprint, {}, made):
        pass
    said = capsys.readouterr().err
    assert "24 of 24 blocks" in said
    assert "100%" in said


def test_a_pipe_gets_a_line_now_and_then(finished, monkeypatch, capsys):
    store, fingerprint, made = finished
    monkeypatch.setattr(progress, "_SECONDS_BETWEEN_LINES", 0.0)
    monkeypatch.setattr(progress, "_SECONDS_BETWEEN_LISTINGS", 0.01)
    import time

    with Progress(store, fingerprint, {}, made):
        time.sleep(0.1)
    assert "24 of about 24 blocks, 0 documents/s" in capsys.readouterr().err


def test_no_progress_is_silent(finished, capsys):
    store, fingerprint, made = finished
    with Progress(store, fingerprint, {}, made, shown=False):
        pass
    assert capsys.readouterr().err == ""

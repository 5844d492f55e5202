from __future__ import annotations

import dataclasses
import sys
import time

import pytest

import encoder
import heads
from pipelines import progress
from pipelines.progress import Progress
from tests.conftest import write_corpus
from transforms.layout import Listing, PartName, codes_folder, parts_folder
from transforms.match import match_shards
from transforms.options import ReadOptions
from transforms.plan import plan, plan_labels
from transforms.store import open_store
from transforms.tables import write_table


@pytest.fixture
def finished(annotate_tiny, tmp_path, tiny_bundle):
    """Give a store of 320 documents, the encoder's fingerprint, and the plan of the run that made it."""
    write_corpus(tmp_path / "in")
    annotate_tiny("--block_rows", "16", heads=["mood"])
    store = open_store(str(tmp_path / "store"))
    shards = match_shards([str(tmp_path / "in")], str(tmp_path / "in"), ReadOptions())
    made = plan(shards, Listing([]), {"mood": Listing([])}, store.rules.unit_bytes, {})
    return store, encoder.describe(str(tiny_bundle)).fingerprint, made


def test_the_bytes_of_complete_units_are_done(finished, tmp_path):
    store, fingerprint, made = finished
    codes = sorted((tmp_path / "store" / codes_folder(fingerprint)).iterdir())
    content = {path: path.read_bytes() for path in codes}
    for path in codes:
        path.unlink()
    watch = Progress(store, fingerprint, [], made)
    watch.poll()
    assert (watch.done, watch.documents) == (0, 0)
    done = []
    for path in codes:
        path.write_bytes(content[path])
        watch.poll()
        done.append(watch.done)
    assert done == sorted(set(done))
    assert done[-1] == watch.total == made.counts["bytes_to_encode"]
    assert watch.documents == 320


def test_parts_of_an_open_file_are_done(finished, tmp_path):
    store, fingerprint, made = finished
    unit = made.to_encode[0]
    for path in (tmp_path / "store" / codes_folder(fingerprint)).glob(f"{unit.shard}.*"):
        path.unlink()
    watch = Progress(store, fingerprint, [], made)
    watch.poll()
    done, documents = watch.done, watch.documents
    part = PartName(unit.shard, unit.index, unit.count, 0, 16, 0, source_bytes=123)
    writing = dataclasses.replace(store, run_id="r")
    writing.commit(parts_folder(fingerprint), part, write_table(made_up()))
    watch.poll()
    assert (watch.done - done, watch.documents - documents) == (123, 16)


def made_up():
    import pyarrow as pa

    return pa.table({"a": [1]})


def test_labels_are_counted_in_documents(finished, tiny_heads):
    store, fingerprint, _ = finished
    head = heads.load(tiny_heads["mood"])
    made = plan_labels(store.listing(codes_folder(fingerprint)), {"mood": Listing([])})
    watch = Progress(store, fingerprint, [head], made)
    watch.poll()
    assert watch.done == watch.total == watch.documents == 320


def test_files_that_are_not_planned_are_not_counted(finished):
    store, fingerprint, made = finished
    unit = made.to_encode[0]
    key = (unit.shard, unit.index)
    only = dataclasses.replace(made, units=[unit], unit_bytes={key: made.unit_bytes[key]})
    watch = Progress(store, fingerprint, [], only)
    watch.poll()
    assert watch.documents == 40


def test_a_terminal_gets_a_bar_of_bytes(finished, monkeypatch, capsys):
    store, fingerprint, made = finished
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with Progress(store, fingerprint, [], made):
        pass
    printed = capsys.readouterr().err
    assert "B of " in printed
    assert "100%" in printed


def test_a_pipe_gets_a_line_now_and_then_and_earlier_documents_make_no_rate(finished, monkeypatch, capsys):
    store, fingerprint, made = finished
    monkeypatch.setattr(progress, "_SECONDS_BETWEEN_LINES", 0.0)
    monkeypatch.setattr(progress, "_SECONDS_BETWEEN_LISTINGS", 0.01)
    with Progress(store, fingerprint, [], made):
        time.sleep(0.1)
    assert "100% done, 0 documents/s" in capsys.readouterr().err


def test_no_progress_is_silent(finished, capsys):
    store, fingerprint, made = finished
    with Progress(store, fingerprint, [], made, shown=False):
        pass
    assert capsys.readouterr().err == ""

from __future__ import annotations

import dataclasses
import sys
import time

import pytest

import encoder
import heads
from pipelines import progress
from pipelines.progress import Progress, Reached, Speed
from tests.conftest import random_texts, write_corpus
from transforms import encode
from transforms.encoded import Encoded, encoded_units, forget_encoded, note_encoded
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
    assert watch.reached == Reached(0, 0)
    done = []
    for path in codes:
        path.write_bytes(content[path])
        watch.poll()
        done.append(watch.reached.done)
    assert done == sorted(set(done))
    assert done[-1] == watch.total == made.counts["bytes_to_encode"]
    assert watch.reached.documents == 320


def test_parts_of_an_open_file_are_done(finished, tmp_path):
    store, fingerprint, made = finished
    unit = made.to_encode[0]
    for path in (tmp_path / "store" / codes_folder(fingerprint)).glob(f"{unit.shard}.*"):
        path.unlink()
    watch = Progress(store, fingerprint, [], made)
    watch.poll()
    before = watch.reached
    part = PartName(unit.shard, unit.index, unit.count, 0, 16, 0, source_bytes=123)
    writing = dataclasses.replace(store, run_id="r")
    writing.commit(parts_folder(fingerprint), part, write_table(made_up()))
    watch.poll()
    assert (watch.reached.done - before.done, watch.reached.documents - before.documents) == (123, 16)


def made_up():
    import pyarrow as pa

    return pa.table({"a": [1]})


def test_labels_are_counted_in_documents(finished, tiny_heads):
    store, fingerprint, _ = finished
    head = heads.load(tiny_heads["mood"])
    made = plan_labels(store.listing(codes_folder(fingerprint)), {"mood": Listing([])})
    watch = Progress(store, fingerprint, [head], made)
    watch.poll()
    assert watch.reached == Reached(watch.total, watch.total) == Reached(320, 320)


def test_files_that_are_not_planned_are_not_counted(finished):
    store, fingerprint, made = finished
    unit = made.to_encode[0]
    key = (unit.shard, unit.index)
    only = dataclasses.replace(made, units=[unit], unit_bytes={key: made.unit_bytes[key]})
    watch = Progress(store, fingerprint, [], only)
    watch.poll()
    assert watch.reached.documents == 40


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
    printed = capsys.readouterr().err
    assert "99% done, starting" in printed
    assert "documents/s" not in printed


def test_no_progress_is_silent(finished, capsys):
    store, fingerprint, made = finished
    with Progress(store, fingerprint, [], made, shown=False):
        pass
    assert capsys.readouterr().err == ""


def test_what_this_process_has_encoded_of_a_unit_is_done(finished, tmp_path):
    store, fingerprint, made = finished
    unit = made.to_encode[0]
    for path in (tmp_path / "store" / codes_folder(fingerprint)).glob(f"{unit.shard}.*"):
        path.unlink()
    watch = Progress(store, fingerprint, [], made)
    forget_encoded()
    watch.poll()
    before = watch.reached
    note_encoded(unit.shard, unit.index, Encoded(100, 7))
    watch.poll()
    assert (watch.reached.done - before.done, watch.reached.documents - before.documents) == (100, 7)
    note_encoded(unit.shard, unit.index, None)
    assert encoded_units() == {}


def test_blocks_count_while_they_are_encoded(tmp_path, annotate_tiny, monkeypatch):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.txt").write_text("".join(f"{text}\n" for text in random_texts(200)))
    noted = []
    monkeypatch.setattr(encode, "note_encoded", lambda *arguments: noted.append(arguments[2]))
    annotate_tiny("--batch_tokens", "200", "--threads", "1", heads=[])
    size = (tmp_path / "in" / "a.txt").stat().st_size
    assert len(noted) > 10
    assert noted[0].documents < 50
    assert noted[-2:] == [Encoded(size, 200), None]
    assert noted[:-1] == sorted(noted[:-1], key=lambda encoded: encoded.documents)


def test_an_interrupted_run_shows_what_it_reached(finished, tmp_path, monkeypatch, capsys):
    store, fingerprint, made = finished
    unit = made.to_encode[0]
    for path in (tmp_path / "store" / codes_folder(fingerprint)).glob(f"{unit.shard}.*"):
        path.unlink()
    reached = round(100 * (1 - made.unit_bytes[unit.shard, unit.index] / made.counts["bytes_to_encode"]) - 0.5)
    for terminal, expected in ((True, f"{reached:3}% |"), (False, f"{reached}% done when the run was stopped")):
        monkeypatch.setattr(sys.stderr, "isatty", lambda terminal=terminal: terminal, raising=False)
        with pytest.raises(KeyboardInterrupt), Progress(store, fingerprint, [], made):
            raise KeyboardInterrupt
        printed = capsys.readouterr().err
        assert expected in printed
        assert "100%" not in printed


def test_a_run_that_is_interrupted_before_its_end_is_never_at_100_percent(finished, monkeypatch, capsys):
    store, fingerprint, made = finished
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with pytest.raises(KeyboardInterrupt), Progress(store, fingerprint, [], made):
        raise KeyboardInterrupt  # all codes are there, but not all labels may be
    printed = capsys.readouterr().err
    assert " 99% |" in printed
    assert "100%" not in printed


def test_the_rate_counts_from_the_first_documents_on():
    speed = Speed()
    speed.add(0, Reached(500, 50))  # of an earlier run
    speed.add(20, Reached(500, 50))  # the model is loaded
    assert not speed.has_begun
    speed.add(30, Reached(600, 60))
    assert speed.has_begun
    assert speed.documents_per_second is None
    speed.add(40, Reached(800, 80))
    assert speed.documents_per_second == 2
    assert speed.seconds_left(1000) == 10

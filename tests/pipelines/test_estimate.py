"""A dry run estimates time and size from a short measurement."""

from __future__ import annotations

import pytest

from pipelines import annotate, estimate
from pipelines.estimate import format_duration
from tests.conftest import write_corpus


def folder_bytes(folder) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*.parquet"))


def test_a_dry_run_estimates_documents_time_and_bytes(annotate_tiny, tmp_path, capsys):
    write_corpus(tmp_path / "in", rows=400)
    found = annotate_tiny("--dry_run").estimate
    assert not (tmp_path / "store").exists()
    shown = capsys.readouterr().out
    assert f"estimate, from {found['measured']:,} documents that were encoded here" in shown
    assert "documents to encode   about 3,200" in shown
    assert "time on this machine  about" in shown
    summary = annotate_tiny()
    assert found["documents"] == pytest.approx(summary.documents, rel=0.01)
    assert found["documents_per_second"] > 0
    assert found["seconds"] > found["start_seconds"] > 0
    assert found["code_bytes"] == pytest.approx(folder_bytes(tmp_path / "store" / "codes"), rel=0.1)
    for task in ("mood", "themes", "stars"):
        size = folder_bytes(tmp_path / "store" / "labels" / f"task={task}")
        assert found["label_bytes"][task] == pytest.approx(size, rel=0.15)


def test_large_units_are_estimated_from_their_beginning(annotate_tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(estimate, "READ_SECONDS", 0.0)  # one block of each unit
    write_corpus(tmp_path / "in", rows=4000)
    found = annotate_tiny("--dry_run", "--unit_bytes", "30000", heads=[]).estimate
    assert found["documents"] == pytest.approx(8 * 4000, rel=0.05)
    assert found["label_bytes"] == {}
    assert found["labelled_per_second"] is None


def test_labels_are_estimated_from_stored_codes(annotate_tiny, tmp_path, tiny_bundle, tiny_heads, monkeypatch):
    write_corpus(tmp_path / "in")
    annotate_tiny(heads=[])
    monkeypatch.setattr(estimate.encoder, "load", None)  # is not called
    arguments = ["--store", str(tmp_path / "store"), "--encoder", str(tiny_bundle), "--dry_run"]
    arguments += ["--heads", str(tiny_heads["mood"]), str(tiny_heads["stars"])]
    for found in (annotate.run_label(arguments).estimate, annotate_tiny("--dry_run", heads=["mood", "stars"]).estimate):
        assert (found["documents"], found["documents_to_label"], found["measured"]) == (0, 320, 0)
        assert found["documents_per_second"] is None
        assert found["labelled_per_second"] > 0
        assert set(found["label_bytes"]) == {"mood", "stars"}


def test_nothing_is_measured_where_nothing_can_be_or_is_to_be(annotate_tiny, tmp_path, capsys, monkeypatch):
    write_corpus(tmp_path / "in")
    assert annotate_tiny("--dry_run", "--no_measure").estimate is None
    monkeypatch.setattr(estimate.encoder, "load", lambda *_: (_ for _ in ()).throw(estimate.EncoderError("no model")))
    assert annotate_tiny("--dry_run").estimate is None
    assert "time and size are not estimated: no model" in capsys.readouterr().out
    monkeypatch.undo()
    for path in (tmp_path / "in").iterdir():
        path.unlink()
    (tmp_path / "in" / "a.txt").write_text("\n\n")
    assert annotate_tiny("--dry_run").estimate is None
    assert "not estimated: none of the first rows" in capsys.readouterr().out
    annotate_tiny("--max_reject_share", "1")
    assert annotate_tiny("--dry_run").estimate is None


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "1 s"), (99, "99 s"), (700, "12 min"), (19_200, "5 h 20 min"), (273_600, "3 days 4 h")],
)
def test_durations_are_for_people(seconds, text):
    assert format_duration(seconds) == text

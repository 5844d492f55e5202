"""What accidents in the middle of a run get."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pyarrow.parquet as pq
import pytest

from pipelines.status import store_status
from tests.conftest import random_texts, write_corpus
from transforms.store import open_store


def test_a_shard_that_vanishes_or_changes_during_the_run_fails_alone(annotate_tiny, tmp_path, monkeypatch):
    write_corpus(tmp_path / "in")
    from transforms import encode as reading

    real = reading.read_unit
    seen = []

    def sabotage(unit, options, limits):
        if not seen:  # the run is planned; no unit is read yet
            (tmp_path / "in" / "b.jsonl").unlink()
        seen.append(unit)
        for block in real(unit, options, limits):
            if unit.path.endswith("a.txt"):  # while it is read
                with (tmp_path / "in" / "a.txt").open("a") as file:
                    file.write("more\n")
            yield block

    monkeypatch.setattr(reading, "read_unit", sabotage)
    summary = annotate_tiny("--block_rows", "16", heads=["mood"])
    reasons = {os.path.basename(failure["path"]): failure["reason"] for failure in summary.failures}
    assert summary.exit_code == 3
    assert "changed since the run was planned" in reasons["a.txt"]
    assert "is gone" in reasons["b.jsonl"]
    assert summary.documents == 40 * 6 + 32  # of a.txt the blocks before the last: encoded, and not committed
    assert sum(status.documents for status in store_status(open_store(str(tmp_path / "store")))[:1]) == 240


def test_a_head_that_throws_fails_for_its_task_alone(annotate_tiny, tmp_path, monkeypatch):
    from heads import Head

    write_corpus(tmp_path / "in")
    real = Head.predict_from

    def throwing(self, logits):
        if self.task == "mood":
            raise RuntimeError("no mood today")
        return real(self, logits)

    monkeypatch.setattr(Head, "predict_from", throwing)
    summary = annotate_tiny()
    assert summary.exit_code == 3
    assert {failure["step"] for failure in summary.failures} == {"label-mood"}
    assert "RuntimeError: no mood today" in summary.failures[0]["reason"]
    assert summary.labelled == {"themes": 320, "stars": 320}
    monkeypatch.undo()
    assert annotate_tiny().labelled == {"mood": 320}


def test_whatever_a_reader_throws_fails_its_unit_alone(annotate_tiny, tmp_path, monkeypatch):
    from transforms import read as reading

    write_corpus(tmp_path / "in")
    real = reading.read_blocks

    def throwing(open_raw, path, *rest, **options):
        if path.endswith("d.parquet"):
            raise UnicodeDecodeError("utf-8", b"x", 0, 1, "a flipped bit")
        return real(open_raw, path, *rest, **options)

    monkeypatch.setattr(reading, "read_blocks", throwing)
    summary = annotate_tiny(heads=[])
    assert summary.exit_code == 3
    assert [os.path.basename(failure["path"]) for failure in summary.failures] == ["d.parquet"]
    assert summary.documents == 280


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("workers", ["", "multi_threading", "multi_processing"])
def test_a_signal_ends_with_its_code_and_a_store_that_goes_on(tmp_path, tiny_bundle, number, code, workers):
    import time

    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.txt").write_text("\n".join(random_texts(20_000)))
    command = [
        sys.executable, "-m", "pipelines.annotate", "--input", f"{tmp_path}/in", "--store", f"{tmp_path}/s",
        "--encoder", str(tiny_bundle), "--heads", "none", "--block_rows", "32", "--file_bytes", "512",
    ]  # fmt: skip
    if workers:
        command += ["--direct_num_workers=2", f"--direct_running_mode={workers}"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    while process.poll() is None and not list((tmp_path / "s").rglob("codes/*/*.parquet")):
        time.sleep(0.01)
    os.killpg(process.pid, number)  # as a terminal does
    _, said = process.communicate(timeout=120)
    assert process.returncode == code, said
    assert "interrupted; finished work is kept" in said
    assert "Traceback" not in said
    (record,) = (tmp_path / "s" / "runs").glob("*/run.json")
    assert json.loads(record.read_text())["state"] == "interrupted"
    assert "annotate: interrupted" in record.with_name("report.html").read_text()


@pytest.mark.slow
def test_a_full_disk_leaves_nothing_half_written(annotate_tiny, tmp_path, monkeypatch):
    from transforms.filesystem import files

    write_corpus(tmp_path / "in")
    real = files.commit
    calls = []

    def full(path, content, temporary_folder, *how, **more):
        if path.endswith(".parquet") and len(calls) > 5:
            os.makedirs(temporary_folder, exist_ok=True)
            with open(os.path.join(temporary_folder, "half.tmp"), "wb") as file:
                file.write(content[: len(content) // 2])
            raise OSError(28, "No space left on device")
        calls.append(path)
        real(path, content, temporary_folder, *how, **more)

    monkeypatch.setattr(files, "commit", full)
    with pytest.raises(Exception, match="No space left on device"):
        annotate_tiny()
    monkeypatch.undo()
    for path in (tmp_path / "store").rglob("*.parquet"):
        pq.read_table(path, partitioning=None)
    annotate_tiny()
    annotate_tiny(store=tmp_path / "quiet")
    from tests.conftest import store_files

    assert store_files(tmp_path / "store") == store_files(tmp_path / "quiet")

"""What bad rows and shards get."""

from __future__ import annotations

import dataclasses
import gzip
import os

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import encoder
import heads
from pipelines import prepare
from tests.conftest import random_texts, write_corpus
from tests.pipelines.test_annotate import read
from transforms.plan import Plan
from transforms.store import open_store


def test_bad_rows_are_rejected_with_place_and_reason_and_the_rest_goes_on(annotate_tiny, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.txt").write_bytes(b"good film\n\nbad \xff film\ndull plot\n   \n")
    lines = ['{"text": "good"}', '{"text": ', '{"text": null}', "{}", '{"text": 7}', '{"text": ""}', '{"text": "bad"}']
    (tmp_path / "in" / "b.jsonl").write_text("\n".join(lines) + "\n")
    pq.write_table(pa.table({"text": ["good", None, "bad"]}), tmp_path / "in" / "c.parquet")
    (tmp_path / "in" / "d.csv").write_text('text,n\ngood,1\nbad\n"",2\nbad,3\n')
    summary = annotate_tiny("--max_reject_share", "1")
    rejects = read(tmp_path / "store", "rejects").to_pylist()
    found = [(os.path.basename(row["path"]), row["position"], row["reason"]) for row in rejects]
    assert found == [
        ("a.txt", 10, "blank_text"),
        ("a.txt", 11, "invalid_utf8"),
        ("a.txt", 32, "blank_text"),
        ("b.jsonl", 17, "malformed_json"),
        ("b.jsonl", 27, "missing_text"),
        ("b.jsonl", 42, "missing_text"),
        ("b.jsonl", 45, "not_a_string"),
        ("b.jsonl", 57, "blank_text"),
        ("c.parquet", 1, "missing_text"),
        ("d.csv", 1, "malformed_csv"),
        ("d.csv", 2, "blank_text"),
    ]
    assert summary.documents == 8
    assert sum(summary.rejected.values()) == 11
    assert read(tmp_path / "store", "labels/task=mood").num_rows == 8


def test_too_many_rejects_keep_everything_and_exit_4(annotate_tiny, tmp_path, capsys):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.txt").write_text("good\n\n\nbad\n")
    summary = annotate_tiny(heads=[])
    assert summary.exit_code == 4
    assert "50.0% of the rows were rejected" in capsys.readouterr().out
    assert read(tmp_path / "store", "codes").num_rows == 2
    assert annotate_tiny("--max_reject_share", "0.6", heads=[], store=tmp_path / "other").exit_code == 0


def test_a_text_too_long_is_cut_and_marked(annotate_tiny, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.txt").write_text("good\n" + "good " * 50 + "\n" + "x" * 5000 + "\n")
    summary = annotate_tiny("--max_text_bytes", "1000", heads=[])
    assert summary.truncated == 2
    assert read(tmp_path / "store", "codes")["truncated"].to_pylist() == [False, True, True]


@pytest.fixture
def broken_corpus(tmp_path):
    """Write good shards and, in the middle of them, every kind of broken one."""
    texts = write_corpus(tmp_path / "in")
    rng = np.random.default_rng(0)
    noise = "\n".join("".join(map(chr, rng.integers(97, 123, 60))) for _ in range(5000))
    (tmp_path / "in" / "cut.txt.gz").write_bytes(gzip.compress(noise.encode())[:-1000])
    (tmp_path / "in" / "corrupt.parquet").write_bytes(b"PAR1 this is none PAR1")
    (tmp_path / "in" / "columns.csv").write_text("title,body\na,b\n")
    return sum(map(len, texts.values()))


def test_broken_shards_fail_alone(annotate_tiny, tmp_path, broken_corpus, capsys):
    summary = annotate_tiny("--block_rows", "500")
    assert summary.exit_code == 3
    failed = {os.path.basename(failure["path"]): failure["reason"] for failure in summary.failures}
    assert failed.keys() == {"cut.txt.gz", "corrupt.parquet", "columns.csv"}
    assert "title, body" in failed["columns.csv"]
    assert "ends early" in failed["cut.txt.gz"]
    stored = read(tmp_path / "store", "codes")
    assert stored.num_rows == broken_corpus
    assert "FAILED at read" in capsys.readouterr().out
    records = list((tmp_path / "store" / "runs").glob("*/failures/*.json"))
    assert len(records) == 3


def test_a_mended_shard_is_picked_up_by_the_next_run(annotate_tiny, tmp_path, broken_corpus):
    annotate_tiny()
    for name in ("cut.txt.gz", "corrupt.parquet", "columns.csv"):
        (tmp_path / "in" / name).unlink()
    (tmp_path / "in" / "cut.txt.gz").write_bytes(gzip.compress(b"good film\n"))
    summary = annotate_tiny()
    assert summary.exit_code == 0
    assert summary.documents == 1


def test_a_corrupt_file_of_codes_fails_its_unit_alone(annotate_tiny, tmp_path):
    write_corpus(tmp_path / "in")
    annotate_tiny(heads=[])
    victim = sorted((tmp_path / "store" / "codes").rglob("*.parquet"))[0]
    victim.write_bytes(victim.read_bytes()[:50])
    summary = annotate_tiny(heads=["mood"])
    assert summary.exit_code == 3
    assert summary.failures[0]["step"] == "label"
    folder, _, cure = summary.failures[0]["reason"].partition(victim.name)
    assert folder.startswith("codes/encoder=")
    assert "delete it; annotate recreates it" in cure
    assert summary.labelled == {"mood": 280}


def test_shards_of_one_name_in_two_folders_fail_each_for_itself(annotate_tiny, tmp_path):
    for folder in "xy":
        (tmp_path / "in" / folder).mkdir(parents=True)
        (tmp_path / "in" / folder / "part-0.parquet").write_bytes(b"nothing")
    summary = annotate_tiny(input=tmp_path / "in" / "**" / "*", heads=[])
    assert len(summary.failures) == 2


def test_a_file_name_that_is_not_utf8_has_ids_that_are(annotate_tiny, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "good.txt").write_text("good\n")
    with open(os.fsencode(tmp_path / "in") + b"/caf\xe9.txt", "wb") as file:
        file.write(b"bad\n")
    assert annotate_tiny(heads=["mood"]).documents == 2
    assert set(read(tmp_path / "store", "codes")["id"].to_pylist()) == {"good.txt@0", "caf\\xe9.txt@0"}


def test_rows_rejected_before_a_kill_count_when_it_is_resumed(annotate_tiny, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.txt").write_text("\n\ngood\nbad\n" * 10 + "good\n" * 8)
    assert annotate_tiny("--block_rows", "8", "--file_bytes", "160", heads=[]).exit_code == 4
    sorted((tmp_path / "store" / "codes").rglob("*.parquet"))[-1].unlink()
    summary = annotate_tiny(heads=[])
    assert summary.documents == 8
    assert summary.exit_code == 4
    assert summary.reject_share == 20 / 48


@pytest.mark.parametrize("name", ["_private.txt", ".hidden.txt"])
def test_a_hidden_file_that_is_named_is_read(annotate_tiny, tmp_path, monkeypatch, name):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / name).write_text("good\n")
    monkeypatch.chdir(tmp_path / "in")
    assert annotate_tiny(input=name, heads=[]).documents == 1


def test_a_store_below_the_pattern_is_not_read(annotate_tiny, tmp_path):
    write_corpus(tmp_path / "in", rows=2)
    store = tmp_path / "in" / "store"
    for _ in range(2):
        summary = annotate_tiny(input=tmp_path / "in" / "**" / "*", store=store, heads=[])
    assert summary.plan["shards"] == 8
    assert summary.documents == 0


def test_random_bytes_never_crash_the_run(annotate_tiny, tmp_path):
    (tmp_path / "in").mkdir()
    rng = np.random.default_rng(1)
    for name in ("a.txt", "b.jsonl", "c.csv", "d.tsv", "e.parquet", "f.gz", "g.txt.zst", "h.jsonl.xz", "i.bz2"):
        (tmp_path / "in" / name).write_bytes(rng.bytes(20_000))
    (tmp_path / "in" / "good.txt").write_text("\n".join(random_texts(5)))
    summary = annotate_tiny("--max_reject_share", "1", heads=["mood"])
    assert summary.exit_code == 3
    assert summary.documents >= 5


def test_a_unit_that_a_later_attempt_finished_has_not_failed(annotate_tiny, tmp_path, tiny_bundle, tiny_heads):
    """A cluster's runner tries a lost worker's units again; what the first attempt recorded must not fail the run."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.txt").write_text("good\nbad\n")
    annotate_tiny(heads=["mood"])
    (codes,) = (tmp_path / "store" / "codes").rglob("*.end.parquet")
    store = dataclasses.replace(open_store(str(tmp_path / "store")), run_id="one")
    shard = codes.name.split(".")[0]
    for step in ("read", "label-mood", "plan"):
        store.record_failure({"shard": shard, "unit": 0, "path": "a.txt", "step": step, "reason": "lost"})
    store.record_failure({"shard": shard, "unit": 1, "path": "a.txt", "step": "read", "reason": "lost"})
    bundle, plan = encoder.describe(str(tiny_bundle)), Plan([], {}, [], {})
    found = prepare.still_failed(prepare.Job(bundle, store, plan, [heads.load(tiny_heads["mood"])]))
    assert [(failure["unit"], failure["step"]) for failure in found] == [(0, "plan"), (1, "read")]
    both = [heads.load(tiny_heads[task]) for task in ("mood", "stars")]
    found = prepare.still_failed(prepare.Job(bundle, store, plan, both))
    assert len(found) == 4  # the labels of one head are missing

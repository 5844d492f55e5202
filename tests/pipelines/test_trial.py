"""Trying first: `--limit` reads the first rows into a store of its own, `--sample` processes some of the units."""

from __future__ import annotations

import pytest

from encoder.declare import OptionError
from pipelines import annotate, status, verify
from tests.conftest import random_texts, store_files, write_corpus
from tests.pipelines.test_annotate import read
from transforms.plan import Sample
from transforms.store import StoreError

TEXTS = 8 * 40  # of write_corpus


def ids(store) -> list[str]:
    return read(store, "codes")["id"].to_pylist()


@pytest.mark.parametrize("limit", [1, 39, 40, 41, 100, 320, 1000])
def test_a_limit_takes_the_first_rows_in_the_order_of_the_paths(annotate_tiny, tmp_path, limit):
    write_corpus(tmp_path / "in")
    annotate_tiny("--unit_bytes", "700", heads=["mood"])
    trial = tmp_path / "trial"
    summary = annotate_tiny("--unit_bytes", "700", "--limit", str(limit), heads=["mood"], store=trial)
    expected = min(limit, TEXTS)
    assert (summary.exit_code, summary.documents, summary.labelled) == (0, expected, {"mood": expected})
    assert ids(trial) == ids(tmp_path / "store")[:expected]
    assert read(trial, "labels/task=mood").equals(read(tmp_path / "store", "labels/task=mood").slice(0, expected))
    again = annotate_tiny("--limit", str(limit), heads=["mood", "stars"], store=trial)
    assert (again.documents, again.labelled) == (0, {"stars": expected})
    assert not verify.run(["--store", str(trial), "--input", str(tmp_path / "in")]).problems


def test_rejected_rows_and_blocks_count_towards_the_limit(annotate_tiny, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.txt").write_text("".join(f"{text}\n\n" for text in random_texts(30)))
    summary = annotate_tiny("--limit", "21", "--block_rows", "5", "--max_reject_share", "1", heads=[])
    assert (summary.documents, summary.rejected) == (11, {"blank_text": 10})
    assert not verify.run(["--store", str(tmp_path / "store"), "--input", str(tmp_path / "in")]).problems


def test_a_unit_that_fails_in_a_trial_fails_alone(annotate_tiny, tmp_path):
    write_corpus(tmp_path / "in")
    (tmp_path / "in" / "0.jsonl.gz").write_bytes(b"nothing")
    (tmp_path / "in" / "1.parquet").write_bytes(b"nothing")
    summary = annotate_tiny("--limit", "50", heads=[])
    assert (summary.exit_code, summary.documents, len(summary.failures)) == (3, 50, 2)


def test_a_trial_and_a_store_of_whole_shards_are_not_mixed(annotate_tiny, tmp_path, capsys):
    write_corpus(tmp_path / "in")
    annotate_tiny("--limit", "50", heads=[])
    assert "(a trial: the first 50 rows)" in capsys.readouterr().out
    with pytest.raises(
        StoreError, match=r"is a trial of --limit 50, and this run has no --limit; give another --store"
    ):
        annotate_tiny(heads=[])
    with pytest.raises(StoreError, match="is a trial of --limit 50, and this run has --limit 60"):
        annotate_tiny("--limit", "60", heads=[])
    with pytest.raises(StoreError, match="is a trial of --limit 50, and this run has no --limit"):
        annotate_tiny("--dry_run", heads=[])
    annotate_tiny(heads=[], store=tmp_path / "whole")
    with pytest.raises(StoreError, match="--limit 50 needs a store of its own"):
        annotate_tiny("--limit", "50", heads=[], store=tmp_path / "whole")
    with pytest.raises(OptionError, match="--limit and --sample cannot be combined"):
        annotate_tiny("--limit", "50", "--sample", "0.5", heads=[])


def test_status_and_label_know_a_trial(annotate_tiny, tmp_path, capsys, tiny_bundle, tiny_heads):
    write_corpus(tmp_path / "in")
    annotate_tiny("--limit", "30", "--unit_bytes", "700", heads=[])
    capsys.readouterr()
    (found,) = status.run(["--store", str(tmp_path / "store")])
    assert found.documents == 30
    shown = capsys.readouterr().out
    assert "a trial: the first 30 rows of its input" in shown
    assert "INCOMPLETE" not in shown
    store = ["--store", str(tmp_path / "store"), "--encoder", str(tiny_bundle), "--no_progress"]
    summary = annotate.run_label([*store, "--heads", str(tiny_heads["mood"])])
    assert summary.labelled == {"mood": 30}
    annotate.run_label([*store, "--heads", str(tiny_heads["mood"])])
    assert "incomplete" not in capsys.readouterr().out


def test_a_limit_reads_no_more_shards_than_it_needs(annotate_tiny, tmp_path):
    write_corpus(tmp_path / "in")
    summary = annotate_tiny("--limit", "41", "--dry_run", heads=[])
    assert (summary.plan["shards"], summary.plan["units"]) == (2, 2)
    assert not (tmp_path / "store").exists()


def test_a_sample_is_whole_units_and_a_run_without_it_gives_the_store_of_one_run(annotate_tiny, tmp_path, capsys):
    write_corpus(tmp_path / "in")
    rules = ["--unit_bytes", "700"]
    annotate_tiny(*rules, store=tmp_path / "one")
    whole = store_files(tmp_path / "one")
    plan = annotate_tiny(*rules, "--sample", "0.4", "--dry_run").plan
    assert f"left out by --sample {plan['units_left_out']:>7,}" in capsys.readouterr().out
    first = annotate_tiny(*rules, "--sample", "0.4")
    assert 0 < first.documents < TEXTS
    assert first.plan["units"] + first.plan["units_left_out"] == plan["units"] + plan["units_left_out"]
    assert "units, by --sample; the same command without it processes them" in capsys.readouterr().out
    found = store_files(tmp_path / "store")
    assert found.items() < whole.items()
    assert annotate_tiny("--sample", "0.4").documents == 0
    assert "units are left out by --sample" in capsys.readouterr().out
    more = annotate_tiny("--sample", "0.8")
    rest = annotate_tiny()
    assert more.documents > 0
    assert first.documents + more.documents + rest.documents == TEXTS
    assert store_files(tmp_path / "store") == whole


def test_labels_are_made_of_a_sample(annotate_tiny, tmp_path, tiny_bundle, tiny_heads):
    write_corpus(tmp_path / "in")
    annotate_tiny("--unit_bytes", "700", heads=[])
    label = ["--store", str(tmp_path / "store"), "--encoder", str(tiny_bundle), "--no_progress"]
    label += ["--heads", str(tiny_heads["mood"])]
    first = annotate.run_label([*label, "--sample", "0.3"]).labelled["mood"]
    assert 0 < first < TEXTS
    assert annotate.run_label(label).labelled["mood"] == TEXTS - first


def test_a_sample_has_at_least_one_unit_and_about_its_share():
    keys = [f"a-{number:010}-{number:010}" for number in range(200)]
    for share in (1e-9, 0.1, 0.5, 1.0):
        sample = Sample.draw(keys, share)
        chosen = {(key, index) for key in keys for index in range(20) if sample.has(key, index)}
        assert abs(len(chosen) / 4000 - share) < 0.03
        assert chosen
        larger = Sample.draw(keys, min(1.0, share * 1.5))
        assert all(larger.has(*unit) for unit in chosen)
    changed = Sample.draw([f"{key[:-1]}x" for key in keys], 0.1)
    assert all(changed.has(f"{key[:-1]}x", 3) == Sample.draw(keys, 0.1).has(key, 3) for key in keys)

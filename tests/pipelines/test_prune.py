"""What prune removes, what it leaves, and when it refuses."""

from __future__ import annotations

import dataclasses
import json

import pytest

import heads
from pipelines import annotate, prune, status, verify
from pipelines.command_line import cli
from tests.conftest import make_tiny_head, write_corpus
from transforms.layout import PartName, parts_folder
from transforms.match import InputError
from transforms.store import StoreError, open_store
from transforms.tables import write_table


@pytest.fixture
def store(annotate_tiny, tmp_path):
    write_corpus(tmp_path / "in", rows=20)
    annotate_tiny("--id_field", "id", heads=["mood"])
    return tmp_path / "store"


def documents(store) -> list[int]:
    return [found.documents for found in status.run(["--store", str(store)])]


def test_a_store_with_nothing_to_remove_stays_as_it_is(store, tmp_path, capsys):
    before = {path: path.read_bytes() for path in store.rglob("*") if path.is_file()}
    prune.run(["--store", str(store), "--input", f"{tmp_path}/in"])
    assert "nothing to remove" in capsys.readouterr().out
    assert {path: path.read_bytes() for path in store.rglob("*") if path.is_file()} == before


def test_shards_whose_files_are_gone_are_removed_with_their_labels(store, tmp_path, capsys):
    (tmp_path / "in" / "b.jsonl").unlink()
    assert documents(store) == [160, 160]
    assert prune.run(["--store", str(store), "--input", f"{tmp_path}/in", "--dry_run"]).removed_documents == 20
    assert "would remove b.jsonl: 20 documents" in capsys.readouterr().out
    assert documents(store) == [160, 160]
    prune.run(["--store", str(store), "--input", f"{tmp_path}/in"])
    assert "removed b.jsonl: 20 documents" in capsys.readouterr().out
    assert documents(store) == [140, 140]
    assert verify.run(["--store", str(store), "--input", f"{tmp_path}/in", "--id_field", "id"]).problems == ()


def test_shards_outside_the_patterns_are_left_alone(store, tmp_path):
    (tmp_path / "in" / "b.jsonl").unlink()
    (tmp_path / "in" / "c.csv").unlink()
    prune.run(["--store", str(store), "--input", f"{tmp_path}/in/*.txt", f"{tmp_path}/in/*.gz"])
    assert documents(store) == [160, 160]
    prune.run(["--store", str(store)])
    assert documents(store) == [160, 160]


def test_many_missing_shards_are_removed_only_when_that_is_confirmed(store, tmp_path, capsys):
    for name in ("b.jsonl", "c.csv", "g.tsv"):
        (tmp_path / "in" / name).unlink()
    with pytest.raises(StoreError, match=r"files of 3 shards, 38% of the documents .* are missing; .* --yes"):
        prune.run(["--store", str(store), "--input", f"{tmp_path}/in"])
    assert documents(store) == [160, 160]
    prune.run(["--store", str(store), "--input", f"{tmp_path}/in", "--yes"])
    assert documents(store) == [100, 100]


@pytest.mark.parametrize("there", [True, False])
def test_an_unmounted_disk_removes_nothing(store, tmp_path, there):
    (tmp_path / "in").rename(tmp_path / "away")
    if there:
        (tmp_path / "in").mkdir()  # the mount point
    with pytest.raises(InputError, match="matches no file; nothing is removed"):
        prune.run(["--store", str(store), "--input", f"{tmp_path}/in/*", "--yes"])
    assert documents(store) == [160, 160]


def test_labels_of_earlier_heads_are_removed_and_current_ones_stay(store, tmp_path, tiny_bundle, capsys):
    make_tiny_head(tiny_bundle, "mood", seed=7).save(tmp_path / "mood")
    arguments = ["--store", str(store), "--encoder", str(tiny_bundle), "--no_progress"]
    annotate.run_label([*arguments, "--heads", str(tmp_path / "mood")])
    found = {entry.folder: entry.current for entry in status.run(["--store", str(store)])[1:]}
    assert sorted(found.values()) == [False, True]
    assert "NOT CURRENT" in capsys.readouterr().out
    prune.run(["--store", str(store)])
    (labels,) = status.run(["--store", str(store)])[1:]
    assert (labels.documents, labels.current) == (160, True)
    current = json.loads((store / "heads/current/mood.json").read_text())["head"]
    assert current == heads.load(tmp_path / "mood").fingerprint
    assert [path.name for path in (store / "heads").iterdir() if path.name != "current"] == [f"h{current[:12]}"]
    assert verify.run(["--store", str(store)]).problems == ()


def test_parts_whose_codes_are_committed_are_removed(store):
    import pyarrow as pa

    opened = dataclasses.replace(open_store(str(store)), run_id="r")
    (encoder,) = [folder.name.partition("=e")[2] for folder in (store / "codes").iterdir()]
    name = next(opened.listing(f"codes/encoder=e{encoder}").names())
    for key in (name.shard, "another-shard"):
        part = PartName(key, 0, name.units, 0, 5, 0, 99)
        opened.commit(parts_folder(encoder), part, write_table(pa.table({"a": [1]})))
    assert len(prune.run(["--store", str(store)]).parts) == 1
    (left,) = (store / "parts").rglob("*.parquet")
    assert left.name.startswith("another-shard")


def test_annotate_prunes_afterwards(store, annotate_tiny, tmp_path):
    (tmp_path / "in" / "b.jsonl").unlink()
    annotate_tiny("--id_field", "id", heads=["mood"])
    assert documents(store) == [160, 160]
    annotate_tiny("--id_field", "id", "--prune", heads=["mood"])
    assert documents(store) == [140, 140]


def test_wrong_uses_are_one_line(store, tmp_path, capsys):
    for arguments, message in (
        (["--store", str(tmp_path / "none")], "is not a store"),
        (["--store", str(store), "--dry_run", "--yes"], "--dry_run and --yes cannot be combined"),
        (["--store", ""], "--store is empty"),
        (["--store", str(store), "--inptu", "x"], "did you mean --input"),
    ):
        assert cli.main(["prune", *arguments]) == 2
        printed = capsys.readouterr().err
        assert message in printed
        assert "Traceback" not in printed

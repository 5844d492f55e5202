from __future__ import annotations

import dataclasses
import json
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines import prune, status, verify
from tests.conftest import write_corpus
from transforms.layout import with_metadata


@pytest.fixture
def store(annotate_tiny, tmp_path):
    write_corpus(tmp_path / "in", rows=20)
    (tmp_path / "in" / "bad.txt").write_text("good\n\nbad\n")
    annotate_tiny("--block_rows", "8", "--max_reject_share", "1")
    return tmp_path / "store"


def problems(store, *more: str) -> list[str]:
    return list(verify.run(["--store", str(store), *more]).problems)


def one(store, folder: str):
    return sorted((store / folder).rglob("*.parquet"))[1]


def rewrite(path, change) -> None:
    table = pq.ParquetFile(path).read()
    pq.write_table(change(table), path)


def test_a_whole_store_is_whole(store, tmp_path, capsys):
    assert problems(store) == []
    assert problems(store, "--input", f"{tmp_path}/in") == []
    assert "162 documents: no problems" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda s: one(s, "codes").write_bytes(b"PAR1"), "cannot be read"),
        (lambda s: one(s, "labels/task=mood").write_bytes(b""), "cannot be read"),
        (lambda s: rewrite(one(s, "codes"), lambda t: t.slice(1)), "its name says 20 rows, but it has 19"),
        (
            lambda s: rewrite(one(s, "codes"), lambda t: t.set_column(3, "n_tokens", t["n_tokens"].cast("int64"))),
            "its schema is not",
        ),
        (lambda s: rewrite(one(s, "codes"), lambda t: t.replace_schema_metadata()), "no encode-once metadata"),
        (
            lambda s: rewrite(one(s, "labels/task=mood"), lambda t: t.take(list(range(len(t)))[::-1])),
            "ids and positions are not those",
        ),
        (lambda s: rewrite(one(s, "labels/task=mood"), lambda t: t.slice(1)), "ids and positions are not those"),
        (lambda s: one(s, "codes").unlink(), "of labels have no codes"),
        (lambda s: shutil.rmtree(s / "rejects"), "its name says 1 rows were rejected, but rejects has 0"),
        (lambda s: (one(s, "codes").parent / "half.tmp").write_bytes(b""), "is not the name of a file of codes"),
        (lambda s: (s / "codes" / "stray").write_bytes(b""), "does not belong there"),
        (
            lambda s: one(s, "codes").rename(one(s, "codes").parent / "x-1-2.00000-of-00001.00000.20r0.end.parquet"),
            "have no codes",
        ),
        (lambda s: shutil.rmtree(s / "codes"), "labels of codes that are not in the store"),
    ],
)
def test_what_is_not_as_it_must_be_is_found(store, spoil, said):
    spoil(store)
    found = problems(store)
    assert any(said in problem for problem in found), found
    assert verify.run(["--store", str(store)]).exit_code == 1


def test_codes_of_another_encoder_are_found(store):
    def other(table: pa.Table) -> pa.Table:
        fields = {"encoder": "f" * 64, "bits": 64}
        return table.cast(with_metadata(table.schema.remove_metadata(), fields))

    rewrite(one(store, "codes"), other)
    assert any("holds codes of encoder ffffffffffff" in problem for problem in problems(store))


def test_against_the_shards_every_row_is_accounted_for(store, tmp_path):
    victim = sorted((store / "codes").rglob("a-txt*.end.parquet"))[0]
    victim.unlink()
    for labels in (store / "labels").rglob(victim.name):
        labels.unlink()
    assert problems(store) == []  # an unfinished unit is no fault by itself
    assert any(
        "is missing or incomplete in codes" in problem for problem in problems(store, "--input", f"{tmp_path}/in")
    )
    (tmp_path / "in" / "new.txt").write_text("good\n")
    assert any(
        "new.txt unit 0 of 1 is missing or incomplete in" in problem
        for problem in problems(store, "--input", f"{tmp_path}/in")
    )


def test_units_that_are_missing_altogether_are_incomplete(annotate_tiny, tmp_path, capsys):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.txt").write_text("good film\n" * 200)
    annotate_tiny("--unit_bytes", "500", heads=[])
    for path in sorted((tmp_path / "store" / "codes").rglob("*.parquet"))[1:]:
        path.unlink()
    (codes,) = status.run(["--store", str(tmp_path / "store")])
    assert codes.incomplete == 3
    found = verify.run(["--store", str(tmp_path / "store")])
    assert found.problems == ()
    assert "units [1, 2, 3] of 4 are missing" in found.notes[0]


def test_status_opens_no_file_of_codes_or_labels(store, monkeypatch):
    from transforms.store import Store

    one(store, "codes").write_bytes(b"")
    for reader in ("open", "read", "open_footer"):
        monkeypatch.setattr(Store, reader, lambda *a: pytest.fail("a file was opened"))
    codes, *labels = status.run(["--store", str(store)])
    assert (codes.files, codes.documents, codes.rejected) == (9, 162, 1)
    assert [found.current for found in labels] == [True] * 3


def test_shards_are_compared_with_the_encoder_that_is_named(store, tmp_path, tiny_base, tiny_bundle):
    from pipelines import annotate

    arguments = ["--input", f"{tmp_path}/in/a.txt", "--store", str(store), "--no_progress"]
    annotate.run([*arguments, "--encoder", str(tiny_base)])
    assert problems(store, "--input", f"{tmp_path}/in") != []
    assert problems(store, "--input", f"{tmp_path}/in", "--encoder", str(tiny_bundle)) == []


def test_a_moved_corpus_is_found_by_its_root(store, tmp_path):
    (tmp_path / "in").rename(tmp_path / "out")
    assert len(status.run(["--store", str(store)])[0].stale) == 9
    assert status.run(["--store", str(store), "--input_root", f"{tmp_path}/out"])[0].stale == ()
    assert problems(store, "--input", f"{tmp_path}/out", "--input_root", f"{tmp_path}/out") == []


def test_wrong_reading_options_are_a_usage_error(store, capsys):
    from pipelines.command_line import cli

    assert cli.main(["verify", "--store", str(store), "--id_field", "text"]) == 2
    assert "name two different fields" in capsys.readouterr().err


def test_status_counts_and_tells_what_is_stale(store, tmp_path, capsys):
    (tmp_path / "in" / "a.txt").unlink()
    (tmp_path / "in" / "b.jsonl").write_text("{}\n")
    codes, *labels = status.run(["--store", str(store)])
    assert (codes.shards, codes.units, codes.documents, codes.incomplete) == (9, 9, 162, 0)
    assert [stale[:2] for stale in codes.stale] == [("a.txt", "is gone"), ("b.jsonl", "has changed")]
    assert [found.documents for found in labels] == [162] * 3
    assert "STALE: a.txt is gone" in capsys.readouterr().out


def test_a_shard_read_with_other_options_is_in_the_store_twice_and_said_to_be(annotate_tiny, tmp_path, capsys, caplog):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jsonl").write_text('{"text": "good film", "id": "x"}\n')
    (tmp_path / "in" / "b.txt").write_text("good film\n")
    annotate_tiny("--id_field", "id", heads=["mood"])
    assert "has not changed" not in caplog.text
    annotate_tiny(heads=["mood"])
    assert "a.jsonl has not changed, but the store has its codes as read with other options" in caplog.text
    capsys.readouterr()
    codes, labels = status.run(["--store", str(tmp_path / "store")])
    ((path, keys),) = codes.twice
    assert (path, len(keys), codes.stale) == ("a.jsonl", 2, ())
    assert "TWICE: a.jsonl was read with different options" in capsys.readouterr().out
    for stale in (tmp_path / "store").rglob(f"{keys[0]}.*"):
        stale.unlink()
    codes, labels = status.run(["--store", str(tmp_path / "store")])
    assert (codes.twice, codes.documents, labels.documents) == ((), 2, 2)


def test_other_options_are_noticed_beside_a_later_version_of_the_shard_too(annotate_tiny, tmp_path, caplog):
    (tmp_path / "in").mkdir()
    for number in range(3):
        (tmp_path / "in" / f"{number}.jsonl").write_text('{"text": "good film", "id": "x"}\n')
    annotate_tiny("--id_field", "id", heads=[])
    for number in range(3):
        (tmp_path / "in" / f"{number}.jsonl").write_text('{"text": "a better film", "id": "x"}\n')
        annotate_tiny("--id_field", "id", heads=[])
        caplog.clear()
        annotate_tiny(heads=[], input=tmp_path / "in" / f"{number}.jsonl")
        assert f"{number}.jsonl has not changed" in caplog.text


def test_verify_says_where_a_shard_may_have_been_read_otherwise(store, tmp_path):
    found = problems(store, "--input", f"{tmp_path}/in", "--max_text_bytes", "9")
    assert len(found) == 9
    assert all(
        "the store knows the path, but the shard has changed, or was read with other options" in said for said in found
    )


def test_the_earlier_version_of_a_shard_is_removed_when_the_later_one_is_complete(annotate_tiny, tmp_path, capsys):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.txt").write_text("good film\n" * 200)
    (tmp_path / "in" / "b.txt").write_text("good film\n")
    annotate_tiny("--unit_bytes", "500", heads=["mood"])
    first, *_ = sorted((tmp_path / "store" / "codes").rglob("a-txt*.parquet"))
    first.unlink()  # the earlier version need not be complete
    (tmp_path / "in" / "a.txt").write_text("bad film\n" * 300)
    capsys.readouterr()
    summary = annotate_tiny("--unit_bytes", "500", heads=["mood"])
    assert summary.replaced_shards == 1
    assert (
        f"the {summary.replaced_documents} documents of their earlier versions were removed" in capsys.readouterr().out
    )
    codes, labels = status.run(["--store", str(tmp_path / "store")])
    assert (codes.documents, labels.documents, codes.incomplete, codes.stale) == (301, 301, 0, ())
    assert problems(tmp_path / "store", "--input", f"{tmp_path}/in") == []


def test_an_earlier_version_stays_as_long_as_the_later_one_is_incomplete(annotate_tiny, tmp_path, monkeypatch):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jsonl").write_text('{"text": "good film"}\n')
    annotate_tiny(heads=["mood"])
    (tmp_path / "in" / "a.jsonl").write_text('[{"text": "good film"}]\n')  # cannot be read
    summary = annotate_tiny(heads=["mood"])
    assert (summary.exit_code, summary.replaced_shards) == (3, 0)
    codes, labels = status.run(["--store", str(tmp_path / "store")])
    assert (codes.documents, labels.documents) == (1, 1)
    assert [why for _, why, _ in codes.stale] == ["has changed"]


def test_a_store_without_codes_is_not_whole(annotate_tiny, tmp_path, tiny_bundle, tiny_base):
    from transforms.store import open_or_create_store

    write_corpus(tmp_path / "in", rows=5)
    open_or_create_store(str(tmp_path / "store"), str(tmp_path / "in"), {}, "")
    shards = ["--input", str(tmp_path / "in")]
    assert problems(tmp_path / "store") == []
    assert problems(tmp_path / "store", *shards) == ["the store holds no codes at all"]
    annotate_tiny(heads=[])
    assert problems(tmp_path / "store", *shards) == []
    (problem,) = problems(tmp_path / "store", *shards, "--encoder", str(tiny_base))
    assert "the store holds no codes of encoder" in problem


def test_a_file_that_cannot_be_read_is_told_beside_the_shards_too(store, tmp_path):
    one(store, "codes").write_bytes(one(store, "codes").read_bytes()[:50])
    (problem,) = problems(store, "--input", str(tmp_path / "in"))
    assert "cannot be read (ArrowInvalid" in problem
    assert problem.endswith("delete it; annotate recreates it")


def test_a_file_that_can_be_read_once_and_not_again_is_told(store, tmp_path, monkeypatch):
    from transforms.store import Store

    seen, real = set(), Store.open

    def once(self, folder, name):
        if folder.startswith("codes/") and name in seen:
            raise OSError("connection reset")
        seen.add(name)
        return real(self, folder, name)

    monkeypatch.setattr(Store, "open", once)
    found = problems(store, "--input", str(tmp_path / "in"))
    assert len(found) == 9
    assert all("cannot be read (OSError: connection reset)" in problem for problem in found)


def test_rejects_that_cannot_be_read_are_named_not_their_codes(store, tmp_path):
    (rejects,) = (store / "rejects").rglob("*.parquet")
    rejects.write_bytes(b"")
    (problem,) = problems(store, "--input", str(tmp_path / "in"))
    assert problem.startswith(f"{rejects.relative_to(store)} cannot be read")
    assert "delete it and the codes of" in problem


def test_status_tells_what_is_incomplete_and_missing(annotate_tiny, tmp_path, capsys):
    write_corpus(tmp_path / "in", rows=20)
    annotate_tiny("--block_rows", "8", "--file_bytes", "64", heads=["mood"])
    store = tmp_path / "store"
    sorted((store / "codes").rglob("a-txt*"))[0].unlink()
    sorted((store / "labels" / "task=mood").rglob("b-jsonl*"))[0].unlink()
    codes, *labels = status.run(["--store", str(store)])
    assert codes.incomplete == 1
    assert sum(found.missing for found in labels) == 1
    assert "INCOMPLETE: 1 units" in capsys.readouterr().out


def test_status_tells_shards_without_any_codes(annotate_tiny, tmp_path, capsys):
    write_corpus(tmp_path / "in", rows=20)
    annotate_tiny("--id_field", "id", heads=["mood"])
    store = tmp_path / "store"
    for path in (store / "codes").rglob("a-txt*"):
        path.unlink()
    codes, labels = status.run(["--store", str(store)])
    assert (codes.incomplete, codes.uncoded, labels.without_codes) == (0, ("a.txt",), 1)
    shown = capsys.readouterr().out
    assert "INCOMPLETE: 1 shards have no codes; the first is a.txt; the same annotate command encodes them" in shown
    assert "WITHOUT CODES: 1 shards have labels but no codes" in shown
    shutil.rmtree(store / "codes")
    codes, labels = status.run(["--store", str(store)])
    assert (codes.files, len(codes.uncoded), labels.without_codes) == (0, 8, 8)
    annotate_tiny("--id_field", "id", heads=["mood"])
    codes, labels = status.run(["--store", str(store)])
    assert (codes.uncoded, labels.without_codes, codes.documents) == ((), 0, labels.documents)


def test_removed_shards_and_earlier_versions_do_not_count_as_shards_without_codes(annotate_tiny, tmp_path):
    (tmp_path / "in").mkdir()
    for name in ("a.txt", "b.txt", "c.txt"):
        (tmp_path / "in" / name).write_text(f"good film {name}\n")
    annotate_tiny(heads=["mood"])
    (tmp_path / "in" / "a.txt").write_text("another good film\n")
    (tmp_path / "in" / "b.txt").unlink()
    annotate_tiny(heads=["mood"])
    assert [found.shards for found in status.run(["--store", str(tmp_path / "store")])] == [3, 3]
    prune.run(["--store", str(tmp_path / "store"), "--input", f"{tmp_path}/in", "--yes"])
    codes, labels = status.run(["--store", str(tmp_path / "store")])
    assert (codes.shards, codes.uncoded, labels.without_codes) == (2, (), 0)


def test_status_lists_labels_by_task(store):
    _, *labels = status.run(["--store", str(store)])
    assert [found.folder for found in labels] == sorted(found.folder for found in labels)


def test_status_for_programs_is_json(store, capsys):
    (found, *_) = status.run(["--store", str(store), "--json"])
    (shown, *_) = json.loads(capsys.readouterr().out)
    assert shown == json.loads(json.dumps(dataclasses.asdict(found)))
    assert shown["documents"] == 162


def test_an_empty_store_has_an_empty_status(tmp_path, capsys):
    from transforms.store import StoreError, open_or_create_store

    with pytest.raises(StoreError, match=r"is not a store: it holds no store\.json"):
        status.run(["--store", str(tmp_path)])
    open_or_create_store(str(tmp_path / "s"), "/", {}, "test")
    assert status.run(["--store", str(tmp_path / "s")]) == []
    assert "empty" in capsys.readouterr().out

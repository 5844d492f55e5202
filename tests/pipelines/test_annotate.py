"""End to end through `annotate.run`, against a reference of a few lines in memory."""

from __future__ import annotations

import itertools
import json
import os
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import encoder
import heads
from heads import HeadError
from pipelines import annotate
from tests.conftest import make_tiny_head, random_texts, store_files, write_corpus
from transforms.layout import FileName


def read(store, folder) -> pa.Table:
    return pa.concat_tables(
        pq.read_table(path, partitioning=None).replace_schema_metadata()
        for path in sorted((store / folder).rglob("*.parquet"))
    )


def test_codes_and_labels_are_those_of_the_library_called_on_the_same_texts(
    annotate_tiny, tiny_bundle, tiny_heads, tmp_path
):
    texts = write_corpus(tmp_path / "in")
    summary = annotate_tiny("--id_field", "id")
    model = encoder.load(str(tiny_bundle))
    flat = [text for part in texts.values() for text in part]
    expected = model.encode(flat)
    stored = read(tmp_path / "store", "codes")
    assert summary.documents == len(flat) == stored.num_rows
    assert summary.tokens == expected.n_tokens.sum()
    assert np.array_equal(np.stack([np.frombuffer(c, np.uint8) for c in stored["code"].to_pylist()]), expected.bits)
    assert stored["n_tokens"].to_pylist() == expected.n_tokens.tolist()
    mood = heads.load(tiny_heads["mood"])
    index, score = mood.predict(expected.bits)
    labels = read(tmp_path / "store", "labels/task=mood")
    assert labels["id"].equals(stored["id"])
    assert labels["label"].to_pylist() == [mood.labels[i] for i in index]
    assert labels["score"].to_pylist() == score.tolist()
    themes = heads.load(tiny_heads["themes"])
    offsets, index, _ = themes.predict(expected.bits)
    named = [[themes.labels[i] for i in index[a:b]] for a, b in itertools.pairwise(offsets)]
    assert read(tmp_path / "store", "labels/task=themes")["labels"].to_pylist() == named
    stars = read(tmp_path / "store", "labels/task=stars")["value"].to_pylist()
    assert stars == heads.load(tiny_heads["stars"]).predict(expected.bits).tolist()


def test_ids_are_the_users_field_or_path_and_position(annotate_tiny, tmp_path):
    write_corpus(tmp_path / "in", rows=3)
    annotate_tiny("--id_field", "id", heads=[])
    ids = read(tmp_path / "store", "codes")["id"].to_pylist()
    assert ids[:2] == ["a.txt@0", ids[1]]
    assert ids[3:9] == ["b0", "b1", "b2", "c0", "c1", "c2"]
    assert "f.txt.bz2#2" in ids


def test_a_second_run_does_nothing(annotate_tiny, tmp_path, capsys):
    write_corpus(tmp_path / "in")
    annotate_tiny()
    before = store_files(tmp_path / "store")
    stamps = {path: os.stat(tmp_path / "store" / path).st_mtime_ns for path in before}
    capsys.readouterr()
    summary = annotate_tiny()
    assert summary.documents == 0
    assert summary.exit_code == 0
    assert "nothing to do: all 8 units of 8 shards" in capsys.readouterr().out
    assert {path: os.stat(tmp_path / "store" / path).st_mtime_ns for path in before} == stamps


def test_only_a_new_head_runs_and_no_text_is_read(annotate_tiny, tmp_path, monkeypatch):
    write_corpus(tmp_path / "in")
    annotate_tiny(heads=["mood"])
    before = {path: os.stat(path).st_mtime_ns for path in (tmp_path / "store").rglob("*.parquet")}
    monkeypatch.setattr("transforms.read.read_blocks", lambda *a: pytest.fail("a text was read"))
    monkeypatch.setattr("transforms.encode.load_stored_encoder", lambda *a: pytest.fail("a model was loaded"))
    summary = annotate_tiny(heads=["mood", "themes"])
    assert summary.labelled == {"themes": 320}
    assert {path: os.stat(path).st_mtime_ns for path in before} == before


def test_new_shards_and_a_new_head_in_one_run_are_counted_together(annotate_tiny, tmp_path):
    write_corpus(tmp_path / "in")
    annotate_tiny(heads=["mood"])
    (tmp_path / "in" / "new.txt").write_text("good film\nbad film\n")
    summary = annotate_tiny(heads=["mood", "themes"])
    assert summary.documents == 2
    assert summary.labelled == {"mood": 2, "themes": 322}
    assert read(tmp_path / "store", "labels/task=themes").num_rows == 322


def test_only_new_and_changed_shards_are_encoded(annotate_tiny, tmp_path):
    write_corpus(tmp_path / "in")
    annotate_tiny()
    (tmp_path / "in" / "new.txt").write_text("good film\nbad film\n")
    with (tmp_path / "in" / "a.txt").open("a") as file:
        file.write("one more line\n")
    summary = annotate_tiny()
    assert summary.documents == 2 + 41
    assert summary.plan["shards_new"] == summary.plan["shards_changed"] == 1
    assert summary.labelled == {"mood": 43, "themes": 43, "stars": 43}


def test_another_text_field_is_another_reading(annotate_tiny, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jsonl").write_text('{"text": "good", "title": "bad"}\n')
    annotate_tiny(heads=[])
    assert annotate_tiny("--text_field", "title", heads=[]).documents == 1
    assert annotate_tiny("--text_field", "title", heads=[]).documents == 0


def test_another_encoder_stands_beside_the_first(annotate_tiny, tmp_path, tiny_base, caplog):
    write_corpus(tmp_path / "in", rows=4)
    annotate_tiny(heads=[])
    assert "so every document is encoded" not in caplog.text
    (first,) = (folder.name.partition("=e")[2] for folder in (tmp_path / "store" / "codes").iterdir())
    arguments = ["--input", str(tmp_path / "in"), "--store", str(tmp_path / "store"), "--no_progress"]
    assert annotate.run([*arguments, "--encoder", str(tiny_base)]).documents == 32
    assert f"the store has codes of encoder {first} and none of " in caplog.text
    assert len(list((tmp_path / "store" / "codes").iterdir())) == 2
    caplog.clear()
    annotate_tiny(heads=[])
    assert "so every document is encoded" not in caplog.text


def test_encode_then_label_is_annotate(annotate_tiny, tiny_bundle, tiny_heads, tmp_path):
    write_corpus(tmp_path / "in")
    annotate_tiny()
    other = ["--store", str(tmp_path / "halves"), "--encoder", str(tiny_bundle), "--no_progress"]
    annotate.run_encode(["--input", str(tmp_path / "in"), *other])
    for shard in (tmp_path / "in").iterdir():
        shard.unlink()  # label needs no text
    summary = annotate.run_label([*other, "--heads", *map(str, tiny_heads.values())])
    assert summary.labelled == {"mood": 320, "themes": 320, "stars": 320}
    assert store_files(tmp_path / "halves") == store_files(tmp_path / "store")


def test_units_and_files_are_cut_by_the_stores_rules(annotate_tiny, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.txt").write_text("\n".join(random_texts(100)))
    annotate_tiny("--block_rows", "5", "--unit_bytes", "2000", "--file_bytes", "80", heads=["mood"])
    for folder in ("codes", "labels"):
        names = [FileName.parsed(path.name) for path in (tmp_path / "store" / folder).rglob("*.parquet")]
        assert sum(name.rows for name in names) == 100
        assert max(name.rows for name in names) == 10  # codes of 8 bytes
        assert len({name.unit for name in names}) > 1
        assert max(name.index for name in names) > 1


def test_the_size_of_units_changes_at_most_a_bit_on_its_threshold(annotate_tiny, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.txt").write_text("\n".join(random_texts(200)))
    annotate_tiny("--block_rows", "50", heads=[])
    annotate_tiny("--block_rows", "50", "--unit_bytes", "3000", heads=[], store=tmp_path / "split")
    whole = dict(zip(*(read(tmp_path / "store", "codes")[name].to_pylist() for name in ("id", "code"))))
    split = dict(zip(*(read(tmp_path / "split", "codes")[name].to_pylist() for name in ("id", "code"))))
    assert whole.keys() == split.keys()
    same = sum(whole[id_] == split[id_] for id_ in whole)
    assert same >= 199  # other batches round otherwise: a bit on the threshold may flip


def test_a_moved_corpus_keeps_its_codes_when_its_root_is_told(annotate_tiny, tmp_path):
    write_corpus(tmp_path / "in")
    annotate_tiny(heads=[])
    (tmp_path / "in").rename(tmp_path / "elsewhere")
    summary = annotate_tiny("--input_root", str(tmp_path / "elsewhere"), input=tmp_path / "elsewhere", heads=[])
    assert summary.documents == 0


def test_dry_run_tells_and_writes_nothing(annotate_tiny, tmp_path, capsys):
    write_corpus(tmp_path / "in")
    annotate_tiny("--dry_run")
    told = capsys.readouterr().out
    assert "8 new, 0 changed, 0 partial, 0 coded" in told
    assert not (tmp_path / "store").exists()
    annotate_tiny(heads=["mood"])
    before = store_files(tmp_path / "store", ".")
    capsys.readouterr()
    annotate_tiny("--dry_run")
    told = capsys.readouterr().out
    assert "0 new, 0 changed, 0 partial, 8 coded" in told
    assert "stars                       8 units to label" in told
    assert store_files(tmp_path / "store", ".") == before


def test_the_record_says_what_was_asked_found_and_done(annotate_tiny, tmp_path):
    write_corpus(tmp_path / "in")
    summary = annotate_tiny()
    (path,) = (tmp_path / "store" / "runs").glob("*/run.json")
    record = json.loads(path.read_text())
    assert record["state"] == "done"
    assert record["command"] == "annotate"
    assert "--input" in record["arguments"]
    assert record["summary"]["documents"] == 320
    assert record["summary"]["label_shares"]["mood"] == summary.label_shares["mood"]
    assert abs(sum(summary.label_shares["mood"].values()) - 1) < 1e-9
    assert record["versions"]["apache-beam"]
    assert record["plan"]["units_to_encode"] == 8
    assert not (path.parent / "tmp").exists()
    page = path.with_name("report.html").read_text()
    assert "<h1>annotate: done</h1>" in page
    assert "mood: 320 documents" in page


def test_nothing_in_codes_and_labels_tells_when_or_by_whom(annotate_tiny, tmp_path):
    write_corpus(tmp_path / "in", rows=5)
    annotate_tiny()
    annotate_tiny(store=tmp_path / "second")
    assert store_files(tmp_path / "second") == store_files(tmp_path / "store")


@pytest.mark.parametrize("hint", [[], ["--accelerator", "type:nvidia-l4;count:1;install-nvidia-driver"]])
def test_only_units_and_names_of_files_are_elements(annotate_tiny, tmp_path, tiny_bundle, tiny_heads, hint):
    """No text and no code crosses a step. The hint is on the step that encodes alone; the graph has one shuffle."""
    import apache_beam as beam

    from pipelines.command_line.options import parse_annotate
    from pipelines.prepare import prepare

    write_corpus(tmp_path / "in", rows=2)
    annotate_tiny(heads=[])
    (tmp_path / "in" / "new.txt").write_text("good film\n")
    arguments = ["--input", f"{tmp_path}/in", "--store", f"{tmp_path}/store", "--encoder", str(tiny_bundle)]
    options = parse_annotate([*arguments, "--heads", *map(str, tiny_heads.values()), *hint], "annotate")
    pipeline = beam.Pipeline()
    annotate.build(pipeline, options, prepare(options, "annotate"), None)
    proto = pipeline.to_runner_api()
    transforms = proto.components.transforms.values()
    hinted = {
        transform.unique_name
        for transform in transforms
        if proto.components.environments[transform.environment_id].resource_hints
    }
    assert all(name.startswith("EncodeUnits") for name in hinted)
    assert bool(hinted) == bool(hint)
    assert len([t for t in transforms if t.spec.urn == "beam:transform:group_by_key:v1"]) == 1
    steps = {t.unique_name.split("/")[0] for t in transforms if t.unique_name}
    assert {"ReadPlan", "EncodeUnits", "LabelNew", "LabelStored"} <= steps


def test_the_graph_carries_names_of_heads_and_not_their_weights(annotate_tiny, tmp_path, tiny_bundle):
    import apache_beam as beam

    from pipelines.command_line.options import parse_annotate
    from pipelines.prepare import prepare

    write_corpus(tmp_path / "in", rows=2)
    folders = []
    for number in range(100):
        folders.append(tmp_path / "heads" / f"task_{number}")
        make_tiny_head(tiny_bundle, f"task_{number}", seed=number).save(folders[-1])
    arguments = ["--input", f"{tmp_path}/in", "--store", f"{tmp_path}/store", "--encoder", str(tiny_bundle)]
    options = parse_annotate([*arguments, "--heads", *map(str, folders)], "annotate")
    pipeline = beam.Pipeline()
    annotate.build(pipeline, options, prepare(options, "annotate"), None)
    assert pipeline.to_runner_api().ByteSize() < 100_000


def test_an_encoder_can_be_named_by_its_fingerprint_in_the_store(annotate_tiny, tiny_bundle, tiny_heads, tmp_path):
    write_corpus(tmp_path / "in", rows=4)
    annotate_tiny(heads=[])
    short = encoder.describe(str(tiny_bundle)).fingerprint[:8]
    arguments = ["--store", str(tmp_path / "store"), "--encoder", short, "--heads", str(tiny_heads["mood"])]
    assert annotate.run_label([*arguments, "--no_progress"]).labelled == {"mood": 32}


def test_a_head_of_another_encoder_is_refused_before_anything_is_written(annotate_tiny, tiny_bundle, tmp_path):
    import dataclasses

    write_corpus(tmp_path / "in", rows=2)
    dataclasses.replace(make_tiny_head(tiny_bundle, "alien"), encoder_fingerprint="ab" * 32).save(tmp_path / "alien")
    fingerprint = encoder.describe(str(tiny_bundle)).fingerprint[:8]
    message = f"head 'alien' was fitted on encoder abababab, not on {fingerprint}"
    with pytest.raises(HeadError, match=message):
        annotate.run(
            ["--input", str(tmp_path / "in"), "--store", str(tmp_path / "store"), "--encoder", str(tiny_bundle),
             "--heads", str(tmp_path / "alien")]
        )  # fmt: skip
    assert not (tmp_path / "store").exists()


def test_a_corpus_of_many_small_shards(annotate_tiny, tmp_path):
    (tmp_path / "in").mkdir()
    for i in range(150):
        (tmp_path / "in" / f"{i:03d}.txt").write_text("good film\n")
    assert annotate_tiny(heads=["mood"]).documents == 150


@pytest.mark.parametrize("pattern", ["*.txt", "**/*.txt", "sub/*.txt", "[ab].txt", "?.txt"])
def test_patterns_match_as_in_a_shell(annotate_tiny, tmp_path, pattern):
    (tmp_path / "in" / "sub").mkdir(parents=True)
    for name in ("a.txt", "b.txt", "sub/c.txt", ".hidden.txt", "_SUCCESS"):
        (tmp_path / "in" / name).write_text("good film\n")
    expected = {"*.txt": 2, "**/*.txt": 3, "sub/*.txt": 1, "[ab].txt": 2, "?.txt": 2}[pattern]
    assert annotate_tiny(input=tmp_path / "in" / pattern, heads=[]).documents == expected


def test_a_base_model_that_has_moved_is_found_where_it_is_now(tmp_path, tiny_base):
    """The store keeps where it was at first; workers go where this call says."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.txt").write_text("good film\n")
    shutil.copytree(tiny_base, tmp_path / "old")
    arguments = ["--input", f"{tmp_path}/in", "--store", f"{tmp_path}/store", "--heads", "none", "--no_progress"]
    annotate.run([*arguments, "--encoder", f"{tmp_path}/old"])
    (tmp_path / "old").rename(tmp_path / "new")
    (tmp_path / "in" / "b.txt").write_text("bad film\n")
    summary = annotate.run([*arguments, "--encoder", f"{tmp_path}/new"])
    assert (summary.exit_code, summary.documents) == (0, 1)
    assert len(list((tmp_path / "store" / "codes").iterdir())) == 1  # the same encoder

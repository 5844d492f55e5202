from __future__ import annotations

import json
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import encoder
import heads
from heads import HeadError
from pipelines.command_line import cli
from pipelines.models import train_head
from pipelines.models.labelled import DataError
from tests.conftest import random_texts


def labelled(count: int, seed: int) -> tuple[list[str], list[str]]:
    """Make texts whose label is a word they hold: a task the tiny random model can tell."""
    rng = np.random.default_rng(seed)
    texts, labels = [], []
    for text in random_texts(count, seed, longest=6):
        label = ("good", "bad")[rng.integers(2)]
        texts.append(f"{f'{label} ' * 8}{text}")
        labels.append(label)
    return texts, labels


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rows")
    for seed, (split, count) in enumerate({"train": 300, "validation": 80, "test": 100}.items()):
        texts, labels = labelled(count, seed)
        table = {
            "body": texts,
            "label": labels,
            "topics": [[label, "film"] if "film" in text else [label] for text, label in zip(texts, labels)],
            "stars": [5.0 if label == "good" else 1.0 for label in labels],
        }
        pq.write_table(pa.table(table), folder / f"{split}.parquet")
    return folder


def train(files, tiny_bundle, output, *more: str) -> heads.Head:
    splits = [part for split in ("train", "validation", "test") for part in (f"--{split}", f"{files}/{split}.parquet")]
    arguments = [
        "--name",
        "mood",
        *splits,
        "--text_field",
        "body",
        "--encoder",
        str(tiny_bundle),
        "--output",
        str(output),
    ]
    return train_head.run([*arguments, *more])


def test_a_head_learns_is_saved_and_reported_beside_its_float_twin(files, tiny_bundle, tmp_path, capsys):
    head = train(files, tiny_bundle, tmp_path / "head", "--source", "made up")
    report = capsys.readouterr().out
    assert head.metrics["test"]["accuracy"] > 0.8
    assert head.metrics["test_float"]["accuracy"] > 0.8
    for words in ("accuracy", "macro F1", "expected calibration error", "confusion", "bits", "float"):
        assert words in report
    again = heads.load(tmp_path / "head")
    assert again.fingerprint == head.fingerprint
    described = json.loads((tmp_path / "head" / "head.json").read_text())
    assert described["labels"] == ["bad", "good"]
    assert described["kind"] == "single"
    assert described["source"] == {"data": "made up"}
    assert described["encoder_fingerprint"] == encoder.describe(str(tiny_bundle)).fingerprint
    assert "accuracy" in described["metrics"]["test"]


def test_the_same_rows_make_the_same_head(files, tiny_bundle, tmp_path):
    first, second = (train(files, tiny_bundle, tmp_path / name).fingerprint for name in "ab")
    assert first == second


def test_without_validation_rows_a_share_of_the_training_rows_is_held_out(files, tiny_bundle, tmp_path, capsys):
    arguments = ["--name", "mood", "--train", f"{files}/train.parquet", "--text_field", "body"]
    arguments += ["--encoder", str(tiny_bundle), "--output"]
    head = train_head.run([*arguments, str(tmp_path / "head")])
    rows = head.metrics["validation"]["rows"]
    assert rows + head.metrics["training_rows"] == 300
    assert 50 <= rows <= 70
    said = f"validation: {rows} of the 300 rows of --train, held out at random by label (--validation_share 0.2)"
    captured = capsys.readouterr()
    assert said in captured.err
    assert f"head mood on validation: {rows} rows" in captured.out
    assert head.metrics["validation"]["accuracy"] > 0.8
    fewer = train_head.run([*arguments, str(tmp_path / "other"), "--validation_share", "0.1"])
    assert fewer.metrics["validation"]["rows"] < 40


def test_a_head_is_replaced_only_if_asked_to(files, tiny_bundle, tmp_path, capsys, monkeypatch):
    head = train(files, tiny_bundle, tmp_path / "head")
    arguments = ["train-head", "--name", "mood", "--text_field", "body", "--encoder", str(tiny_bundle)]
    arguments += ["--train", f"{files}/test.parquet", "--output", str(tmp_path / "head")]
    with monkeypatch.context() as patched:
        patched.setattr(encoder, "load", lambda *_: pytest.fail("a model was loaded"))
        capsys.readouterr()
        assert cli.main(arguments) == 2
    said = f"{tmp_path}/head is a head's folder already; choose another folder, or replace it with --overwrite"
    assert capsys.readouterr().err == f"encode-once train-head: error: {said}\n"
    assert heads.load(tmp_path / "head").fingerprint == head.fingerprint
    assert cli.main([*arguments, "--overwrite"]) == 0
    assert heads.load(tmp_path / "head").fingerprint != head.fingerprint


def test_a_fit_that_fails_stops_the_other_one():
    started = time.monotonic()

    def fails(progress):
        progress()
        raise HeadError("no head can be fitted")

    def never_ends(progress):
        while time.monotonic() < started + 60:
            progress()
            time.sleep(0.01)

    with pytest.raises(HeadError, match="no head can be fitted"):
        train_head._fit_at_once(fails, never_ends)
    assert time.monotonic() < started + 50


def test_a_multi_label_head(files, tiny_bundle, tmp_path, capsys):
    head = train(files, tiny_bundle, tmp_path / "head", "--kind", "multi", "--label_field", "topics")
    assert head.labels == ("bad", "film", "good")
    assert head.metrics["test"]["micro_f1"] > 0.7
    assert "micro F1" in capsys.readouterr().out


def test_a_regression_head(files, tiny_bundle, tmp_path, capsys):
    head = train(files, tiny_bundle, tmp_path / "head", "--kind", "regression", "--label_field", "stars")
    assert head.metrics["test"]["pearson"] > 0.6
    report = capsys.readouterr().out
    assert all(words in report for words in ("Pearson", "Spearman", "RMSE"))


def test_a_head_can_be_used_at_once(files, tiny_bundle, tmp_path):
    from pipelines import annotate

    train(files, tiny_bundle, tmp_path / "head")
    (tmp_path / "a.txt").write_text(f"{'good ' * 8}film\n{'bad ' * 8}film\n")
    arguments = ["--input", f"{tmp_path}/a.txt", "--store", f"{tmp_path}/store", "--encoder", str(tiny_bundle)]
    annotate.run([*arguments, "--heads", f"{tmp_path}/head", "--no_progress"])
    (path,) = (tmp_path / "store" / "labels").rglob("*.parquet")
    assert pq.read_table(path, partitioning=None)["label"].to_pylist() == ["good", "bad"]


@pytest.mark.parametrize(
    ("more", "error", "message"),
    [
        (["--train", "/no/such.parquet"], DataError, "/no/such.parquet is not a file"),
        (["--label_field", "labels"], DataError, "no field 'labels'; it has body, label, topics, stars"),
        (["--text_field", "text"], DataError, "no field 'text'"),
        (["--kind", "regression"], DataError, "is not a label of kind regression"),
        (["--kind", "single", "--label_field", "topics"], DataError, "is not a label of kind single"),
        (["--name", "My Task"], HeadError, "My Task"),
    ],
)
def test_what_cannot_be_trained_on_is_said(files, tiny_bundle, tmp_path, more, error, message):
    with pytest.raises(error, match=message):
        train(files, tiny_bundle, tmp_path / "head", *more)
    assert not (tmp_path / "head").exists()


def test_several_labels_of_which_no_row_has_one_are_refused_before_encoding(tmp_path, monkeypatch):
    monkeypatch.setattr(encoder, "load", lambda *_: pytest.fail("a model was loaded"))
    for split in ("train", "validation"):
        rows = [json.dumps({"text": f"{split} {number}", "label": []}) for number in range(20)]
        (tmp_path / f"{split}.jsonl").write_text("\n".join(rows))
    arguments = ["--name", "none", "--kind", "multi", "--output", str(tmp_path / "out")]
    for split in ("train", "validation"):
        arguments += [f"--{split}", str(tmp_path / f"{split}.jsonl")]
    with pytest.raises(DataError, match="no training row has a label"):
        train_head.run(arguments)

from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import encoder
import heads
from pipelines import annotate
from pipelines.command_line import cli
from pipelines.models import zero_shot_head
from tests.conftest import random_texts


def arguments(tiny_bundle, output, *more: str) -> list[str]:
    shared = ["--labels", "good film, bad film", "--task", "view", "--encoder", str(tiny_bundle)]
    return [*shared, "--device", "cpu", "--output", str(output), *more]


@pytest.fixture
def texts(tmp_path) -> str:
    (tmp_path / "texts.txt").write_text("\n".join(random_texts(100)))
    return str(tmp_path / "texts.txt")


def test_a_head_made_of_names_labels_a_corpus(tiny_bundle, texts, tmp_path, capsys):
    head = zero_shot_head.run(arguments(tiny_bundle, tmp_path / "h", "--unlabelled", texts))
    assert "made of 6 prompts and 100 texts without labels" in capsys.readouterr().out
    assert head.labels == ("good film", "bad film")
    assert head.metrics["zero_shot"] is True
    assert head.encoder_fingerprint == encoder.describe(str(tiny_bundle)).fingerprint
    assert heads.load(tmp_path / "h").source["prompts"]["good film"][0] == "This text is about good film."
    store = ["--input", texts, "--store", str(tmp_path / "s"), "--encoder", str(tiny_bundle), "--no_progress"]
    assert annotate.run([*store, "--heads", str(tmp_path / "h")]).documents == 100


def test_without_texts_it_says_what_would_help(tiny_bundle, tmp_path, capsys):
    zero_shot_head.run(arguments(tiny_bundle, tmp_path / "h"))
    assert "alone; --unlabelled texts improve most heads" in capsys.readouterr().out


def test_a_head_is_replaced_only_if_asked_to(tiny_bundle, tmp_path, capsys):
    call = arguments(tiny_bundle, tmp_path / "h")
    before = zero_shot_head.run(call).fingerprint
    other = [*call, "--labels", "dull plot, great laugh"]
    assert cli.main(["zero-shot-head", *other]) == 2
    assert (
        "is a head's folder already; choose another folder, or replace it with --overwrite" in capsys.readouterr().err
    )
    assert heads.load(tmp_path / "h").fingerprint == before
    assert zero_shot_head.run([*other, "--overwrite"]).fingerprint != before


def test_descriptions_take_the_place_of_names_and_rows_measure(tiny_bundle, tmp_path, capsys):
    (tmp_path / "d.json").write_text(
        json.dumps({"good film": ["great good laugh", "great good laugh"], "bad film": "dull bad bad"})
    )
    texts = ["great good laugh", "dull bad bad"] * 20
    pq.write_table(pa.table({"text": texts, "label": ["good film", "bad film"] * 20}), tmp_path / "test.parquet")
    more = ["--descriptions", f"{tmp_path}/d.json", "--test", f"{tmp_path}/test.parquet"]
    head = zero_shot_head.run(arguments(tiny_bundle, tmp_path / "h", *more))
    assert head.metrics["test"]["accuracy"] == 1
    assert head.metrics["prompts"] == 3
    assert "accuracy" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--labels", "one"], "--labels needs two or more distinct names"),
        (["--labels", "a,,b"], "--labels needs two or more distinct names"),
        (["--labels", "a,b,a"], "--labels needs two or more distinct names"),
        (["--templates", "About it."], "--templates needs {} in place of the name of the label"),
        (["--task", "No Good"], "does not match"),
        (["--descriptions", "/no/such.json"], "/no/such.json cannot be read"),
        (["--unlabelled", "/no/such.txt"], "/no/such.txt is not a file"),
        (["--test", "/no/such.parquet"], "is not a file"),
        (["--encoder", "/no/such"], "is not a model"),
    ],
)
def test_what_makes_no_head_is_told_in_one_line(tiny_bundle, tmp_path, capsys, more, message):
    assert cli.main(["zero-shot-head", *arguments(tiny_bundle, tmp_path / "h", *more)]) == 2
    said = capsys.readouterr().err.strip()
    assert message in said
    assert "\n" not in said
    assert not (tmp_path / "h").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[1]", "must hold a JSON object"),
        ('{"other": "x"}', "describes 'other', which --labels does not list: good film,bad film"),
        ('{"good film": []}', "the description of 'good film' must be a text or a list of texts"),
        ("{", "cannot be read"),
    ],
)
def test_descriptions_that_cannot_be_used(tiny_bundle, tmp_path, capsys, content, message):
    (tmp_path / "d.json").write_text(content)
    call = arguments(tiny_bundle, tmp_path / "h", "--descriptions", f"{tmp_path}/d.json")
    assert cli.main(["zero-shot-head", *call]) == 2
    assert message in capsys.readouterr().err

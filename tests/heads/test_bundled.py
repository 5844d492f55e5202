"""The heads that ship: they fit the encoder that ships, and are worth what their page says."""

from __future__ import annotations

import re
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import encoder
import heads

TASKS = heads.bundled()


def test_the_eight_heads_of_the_design_ship():
    expected = "emotion fine_sentiment news_topics offensive opinion_polarity question_type sentiment topic"
    assert expected.split() == TASKS


@pytest.mark.parametrize("task", TASKS)
def test_a_bundled_head_fits_the_bundled_encoder_and_tells_where_it_is_from(task):
    head = heads.load(task)
    head.check_encoder(encoder.describe("default").fingerprint)
    assert head.source["data"]
    assert head.source["from"]
    assert {"training_rows", "l2", "test", "test_float"} <= head.metrics.keys()


@pytest.mark.parametrize("task", TASKS)
def test_the_page_of_heads_says_what_the_heads_say(task):
    page = Path(heads.__file__).with_name("README.md").read_text(encoding="utf-8")
    (row,) = re.findall(rf"^\| `{task}` .*$", page, re.MULTILINE)
    head = heads.load(task)
    key = "micro_f1" if head.kind == "multi" else "accuracy"
    assert f"| {head.metrics['test'][key]:.3f} | {head.metrics['test_float'][key]:.3f} |" in row


@pytest.mark.parametrize(("task", "data"), [("question_type", "trec"), ("offensive", "tweet_offensive")])
def test_a_bundled_head_is_worth_on_real_data_what_it_says(task, data, data_folder):
    rows = pq.read_table(data_folder / data / "test.parquet")
    codes = encoder.load("default").encode(rows["text"].to_pylist())
    head = heads.load(task)
    figures = heads.evaluate.evaluate(head, codes.bits, rows["label"].to_pylist())
    assert figures["rows"] == head.metrics["test"]["rows"]
    assert abs(figures["accuracy"] - head.metrics["test"]["accuracy"]) < 0.006  # bits near a threshold, by machine

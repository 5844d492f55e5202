"""Tests of `study.compare` on the tiny model."""

from __future__ import annotations

import json

import pytest

from encoder.make import make_bundle
from encoder.settings import BundleSettings
from study import compare
from study.cache import Cache
from tests.conftest import random_texts


def test_encoders_are_compared_task_by_task_and_kept(tiny_data, tiny_bundle, tmp_path, capsys, monkeypatch):
    arguments = ["--data", str(tiny_data), "--work", str(tmp_path), "--tasks", "sst2", "reuters_topics"]
    arguments += ["--encoders", str(tiny_bundle), "--train_rows", "100", "--test_rows", "60"]
    figures = compare.run(arguments)
    printed = capsys.readouterr().out
    assert {record["task"] for record in figures["records"]} == {"sst2", "reuters_topics"}
    assert len(figures["records"]) == 2 * 2 * 2  # tasks, layers, codes
    assert all(0 < record["value"] <= 1 for record in figures["records"])
    last, every = (
        [r["value"] for r in figures["records"] if r["layers"] == layers] for layers in ("last layer", "all layers")
    )
    assert last != every
    assert "validation accuracy" in printed
    assert [r["value"] for r in figures["records"]] == [r["validation"] for r in figures["records"]]
    assert json.loads(printed.splitlines()[-2])["records"] == figures["records"]
    monkeypatch.setattr(Cache, "_make", lambda self, *_: pytest.fail("computed twice"))
    assert compare.run(arguments) == figures
    test = compare.run([*arguments, "--split", "test"])
    assert "test accuracy" in capsys.readouterr().out
    assert [r["value"] for r in test["records"]] != [r["value"] for r in figures["records"]]


def test_the_last_layer_is_measured_only_where_it_is_the_last_columns(tiny_data, tiny_base, tmp_path, capsys):
    for layers in ((3, 2), (1, 2), (1, 3)):
        made = make_bundle(
            BundleSettings("x", str(tiny_base), layers=layers, max_tokens=32), random_texts(64), device="cpu"
        )
        folder = made.save(tmp_path / "-".join(map(str, layers)))
        arguments = [
            "--data",
            str(tiny_data),
            "--work",
            str(tmp_path / "work"),
            "--tasks",
            "sst2",
            "--encoders",
            str(folder),
        ]
        records = compare.run([*arguments, "--train_rows", "60", "--test_rows", "20"])["records"]
        assert ("last layer" in {record["layers"] for record in records}) == (layers == (1, 3))


def test_an_unknown_encoder_is_reported_in_one_line(tiny_data, tmp_path, monkeypatch, capsys):
    places = ["compare", "--data", str(tiny_data), "--work", str(tmp_path), "--tasks", "sst2"]
    monkeypatch.setattr("sys.argv", [*places, "--encoders", str(tmp_path / "none")])
    assert compare.main() == 1
    assert capsys.readouterr().err.startswith("compare: ")

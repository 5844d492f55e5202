"""Compare encoders on the tiny model."""

from __future__ import annotations

import json

import pytest

from study import compare
from study.cache import Cache


def test_encoders_are_compared_task_by_task_and_kept(tiny_data, tiny_bundle, tmp_path, capsys, monkeypatch):
    arguments = ["--data", str(tiny_data), "--work", str(tmp_path), "--tasks", "sst2", "reuters_topics"]
    arguments += ["--encoders", str(tiny_bundle), "--train_rows", "100", "--test_rows", "60"]
    figures = compare.run(arguments)
    printed = capsys.readouterr().out
    assert {record["task"] for record in figures["records"]} == {"sst2", "reuters_topics"}
    assert len(figures["records"]) == 2 * 2 * 2  # tasks, layers, codes
    assert all(0 < record["value"] <= 1 for record in figures["records"])
    last, every = (
        [(r["value"], r["macro_f1"]) for r in figures["records"] if r["layers"] == layers]
        for layers in ("last layer", "all layers")
    )
    assert last != every
    assert json.loads(printed.splitlines()[-2])["records"] == figures["records"]
    monkeypatch.setattr(Cache, "_make", lambda self, *_: pytest.fail("computed twice"))
    assert compare.run(arguments) == figures


def test_an_unknown_encoder_is_said_in_one_line(tiny_data, tmp_path, monkeypatch, capsys):
    places = ["compare", "--data", str(tiny_data), "--work", str(tmp_path), "--tasks", "sst2"]
    monkeypatch.setattr("sys.argv", [*places, "--encoders", str(tmp_path / "none")])
    assert compare.main() == 1
    assert capsys.readouterr().err.startswith("compare: ")

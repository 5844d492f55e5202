from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines import annotate
from tests.pipelines.labelled_folders import write_task


@pytest.fixture
def annotate_tiny(tiny_bundle, tiny_heads, tmp_path) -> Callable:
    """Give a function that annotates `tmp_path / "in"` into `tmp_path / "store"` with the tiny encoder and heads."""

    def call(*more: str, input: Path | str = tmp_path / "in", store: Path = tmp_path / "store", heads=None):
        chosen = [str(tiny_heads[task]) for task in (tiny_heads if heads is None else heads)] or ["none"]
        arguments = ["--input", str(input), "--store", str(store), "--encoder", str(tiny_bundle), "--no_progress"]
        return annotate.run([*arguments, "--heads", *chosen, *more])

    return call


@pytest.fixture(scope="module")
def tasks(tmp_path_factory) -> Path:
    """Give a folder of three small tasks, one of each kind."""
    folder = tmp_path_factory.mktemp("tasks")
    write_task(folder / "held", "single")
    write_task(folder / "words", "multi", seed=1, kind="multilabel")
    write_task(folder / "count", "regression", seed=2)
    return folder

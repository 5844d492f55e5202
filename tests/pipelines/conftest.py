from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines import annotate


@pytest.fixture
def annotate_tiny(tiny_bundle, tiny_heads, tmp_path) -> Callable:
    """Give a function that annotates `tmp_path / "in"` into `tmp_path / "store"` with the tiny encoder and heads."""

    def call(*more: str, input: Path | str = tmp_path / "in", store: Path = tmp_path / "store", heads=None):
        chosen = [str(tiny_heads[task]) for task in (tiny_heads if heads is None else heads)] or ["none"]
        arguments = ["--input", str(input), "--store", str(store), "--encoder", str(tiny_bundle), "--no_progress"]
        return annotate.run([*arguments, "--heads", *chosen, *more])

    return call

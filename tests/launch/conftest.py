from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.conftest import random_texts, store_files

REPOSITORY = Path(__file__).parents[2]
CORPUS = REPOSITORY / "examples" / "corpus"


def run(module: str, *arguments: str, seconds: int = 300) -> subprocess.CompletedProcess[str]:
    """Run a module of the repository as a user does."""
    command = [sys.executable, "-m", module, *arguments]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=seconds, check=False)


@pytest.fixture(scope="session")
def annotate_corpus(tiny_bundle, tiny_heads) -> list[str]:
    """Give a command that annotates the example corpus with the tiny encoder and heads; the store is to be added."""
    models = ["--encoder", str(tiny_bundle), "--heads", *map(str, tiny_heads.values())]
    return ["annotate", "--input", str(CORPUS), "--id_field", "id", *models, "--block_rows", "12", "--no_progress"]


@pytest.fixture(scope="session")
def corpus_files(annotate_corpus, tmp_path_factory) -> dict[str, bytes]:
    """Give the files of codes, labels and rejects that a local run writes."""
    store = tmp_path_factory.mktemp("local") / "store"
    done = run("encode_once", *annotate_corpus, "--store", str(store))
    assert done.returncode == 0, done.stderr[-2000:]
    return store_files(store)


@pytest.fixture(scope="session")
def annotate_tiny_lines(tiny_bundle, tiny_heads, tmp_path_factory) -> list[str]:
    """Give a command that annotates 9,000 lines in many small units with the tiny encoder and heads, without a store."""
    folder = tmp_path_factory.mktemp("lines")
    for i in range(6):
        lines = random_texts(1500, seed=i)
        lines[::100] = [""] * 15  # rejects, too
        (folder / f"{i}.txt").write_text("\n".join(lines))
    return [
        "annotate", "--input", str(folder), "--encoder", str(tiny_bundle), "--heads", *map(str, tiny_heads.values()),
        "--block_rows", "12", "--unit_bytes", "20000", "--file_bytes", "1600", "--threads", "1", "--no_progress",
    ]  # fmt: skip


@pytest.fixture(scope="session")
def tiny_lines_files(annotate_tiny_lines, tmp_path_factory) -> dict[str, bytes]:
    store = tmp_path_factory.mktemp("local-tiny") / "store"
    done = run("encode_once", *annotate_tiny_lines, "--store", str(store))
    assert done.returncode == 0, done.stderr[-2000:]
    return store_files(store)


def children(process: subprocess.Popen) -> list[psutil.Process]:
    """Return the programs that a program has started."""
    return psutil.Process(process.pid).children()


def committed(store: Path) -> int:
    return sum(1 for _ in (store / "codes").rglob("*.parquet"))

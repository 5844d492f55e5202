"""Kill a run at random moments, start it again: the store ends as if nothing had happened."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipelines import verify
from tests.conftest import random_texts, store_files
from transforms.layout import FileName

KILLS = 5


def command(folder: Path, store: str, tiny_bundle, tiny_heads) -> list[str]:
    return [
        sys.executable, "-m", "pipelines.annotate", "--input", f"{folder}/in", "--store", f"{folder}/{store}",
        "--encoder", str(tiny_bundle), "--heads", *map(str, tiny_heads.values()), "--block_rows", "20",
        "--unit_bytes", "20000", "--file_bytes", "1600", "--part_seconds", "0", "--max_reject_share", "1", "--threads", "1",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("kill")
    (folder / "in").mkdir()
    for i in range(6):
        lines = random_texts(1500, seed=i)
        lines[::100] = [""] * 15  # rejects, too
        (folder / "in" / f"{i}.txt").write_text("\n".join(lines))
    return folder


@pytest.fixture(scope="module")
def undisturbed(corpus, tiny_bundle, tiny_heads) -> dict[str, bytes]:
    subprocess.run(command(corpus, "quiet", tiny_bundle, tiny_heads), check=True, capture_output=True)
    return store_files(corpus / "quiet")


def blocks(store: Path) -> int:
    """Count the blocks of 20 rows that are done: in files of codes and in parts."""
    names = [FileName.parsed(path.name) for path in (store / "codes").rglob("*.parquet")]
    return sum(name.rows_read for name in names) // 20 + sum(1 for _ in (store / "parts").rglob("*.parquet"))


@pytest.mark.slow
def test_killed_runs_resume_to_an_identical_store(corpus, undisturbed, tiny_bundle, tiny_heads):
    rng = random.Random(0)
    store = corpus / "killed"
    total = blocks(corpus / "quiet")
    seen = []
    for _ in range(KILLS):
        before = blocks(store)
        process = subprocess.Popen(
            command(corpus, "killed", tiny_bundle, tiny_heads), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        # Not by the clock, so that slow machines kill at the same stages: some blocks after the first new one.
        goal = before + rng.randint(1, max(1, total // (2 * KILLS)))
        while process.poll() is None and blocks(store) < goal:
            time.sleep(0.001)
        time.sleep(rng.random() * 0.02)
        process.send_signal(signal.SIGKILL)
        process.wait()
        seen.append(blocks(store))
        for path in store.rglob("*.parquet"):
            assert path.read_bytes()[-4:] == b"PAR1", f"{path} is half written"
    assert 0 < seen[0] < seen[-1] < total, "the kills did not hit the work"
    kept = {path: os.stat(store / path).st_mtime_ns for path in store_files(store, "codes")}
    subprocess.run(command(corpus, "killed", tiny_bundle, tiny_heads), check=True, capture_output=True)
    assert store_files(store) == undisturbed
    assert all(os.stat(store / path).st_mtime_ns == stamp for path, stamp in kept.items()), "a file was written twice"
    states = sorted(json.loads(path.read_text())["state"] for path in (store / "runs").glob("*/run.json"))
    assert states == ["done", *["killed"] * KILLS]
    assert not list((store / "runs").glob("*/tmp"))
    assert not list((store / "parts").rglob("*.parquet"))
    assert verify.run(["--store", str(store), "--input", f"{corpus}/in"]).problems == ()


@pytest.mark.slow
def test_two_runs_on_one_store_at_once_end_in_the_same_store(corpus, undisturbed, tiny_bundle, tiny_heads):
    pair = [
        subprocess.Popen(
            command(corpus, "shared", tiny_bundle, tiny_heads),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for _ in range(2)
    ]
    said = [process.communicate(timeout=300)[0] for process in pair]
    assert [process.returncode for process in pair] == [0, 0], said
    assert store_files(corpus / "shared") == undisturbed
    assert verify.run(["--store", f"{corpus}/shared"]).problems == ()


@pytest.mark.slow
def test_two_runs_on_one_store_at_once_share_the_work(tmp_path, tiny_bundle, tiny_heads):
    """Of 100 units each run takes what the other has not: together they encode at most a tenth more than one run would."""
    (tmp_path / "in").mkdir()
    for number in range(100):
        (tmp_path / "in" / f"{number}.txt").write_text("\n".join(random_texts(60, seed=number)))
    pair = [
        subprocess.Popen(command(tmp_path, "shared", tiny_bundle, tiny_heads), stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    assert [process.wait(timeout=300) for process in pair] == [0, 0], [process.stdout.read() for process in pair]
    records = [json.loads(path.read_text()) for path in (tmp_path / "shared" / "runs").glob("*/run.json")]
    encoded = [record["summary"]["documents"] for record in records]
    assert 6000 <= sum(encoded) <= 6600, encoded
    assert verify.run(["--store", f"{tmp_path}/shared", "--input", f"{tmp_path}/in"]).problems == ()


def test_a_live_runs_temporary_files_are_left_alone(corpus, undisturbed, tiny_bundle, tmp_path):
    from pipelines.runs import Run, clean_dead_runs
    from transforms.store import open_or_create_store

    store = open_or_create_store(str(tmp_path / "store"), "/", {}, "test")
    with Run(store, "annotate", []) as living:
        (Path(living.store.temporary_folder) / "half.tmp").write_bytes(b"half")
        clean_dead_runs(store)
        assert (Path(living.store.temporary_folder) / "half.tmp").exists()
        assert not any("died" in problem for problem in verify.verify(store, (), None).problems)
    dead = tmp_path / "store" / "runs" / "20200101T000000Z-dead" / "tmp"
    dead.mkdir(parents=True)
    (dead / "half.tmp").write_bytes(b"half")
    assert any("1 temporary files of a run that died" in problem for problem in verify.verify(store, (), None).problems)
    clean_dead_runs(store)
    assert not dead.exists()

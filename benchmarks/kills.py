"""Kill a run at random times, resume it, and compare every file of its store with that of an undisturbed run."""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

from benchmarks import child, corpus
from benchmarks.harness import Report, Table
from benchmarks.settings import Settings
from transforms.layout import FileName, PartName

SMALL_BLOCKS = ("--block_rows", "32", "--file_bytes", "40000", "--part_seconds", "0")
MAX_PAUSE_SECONDS = 1.0


def run(settings: Settings) -> Report:
    folder = corpus.write_jsonl(corpus.sample(settings.corpus, settings.kill_documents), settings.work / "kill-corpus")
    undisturbed, killed = settings.work / "kill-quiet", settings.work / "kill-store"
    for store in (undisturbed, killed):
        shutil.rmtree(store, ignore_errors=True)
    child.run(child.annotate(folder, undisturbed, *SMALL_BLOCKS))
    expected = contents(undisturbed)
    rng = random.Random(0)
    rows = [0]
    # The corpus must not be finished before the last kill, so each run waits for at most this many new rows.
    share = max(1, count_rows(undisturbed) // (settings.kills + 1))
    for _ in range(settings.kills):
        process = subprocess.Popen(
            child.annotate(folder, killed, *SMALL_BLOCKS), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        # Some kills hit a process that still starts, others one in the middle of a block.
        goal, pause = rows[-1] + rng.randint(0, share), rng.uniform(0, MAX_PAUSE_SECONDS)
        while process.poll() is None and count_rows(killed) < goal:
            time.sleep(0.01)
        time.sleep(pause)
        process.send_signal(signal.SIGKILL)
        process.wait()
        rows.append(count_rows(killed))
    child.run(child.annotate(folder, killed, *SMALL_BLOCKS))
    figures = {
        "identical": expected == contents(killed),
        "kills": settings.kills,
        "files": len(expected),
        "rows_after_each_kill": rows[1:],
    }
    return Report("kills", [Table.of("Killed and resumed, compared with an undisturbed run", figures)], figures)


def count_rows(store: Path) -> int:
    """Return the number of rows whose codes are committed, in files and in parts of files."""
    files = [FileName.parsed(path.name) for path in (store / "codes").rglob("*.parquet")]
    parts = [PartName.parse(path.name) for path in (store / "parts").rglob("*.parquet")]
    return sum(name.rows_read for name in files) + sum(part.rows + part.rejects for part in parts if part is not None)


def contents(store: Path) -> dict[str, bytes]:
    """Return the content of the files of codes and labels of a store, by path."""
    paths = [path for folder in ("codes", "labels") for path in (store / folder).rglob("*") if path.is_file()]
    return {str(path.relative_to(store)): path.read_bytes() for path in paths}

"""Time short commands, the first committed block of `annotate`, and the first vector of sentence-transformers."""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import encoder
from benchmarks import child, corpus, random_store
from benchmarks.harness import Report, Table
from benchmarks.settings import Settings

BLOCK_ROWS = 32  # small, so that the start takes longer than encoding the block
STORE_DOCUMENTS = 100_000
MAX_START_SECONDS = 120
FIRST_VECTOR = """
from sentence_transformers import SentenceTransformer
SentenceTransformer({base!r}, device="cpu").encode(["to the first vector"])
"""


def run(settings: Settings) -> Report:
    bundle = encoder.describe("default")
    base = str(bundle.find_base().folder)
    store = random_store.write(settings.work / "startup-codes", STORE_DOCUMENTS, bundle)
    fresh = settings.work / "startup-store"
    block = ("--block_rows", str(BLOCK_ROWS))
    small = corpus.write_jsonl(corpus.sample(settings.corpus, 2 * BLOCK_ROWS), settings.work / "startup-corpus")
    # `python -c pass` is the lower limit for all commands.
    timed: dict[str, Callable[[], float]] = {
        "python -c pass": lambda: child.run([sys.executable, "-c", "pass"]).seconds,
        "encode-once --help": lambda: child.run([*child.PROGRAM, "--help"]).seconds,
        "encode-once annotate --help": lambda: child.run([*child.PROGRAM, "annotate", "--help"]).seconds,
        "encode-once status": lambda: child.run([*child.PROGRAM, "status", "--store", str(store)]).seconds,
        "encode-once annotate --dry_run --no_measure": lambda: _dry_run(settings.corpus, fresh),
        "shell to first committed block": lambda: first_block(child.annotate(small, fresh, *block), fresh),
        "shell to sentence-transformers' first vector": lambda: _first_vector(base),
    }
    seconds: dict[str, list[float]] = {name: [] for name in timed}
    for round_ in range(settings.rounds + 1):  # the first round fills the file cache
        for name, measure in timed.items():
            shutil.rmtree(fresh, ignore_errors=True)
            elapsed = measure()
            if round_:
                seconds[name].append(elapsed)
    for folder in (store, fresh):
        shutil.rmtree(folder, ignore_errors=True)
    figures = {name: round(statistics.median(times), 2) for name, times in seconds.items()}
    rows = [(f"{figures[name]:.2f}", f"{min(times):.2f}–{max(times):.2f}", name) for name, times in seconds.items()]
    title = f"Start, median seconds of {settings.rounds} rounds (status: {STORE_DOCUMENTS:,} codes)"
    return Report("startup", [Table(title, ("seconds", "rounds", "from the shell"), rows)], {"seconds": figures})


def first_block(command: list[str], store: Path) -> float:
    """Start `annotate`, return the seconds until its first committed block of codes, and kill it."""
    started = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while time.monotonic() - started < MAX_START_SECONDS:
            ended = process.poll() is not None  # check first: the block of a run that has just ended counts
            folders = (store / "codes", store / "parts")
            if any(
                name.endswith(".parquet") for folder in folders for _, _, names in os.walk(folder) for name in names
            ):
                return time.monotonic() - started
            if ended:
                raise child.ChildError(
                    f"{' '.join(command)} exited with code {process.returncode} before its first block"
                )
            time.sleep(0.005)
        raise child.ChildError(f"{' '.join(command)}: no block was committed within {MAX_START_SECONDS} seconds")
    finally:
        process.kill()
        process.wait()


def _dry_run(folder: Path, store: Path) -> float:
    return child.run(child.annotate(folder, store, "--dry_run", "--no_measure")).seconds


def _first_vector(base: str) -> float:
    return child.run([sys.executable, "-c", FIRST_VECTOR.format(base=base)]).seconds

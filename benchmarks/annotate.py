"""Measure `annotate` as a whole: memory, what the pipeline costs beside the encoder, repeated runs, one new head, kills.

    python -m benchmarks.make_corpus --data ../shared/data --output /tmp/corpus
    python -m benchmarks.make_corpus --data ../shared/data --output /tmp/quarter --share 0.25
    python -m benchmarks.annotate memory --corpus /tmp/corpus --quarter /tmp/quarter --work /tmp/bench
    python -m benchmarks.annotate repeat --corpus /tmp/corpus --work /tmp/bench       (after memory: the finished store)
    python -m benchmarks.annotate overhead --corpus /tmp/corpus --work /tmp/bench
    python -m benchmarks.annotate kills --corpus /tmp/corpus --work /tmp/bench

Each prints a table, then one JSON line.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import platform
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any

KILLS = 20
KILL_DOCUMENTS = 1500
OVERHEAD_DOCUMENTS = 4096
OVERHEAD_BLOCK_ROWS = 1024
OVERHEAD_ROUNDS = 2


def annotate(corpus: Path, store: Path, *more: str) -> list[str]:
    program = [sys.executable, "-m", "pipelines.annotate"]
    return [*program, "--input", f"{corpus}/*", "--store", str(store), "--id_field", "id", "--no_progress", *more]


def run(command: list[str]) -> tuple[float, float, str]:
    """Run a command: wall seconds, peak resident MB of its largest process, what it printed. Ends here where it fails."""
    started = time.monotonic()
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.monotonic() - started
        output.seek(0)
        printed = output.read()
    if process.returncode:
        sys.exit(f"{' '.join(command)} ended with {process.returncode}:\n{printed}")
    return seconds, usage.ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10), printed


def last_record(store: Path) -> dict:
    return json.loads(max((store / "runs").glob("*/run.json"), key=lambda path: path.stat().st_mtime).read_text())


def memory(options: argparse.Namespace) -> dict:
    """Compare the peak memory of the whole corpus with that of a quarter; also the share of time spent encoding."""
    figures = {}
    for name, corpus in (("quarter", options.quarter), ("whole", options.corpus)):
        store = options.work / f"store-{name}"
        shutil.rmtree(store, ignore_errors=True)
        seconds, peak, _ = run(annotate(corpus, store))
        summary = last_record(store)["summary"]
        figures[name] = {
            "documents": summary["documents"],
            "shell_seconds": round(seconds, 1),
            "documents_per_second": summary["documents_per_second"],
            "encoding_share_of_time": round(summary["encode_seconds"] / summary["seconds"], 4),
            "tokens": summary["tokens"],
            "padding_share": round(summary["padding_share"], 4),
            "peak_mb": round(peak),
        }
    figures["peak_ratio"] = round(figures["whole"]["peak_mb"] / figures["quarter"]["peak_mb"], 3)
    return figures


def repeat(options: argparse.Namespace) -> dict:
    """Time a run with nothing to do, and one new head over finished codes, shell to shell, on the store of `memory`."""
    store = options.work / "store-whole"
    nothing, heads, graphs, reads = [], [], [], []
    for _ in range(options.rounds):
        nothing.append(run(annotate(options.corpus, store))[0])
        shutil.rmtree(store / "labels" / "task=topic")
        seconds, _, _ = run(annotate(options.corpus, store))
        summary = last_record(store)["summary"]
        assert list(summary["labelled"]) == ["topic"], summary["labelled"]
        assert summary["documents"] == 0
        heads.append(seconds)
        graphs.append(summary["seconds"])
        reads.append(summary["labelled"]["topic"])
    return {
        "nothing_to_do_shell_seconds": round(statistics.median(nothing), 2),
        "new_head_shell_seconds": round(statistics.median(heads), 2),
        "new_head_graph_seconds": round(statistics.median(graphs), 2),
        "documents": reads[0],
        "rounds": options.rounds,
    }


def overhead(options: argparse.Namespace) -> dict:
    """Interleave `encoder.encode` alone on blocks with `annotate` of the same blocks by eight heads, one loaded model."""
    import encoder
    from pipelines import annotate as program
    from transforms import encode as encoding
    from transforms.blocks import BlockLimits, ReadOptions
    from transforms.files import open_raw
    from transforms.records import read_blocks
    from transforms.units import match_shards

    corpus = options.work / "overhead-corpus"
    take(options.corpus, corpus, OVERHEAD_DOCUMENTS)
    model = in_thread(lambda: encoder.load("default"))
    encoding.load_stored_encoder = lambda *_: model  # loading is timed elsewhere; here both sides have it loaded
    reading = ReadOptions(id_field="id")
    (shard,) = match_shards([str(corpus)], str(corpus), reading)
    blocks = list(
        read_blocks(
            functools.partial(open_raw, shard.path),
            shard.path,
            "x",
            shard.format,
            (0, shard.size_bytes),
            reading,
            BlockLimits(),
        )
    )
    texts = [block.table["text"].to_pylist() for block in blocks]
    alone, whole = [], []
    for round_ in range(OVERHEAD_ROUNDS + 1):
        started = time.monotonic()
        in_thread(lambda: [model.encode(part) for part in texts])
        alone.append(time.monotonic() - started)
        store = options.work / f"overhead-{round_}"
        shutil.rmtree(store, ignore_errors=True)
        summary = program.run(
            [
                "--input",
                str(corpus),
                "--store",
                str(store),
                "--id_field",
                "id",
                "--block_rows",
                str(OVERHEAD_BLOCK_ROWS),
            ]
        )
        whole.append(summary.seconds)
    ratios = [a / b for a, b in zip(alone[1:], whole[1:])]  # the first round warms up
    return {
        "annotate_rate_of_encoder_alone": round(statistics.median(ratios), 4),
        "ratios": [round(ratio, 4) for ratio in ratios],
        "documents": sum(map(len, texts)),
        "documents_per_second_alone": round(sum(map(len, texts)) / statistics.median(alone[1:]), 1),
    }


def in_thread(function: Callable[[], Any]) -> Any:
    """Call in a thread of its own, as a Beam worker does.

    A main thread that has once computed keeps OpenMP threads; beside them every other thread's are throttled, by 4 to 8 %.
    """
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function).result()


def kills(options: argparse.Namespace) -> dict:
    """Kill a run twenty times at random moments, resume, and compare the store with an undisturbed run's, file by file."""
    corpus = options.work / "kill-corpus"
    take(options.corpus, corpus, KILL_DOCUMENTS)
    small = ("--block_rows", "32")
    quiet, killed = options.work / "kill-quiet", options.work / "kill-store"
    for store in (quiet, killed):
        shutil.rmtree(store, ignore_errors=True)
    whole, _, _ = run(annotate(corpus, quiet, *small))
    rng = random.Random(0)
    blocks = []
    for _ in range(KILLS):
        process = subprocess.Popen(
            annotate(corpus, killed, *small), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        # Anywhere from start-up to a share of the work: the runs together must not finish before the last kill.
        time.sleep(rng.uniform(0.5, 0.9) * min(whole, 12.0))
        process.send_signal(signal.SIGKILL)
        process.wait()
        blocks.append(sum(1 for _ in (killed / "codes").rglob("*.parquet")))
    run(annotate(corpus, killed, *small))
    same = files(quiet) == files(killed)
    return {"kills": KILLS, "blocks_after_each_kill": blocks, "files": len(files(quiet)), "identical": same}


def files(store: Path) -> dict[str, bytes]:
    """Return codes and labels of a store by path."""
    found = [path for folder in ("codes", "labels") for path in (store / folder).rglob("*") if path.is_file()]
    return {str(path.relative_to(store)): path.read_bytes() for path in found}


def take(corpus: Path, output: Path, documents: int) -> None:
    """Write the first documents of a corpus's first JSON lines shard as a corpus of one shard."""
    output.mkdir(parents=True, exist_ok=True)
    lines = (corpus / "part-00.jsonl").read_text(encoding="utf-8").splitlines()[:documents]
    content = "\n".join(lines) + "\n"
    path = output / "part.jsonl"
    if not path.exists() or path.read_text(encoding="utf-8") != content:
        path.write_text(content, encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("memory", "repeat", "overhead", "kills"))
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--quarter", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    packages = ("apache-beam", "torch", "transformers", "pyarrow", "numpy")
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()},", end=" ")
    print(", ".join(f"{package} {version(package)}" for package in packages), flush=True)
    figures = {"memory": memory, "repeat": repeat, "overhead": overhead, "kills": kills}[options.what](options)
    for name, value in figures.items():
        print(f"{name:<34} {value}")
    print(json.dumps({"benchmark": options.what, **figures}))


if __name__ == "__main__":
    main()

"""Make a corpus of the texts of a folder of labelled tasks, in shards of different formats and compressions.

    python -m benchmarks.make_corpus --data DATA --output /tmp/corpus [--share 0.25]

The texts of all splits are shuffled with a fixed seed and distributed over the shards in turn. A share of the corpus
therefore has the same mix of texts and formats as the whole.
"""

from __future__ import annotations

import argparse
import bz2
import csv
import gzip
import io
import json
import lzma
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

SHARDS = (
    *(f"part-{i:02d}.txt" for i in range(3)),
    *(f"part-{i:02d}.jsonl" for i in range(3)),
    "part-00.csv",
    *(f"part-{i:02d}.parquet" for i in range(3)),
    "part-03.jsonl.gz",
    "part-04.jsonl.zst",
    "part-03.txt.bz2",
    "part-04.txt.xz",
    "part-01.csv.gz",
)
MIN_TEXTS = 1000  # with fewer, start and end take most of the time
COMPRESS = {
    ".gz": lambda raw: gzip.compress(raw, mtime=0),
    ".zst": lambda raw: pa.compress(raw, "zstd", asbytes=True),
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
}


def all_texts(data: Path, seed: int = 0) -> list[str]:
    """Return the texts of all splits of all tasks and the unlabelled texts, shuffled, each without line breaks."""
    files = [*sorted(data.glob("*/*.parquet")), *sorted(data.glob("*.parquet"))]
    texts = [text for file in files for text in pq.read_table(file, columns=["text"])["text"].to_pylist()]
    order = np.random.default_rng(seed).permutation(len(texts))
    return [" ".join(texts[i].split()) or "-" for i in order]


def make(texts: list[str], output: Path) -> int:
    """Write the shards and return their size in bytes."""
    output.mkdir(parents=True, exist_ok=True)
    total = 0
    for number, name in enumerate(SHARDS):
        part = texts[number :: len(SHARDS)]
        ids = [f"{number:02d}-{i:07d}" for i in range(len(part))]
        path = output / name
        if name.endswith(".parquet"):
            pq.write_table(pa.table({"id": ids, "text": part}), path, row_group_size=4096)
        else:
            raw = _lines(name, ids, part).encode()
            path.write_bytes(COMPRESS.get(path.suffix, bytes)(raw))
        total += path.stat().st_size
    return total


def _lines(name: str, ids: list[str], texts: list[str]) -> str:
    if ".jsonl" in name:
        return "".join(json.dumps({"id": i, "text": t}, ensure_ascii=False) + "\n" for i, t in zip(ids, texts))
    if ".csv" in name:
        buffer = io.StringIO()
        csv.writer(buffer).writerows([("id", "text"), *zip(ids, texts)])
        return buffer.getvalue()
    return "".join(text + "\n" for text in texts)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--share", type=float, default=1.0, help="share of the texts")
    options = parser.parse_args()
    texts = all_texts(options.data)
    texts = texts[: round(len(texts) * options.share)]
    if len(texts) < MIN_TEXTS:
        parser.error(
            f"--data {options.data} with --share {options.share:g} gives {len(texts)} texts, at least {MIN_TEXTS} are needed; "
            "--data must hold Parquet files with a column text, directly or in a folder per task"
        )
    size = make(texts, options.output)
    print(f"{len(texts):,} documents in {len(SHARDS)} shards, {size / 2**20:.1f} MiB, in {options.output}")

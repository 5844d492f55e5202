"""Compare reading shards of every format into blocks, as `annotate` does, with the readers of pyarrow alone."""

from __future__ import annotations

import csv
import functools
import gzip
import io
import itertools
import json
import random
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet as pq

from benchmarks import corpus
from benchmarks.harness import Contender, Report, Timing, interleave
from benchmarks.settings import Settings
from transforms.match import match_shards
from transforms.unit import Shard

OURS = "encode-once"
KINDS = (".txt", ".jsonl", ".csv")
PYARROW_COMPRESSION = {".gz": "gzip", ".zst": "zstd"}
MAX_TEXT_CHARACTERS = 200  # with short lines the work per row dominates


def run(settings: Settings) -> Report:
    folder = settings.work / "read"
    folder.mkdir(parents=True, exist_ok=True)
    paths = write_shards(corpus.all_texts(settings.corpus), settings.read_rows, folder)
    tables, figures = [], {}
    for path in paths:
        (shard,) = match_shards([str(path)], str(folder), corpus.READING)
        timing = compare(shard, path, settings.rounds)
        megabytes = path.stat().st_size / 1e6
        title = f"{path.name}: {settings.read_rows:,} rows, {megabytes:.1f} MB on disk"
        tables.append(timing.table(title, OURS, settings.read_rows, "rows"))
        figures[path.name] = timing.figures(OURS, settings.read_rows)
        path.unlink()
    return Report("read", tables, {"rows": settings.read_rows, "shards": figures})


def compare(shard: Shard, path: Path, rounds: int) -> Timing:
    """Time reading one shard with our reader, and with pyarrow on one thread and on its default threads."""

    def ours() -> None:
        for _ in corpus.read_shard(shard):
            pass

    def warm_up() -> None:
        next(corpus.read_shard(shard))

    contenders = [Contender(OURS, ours, warm_up, "blocks with ids, every row accounted for; one thread")]
    for name, threads in (("pyarrow, one thread", False), ("pyarrow, its threads", True)):
        contenders.append(Contender(name, functools.partial(read_with_pyarrow, path, threads), None, "one table"))
    return interleave(contenders, rounds)


def read_with_pyarrow(path: Path, threads: bool) -> pa.Table:
    """Read a shard into one table with pyarrow's reader of its format."""
    if path.suffix == ".parquet":
        return pq.read_table(path, use_threads=threads)
    with pa.input_stream(str(path), compression=PYARROW_COMPRESSION.get(path.suffix)) as stream:
        kind = next(kind for kind in KINDS if kind in path.suffixes)
        if kind == ".jsonl":
            return pa.json.read_json(stream, pa.json.ReadOptions(use_threads=threads))
        if kind == ".csv":
            parsing = pa.csv.ParseOptions(newlines_in_values=True)
            return pa.csv.read_csv(stream, pa.csv.ReadOptions(use_threads=threads), parsing)
        reading = pa.csv.ReadOptions(use_threads=threads, column_names=["text"])
        parsing = pa.csv.ParseOptions(delimiter="\x01", quote_char=False)
        return pa.csv.read_csv(stream, reading, parsing, pa.csv.ConvertOptions(column_types={"text": pa.string()}))


def write_shards(texts: list[str], rows: int, folder: Path) -> list[Path]:
    """Write the same rows in every format and compression; return the paths.

    The rows are the short texts. Where there are too few, they repeat with their words shuffled.
    """
    short = [text for text in texts if len(text) <= MAX_TEXT_CHARACTERS and text.strip()]
    rng = random.Random(0)
    chosen = short[:rows]
    while len(chosen) < rows:  # identical repetitions would compress too well
        words = short[len(chosen) % len(short)].split()
        rng.shuffle(words)
        chosen.append(" ".join(words))
    ids = [f"{i:08d}" for i in range(rows)]
    contents: dict[str, Callable[[], str]] = {
        ".txt": lambda: "".join(text + "\n" for text in chosen),
        ".jsonl": lambda: "".join(
            json.dumps({"id": i, "text": t}, ensure_ascii=False) + "\n" for i, t in zip(ids, chosen)
        ),
        ".csv": lambda: _csv(ids, chosen),
    }
    compress = {
        "": lambda raw: raw,
        ".gz": lambda raw: gzip.compress(raw, 6, mtime=0),
        ".zst": lambda raw: pa.compress(raw, "zstd", asbytes=True),
    }
    paths = []
    for kind, ending in itertools.product(contents, compress):
        paths.append(folder / f"rows{kind}{ending}")
        paths[-1].write_bytes(compress[ending](contents[kind]().encode()))
    paths.append(folder / "rows.parquet")
    pq.write_table(pa.table({"id": ids, "text": chosen}), paths[-1], row_group_size=65536)
    return paths


def _csv(ids: list[str], texts: list[str]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows([("id", "text"), *zip(ids, texts)])
    return buffer.getvalue()

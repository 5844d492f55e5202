"""Read the texts of a benchmark corpus, whose shards have any of the supported formats."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from transforms.blocks import BlockLimits, TextBlock
from transforms.filesystem.files import open_raw
from transforms.match import match_shards
from transforms.options import CutRules, ReadOptions
from transforms.plan import cut_shard
from transforms.readers.records import read_blocks
from transforms.unit import Shard

READING = ReadOptions(id_field="id")


def shards(corpus: Path, reading: ReadOptions = READING) -> list[Shard]:
    """List the shards of a corpus."""
    return match_shards([str(corpus)], str(corpus), reading)


def read_shard(shard: Shard, reading: ReadOptions = READING, limits: BlockLimits | None = None) -> Iterator[TextBlock]:
    """Read a shard unit by unit and yield its blocks, split as `annotate` splits them."""
    rules = CutRules()
    limits = limits or BlockLimits(rules.block_rows, rules.block_text_bytes)
    for start, stop, _ in cut_shard(shard, rules.unit_bytes):
        raw = functools.partial(open_raw, shard.path)
        yield from read_blocks(raw, shard.path, shard.id_path, shard.format, (start, stop), reading, limits)


def all_texts(corpus: Path) -> list[str]:
    """Return the texts of all shards."""
    return [text for shard in shards(corpus) for block in read_shard(shard) for text in block.table["text"].to_pylist()]


def sample(corpus: Path, count: int, seed: int = 0) -> list[str]:
    """Draw `count` texts at random from all shards, so that their lengths are distributed as in the whole corpus.

    Raises:
        ValueError: the corpus has fewer texts.
    """
    texts = all_texts(corpus)
    if len(texts) < count:
        raise ValueError(
            f"{corpus} holds {len(texts)} texts but {count} are asked for; make a corpus with a larger --share"
        )
    chosen = np.random.default_rng(seed).choice(len(texts), count, replace=False)
    return [texts[i] for i in chosen]


def write_jsonl(texts: list[str], folder: Path) -> Path:
    """Write texts as a corpus of one JSON lines shard; return its folder. A file with the same content is not rewritten."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = (json.dumps({"id": f"{i:07d}", "text": t}, ensure_ascii=False) + "\n" for i, t in enumerate(texts))
    content = "".join(lines).encode()
    path = folder / "part.jsonl"
    if not path.exists() or path.read_bytes() != content:
        path.write_bytes(content)
    return folder

"""Name what lies in a store and write down its schemas. Pure: no file is touched here."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Iterable
from typing import Any

import pyarrow as pa

FORMAT_VERSION = 1
_BLOCK_FILE = re.compile(
    r"(?P<shard>[^.]+)\.(?P<unit>\d{5,})-of-(?P<units>\d{5,})\.(?P<block>\d{5,})(?P<end>\.end)?\.parquet"
)
_META = "encode_once"
BIT_ORDER = "big"


@dataclasses.dataclass(frozen=True, order=True)
class BlockName:
    """Name one block: `<shard>.<unit>-of-<units>.<block>[.end].parquet`.

    The number of units is in the name so that whether a shard is complete is seen from a listing alone, without opening
    the shard (a Parquet shard's units are only known from its footer).
    """

    shard: str
    unit: int
    units: int
    block: int
    last: bool

    def __str__(self) -> str:
        end = ".end" if self.last else ""
        return f"{self.shard}.{self.unit:05d}-of-{self.units:05d}.{self.block:05d}{end}.parquet"

    @classmethod
    def parse(cls, name: str) -> BlockName | None:
        """Read a file's name; None where it is no block's."""
        match = _BLOCK_FILE.fullmatch(name)
        if not match:
            return None
        return cls(match["shard"], int(match["unit"]), int(match["units"]), int(match["block"]), bool(match["end"]))


def shard_key(relative_path: str, size_bytes: int, stamp: str, reading: dict[str, Any]) -> str:
    """Name a shard: the end of its path made readable, a hash of the path, a hash of its version and how it is read.

    The same path with another size or stamp, or read by other options (another text field, say), is another key with the
    same beginning: its codes are made anew and the old ones are stale.
    """
    slug = re.sub(r"[^a-z0-9]+", "-", relative_path.lower()).strip("-")[-48:].strip("-") or "shard"
    path_hash = hashlib.sha256(relative_path.encode("utf-8", "surrogateescape")).hexdigest()[:10]
    version = json.dumps([size_bytes, stamp, reading], sort_keys=True)
    return f"{slug}-{path_hash}-{hashlib.sha256(version.encode()).hexdigest()[:10]}"


def shard_path_key(key: str) -> str:
    """Return the part of a shard's key that follows from its path alone."""
    return key.rpartition("-")[0]


def codes_folder(encoder: str) -> str:
    return f"codes/encoder={encoder[:12]}"


def rejects_folder(encoder: str) -> str:
    return f"rejects/encoder={encoder[:12]}"


def labels_folder(task: str, head: str) -> str:
    return f"labels/task={task}/head={head[:12]}"


@dataclasses.dataclass
class UnitBlocks:
    """Collect which blocks of a unit are there."""

    units: int
    blocks: set[int] = dataclasses.field(default_factory=set)
    last: int | None = None

    @property
    def complete(self) -> bool:
        return self.last is not None and len(self.blocks) == self.last + 1


class Listing:
    """Say from a folder's file names which units are complete."""

    def __init__(self, names: Iterable[str]) -> None:
        self.shards: dict[str, dict[int, UnitBlocks]] = {}
        self.strangers: list[str] = []
        for name in names:
            if (block := BlockName.parse(name)) is None:
                self.strangers.append(name)
                continue
            unit = self.shards.setdefault(block.shard, {}).setdefault(block.unit, UnitBlocks(block.units))
            unit.blocks.add(block.block)
            if block.last:
                unit.last = block.block

    def unit(self, shard: str, unit: int) -> UnitBlocks | None:
        return self.shards.get(shard, {}).get(unit)

    def is_complete(self, shard: str, unit: int) -> bool:
        found = self.unit(shard, unit)
        return found is not None and found.complete

    def unit_count(self, shard: str) -> int | None:
        """Return how many units a shard has in all; None where none of its blocks is there."""
        return next((unit.units for unit in self.shards.get(shard, {}).values()), None)

    def first_block(self, shard: str) -> BlockName:
        """Return the first of a shard's blocks that is there: what it says of the shard all say."""
        index = min(self.shards[shard])
        unit = self.shards[shard][index]
        block = min(unit.blocks)
        return BlockName(shard, index, unit.units, block, block == unit.last)

    def incomplete_units(self, shards: Iterable[str]) -> int:
        """Count the units of some known shards that lack a block, or all of them."""
        complete = {shard: sum(unit.complete for unit in self.shards[shard].values()) for shard in shards}
        return sum(self.unit_count(shard) - count for shard, count in complete.items())


# Schemas. Metadata goes into the files; nothing in it depends on when, where or by whom a block was made.


def codes_schema(bits: int) -> pa.Schema:
    return pa.schema(
        [
            pa.field("id", pa.string(), nullable=False),
            pa.field("code", pa.binary(bits // 8), nullable=False),
            pa.field("n_tokens", pa.int32(), nullable=False),
            pa.field("truncated", pa.bool_(), nullable=False),
        ]
    )


def labels_schema(kind: str) -> pa.Schema:
    """Return the schema of labels of a head of kind "single", "multi" or "regression"."""
    columns = {
        "single": [("label", pa.dictionary(pa.int32(), pa.string())), ("score", pa.float32())],
        "multi": [("labels", pa.list_(pa.string())), ("scores", pa.list_(pa.float32()))],
        "regression": [("value", pa.float32())],
    }[kind]
    return pa.schema(
        [pa.field("id", pa.string(), nullable=False), *(pa.field(n, t, nullable=False) for n, t in columns)]
    )


def with_metadata(schema: pa.Schema, values: dict[str, Any]) -> pa.Schema:
    """Add our metadata to a schema: one JSON object, with the format's version."""
    content = json.dumps({"format_version": FORMAT_VERSION, **values}, sort_keys=True)
    return schema.with_metadata({_META: content})


def read_metadata(schema: pa.Schema) -> dict[str, Any]:
    """Return our metadata of a schema.

    Raises:
        ValueError: there is none, or it is of another format.
    """
    raw = (schema.metadata or {}).get(_META.encode())
    if raw is None:
        raise ValueError("the file carries no encode-once metadata")
    values = json.loads(raw)
    if values.get("format_version") != FORMAT_VERSION:
        raise ValueError(f"the file is of format {values.get('format_version')}, this program reads {FORMAT_VERSION}")
    return values

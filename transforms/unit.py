"""Shards and units: what is planned, shuffled and retried."""

from __future__ import annotations

import dataclasses
import json

from transforms.layout import FileName
from transforms.readers.formats import Format


@dataclasses.dataclass(frozen=True)
class Shard:
    """An input file as it was when the run was planned.

    Attributes:
        path: its full path.
        relative_path: its path below the store's input root.
        size_bytes: its size.
        stamp: its modification time in milliseconds, or a hash of its content.
        version: the part of the stamp that identifies a version: whole seconds, or the hash.
        format: its format and compression.
        reading: JSON of the options that decide what is read from it.
        key: its name in the store.
        id_path: the path that ids are made from: the first relative path of the shard.
    """

    path: str
    relative_path: str
    size_bytes: int
    stamp: int
    version: int
    format: Format
    reading: str
    key: str
    id_path: str


@dataclasses.dataclass(frozen=True)
class Unit:
    """A range of a shard and what is left to do for it. Small, as units are the only elements that are shuffled.

    Attributes:
        shard: the shard's key.
        index: number of the unit within the shard.
        count: number of units of the shard.
        tasks: tasks whose labels are missing.
        files: names of its files of codes if it is complete; None if the text must be read.
        path, id_path, size_bytes, stamp: those of the shard; empty if the text need not be read.
        start, stop: bytes of a splittable text shard, row groups of a Parquet shard, else nothing.
        rows: how many rows are read, from the first on; None for all.
    """

    shard: str
    index: int
    count: int
    tasks: tuple[str, ...]
    files: tuple[str, ...] | None = None
    path: str = ""
    id_path: str = ""
    size_bytes: int = 0
    stamp: int = 0
    start: int = 0
    stop: int = 0
    rows: int | None = None

    @classmethod
    def of(
        cls,
        shard: Shard,
        index: int,
        count: int,
        start: int,
        stop: int,
        tasks: tuple[str, ...] = (),
        rows: int | None = None,
    ) -> Unit:
        """Make the unit of a shard whose text must be read."""
        return cls(
            shard=shard.key,
            index=index,
            count=count,
            tasks=tasks,
            path=shard.path,
            id_path=shard.id_path,
            size_bytes=shard.size_bytes,
            stamp=shard.stamp,
            start=start,
            stop=stop,
            rows=rows,
        )

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, line: str) -> Unit:
        fields = json.loads(line)
        fields["tasks"] = tuple(fields["tasks"])
        fields["files"] = None if fields["files"] is None else tuple(fields["files"])
        return cls(**fields)


@dataclasses.dataclass(frozen=True)
class CodesFile:
    """A committed file of codes: the element that goes to the heads.

    Attributes:
        name: its name, in the encoder's folder of codes.
        tasks: tasks whose labels are missing.
        path: the shard, for messages; empty if the shard was not matched.
    """

    name: FileName
    tasks: tuple[str, ...]
    path: str = ""

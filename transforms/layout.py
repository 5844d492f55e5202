"""Names and schemas of the files of a store. This module opens no file."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

import pyarrow as pa

FORMAT_VERSION = 2
BIT_ORDER = "big"
SHORT_FINGERPRINT = 12  # hex digits of a fingerprint in names
_UNIT = r"(?P<shard>[^.]+)\.(?P<unit>\d{5,})-of-(?P<units>\d{5,})"
_COUNTS = r"(?P<rows>\d+)r(?P<rejects>\d+)"
_FILE = re.compile(rf"{_UNIT}\.(?P<index>\d{{5,}})\.{_COUNTS}(?P<end>\.end)?\.parquet")
_PART = re.compile(rf"{_UNIT}\.(?P<index>\d{{5,}})\.{_COUNTS}\.(?P<source_bytes>\d+)b\.parquet")
_METADATA_KEY = "encode_once"


def unit_prefix(shard: str, unit: int, units: int) -> str:
    """Return the prefix of the names of all files of a unit."""
    return f"{shard}.{unit:05d}-of-{units:05d}."


@dataclasses.dataclass(frozen=True, order=True)
class FileName:
    """Name of a file of codes, and of its files of labels and rejects.

    `<shard>.<unit>-of-<units>.<index>.<rows>r<rejects>[.end].parquet`. The counts and the number of units are in the name so
    that a listing alone tells what is complete and how many rows there are.

    Attributes:
        shard: key of the shard.
        unit: index of the unit within the shard.
        units: number of units of the shard.
        index: index of the file within the unit.
        rows: coded rows.
        rejects: rejected rows.
        last: whether the file ends its unit.
    """

    shard: str
    unit: int
    units: int
    index: int
    rows: int
    rejects: int
    last: bool

    def __str__(self) -> str:
        end = ".end" if self.last else ""
        counts = f"{self.rows}r{self.rejects}"
        return f"{unit_prefix(self.shard, self.unit, self.units)}{self.index:05d}.{counts}{end}.parquet"

    @property
    def rows_read(self) -> int:
        return self.rows + self.rejects

    @classmethod
    def parse(cls, name: str) -> FileName | None:
        """Return the parts of a name; None if it is not the name of such a file."""
        if not (match := _FILE.fullmatch(name)):
            return None
        unit, units, index, rows, rejects = (int(match[g]) for g in ("unit", "units", "index", "rows", "rejects"))
        return cls(match["shard"], unit, units, index, rows, rejects, bool(match["end"]))

    @classmethod
    def parsed(cls, name: str) -> FileName:
        """Return the parts of a name.

        Raises:
            ValueError: it is not the name of such a file.
        """
        if (parts := cls.parse(name)) is None:
            raise ValueError(f"{name!r} is not the name of a file of codes")
        return parts


@dataclasses.dataclass(frozen=True, order=True)
class PartName:
    """Name of a part: the codes of one block of a file that is not complete yet.

    `<shard>.<unit>-of-<units>.<block>.<rows>r<rejects>.<source bytes>b.parquet`.
    """

    shard: str
    unit: int
    units: int
    block: int
    rows: int
    rejects: int
    source_bytes: int

    def __str__(self) -> str:
        counts = f"{self.rows}r{self.rejects}.{self.source_bytes}b"
        return f"{unit_prefix(self.shard, self.unit, self.units)}{self.block:05d}.{counts}.parquet"

    @classmethod
    def parse(cls, name: str) -> PartName | None:
        """Return the parts of a name; None if it is not the name of a part."""
        if not (match := _PART.fullmatch(name)):
            return None
        numbers = (int(match[group]) for group in ("unit", "units", "index", "rows", "rejects", "source_bytes"))
        return cls(match["shard"], *numbers)


def shard_key(relative_path: str, size_bytes: int, version: int, reading: dict[str, Any]) -> str:
    """Return the key of a shard: a readable part of its path, a hash of the path, a hash of version and reading options.

    The same path with another size, version or reading option (such as the text field) has another key with the same
    beginning. It is encoded anew.
    """
    slug = re.sub(r"[^a-z0-9]+", "-", relative_path.lower()).strip("-")[-48:].strip("-") or "shard"
    path_hash = hashlib.sha256(relative_path.encode("utf-8", "surrogateescape")).hexdigest()[:10]
    content = json.dumps([size_bytes, version, reading], sort_keys=True)
    return f"{slug}-{path_hash}-{hashlib.sha256(content.encode()).hexdigest()[:10]}"


# Folders. Values of Hive keys begin with a letter, so that readers do not infer numbers.


def encoder_value(encoder: str) -> str:
    """Return how an encoder's fingerprint is written in the names of folders."""
    return f"e{encoder[:SHORT_FINGERPRINT]}"


def head_value(head: str) -> str:
    """Return how a head's fingerprint is written in the names of folders."""
    return f"h{head[:SHORT_FINGERPRINT]}"


def codes_folder(encoder: str) -> str:
    return f"codes/encoder={encoder_value(encoder)}"


def rejects_folder(encoder: str) -> str:
    return f"rejects/encoder={encoder_value(encoder)}"


def parts_folder(encoder: str) -> str:
    return f"parts/encoder={encoder_value(encoder)}"


def labels_folder(task: str, head: str) -> str:
    return f"labels/task={task}/head={head_value(head)}"


def encoder_folder(encoder: str) -> str:
    return f"encoders/{encoder_value(encoder)}"


def head_folder(head: str) -> str:
    return f"heads/{head_value(head)}"


class UnitFiles:
    """The files of one unit that are in a folder."""

    __slots__ = ("files", "units")

    def __init__(self, units: int, files: Iterable[FileName] = ()) -> None:
        self.units = units
        self.files: dict[int, FileName] = {name.index: name for name in files}

    @property
    def complete(self) -> bool:
        """Whether the unit's last file and all files before it exist."""
        last = self.files.get(len(self.files) - 1)
        return last is not None and last.last

    @property
    def rows(self) -> int:
        return sum(name.rows for name in self.files.values())

    @property
    def rejects(self) -> int:
        return sum(name.rejects for name in self.files.values())

    def in_order(self) -> list[FileName]:
        return [self.files[index] for index in sorted(self.files)]


class Listing:
    """The parsed names of a folder's files: which units are complete, and numbers of rows.

    Attributes:
        shards: files by shard key and unit.
        unrecognised: names that are not those of a store's file.
        conflicts: names of files that exist a second time with other counts.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self.shards: dict[str, dict[int, UnitFiles]] = {}
        self.unrecognised: list[str] = []
        self.conflicts: list[str] = []
        for text in names:
            if (name := FileName.parse(text)) is None:
                self.unrecognised.append(text)
                continue
            unit = self.shards.setdefault(name.shard, {}).setdefault(name.unit, UnitFiles(name.units))
            if name.index in unit.files:
                self.conflicts.append(text)
            else:
                unit.files[name.index] = name

    def unit(self, shard: str, unit: int) -> UnitFiles | None:
        return self.shards.get(shard, {}).get(unit)

    def is_complete(self, shard: str, unit: int) -> bool:
        files = self.unit(shard, unit)
        return files is not None and files.complete

    def unit_count(self, shard: str) -> int | None:
        """Return the number of units of a shard; None if it has no files."""
        return next((unit.units for unit in self.shards.get(shard, {}).values()), None)

    def is_complete_shard(self, shard: str) -> bool:
        """Whether all units of a shard are complete."""
        count = self.unit_count(shard)
        return count is not None and all(self.is_complete(shard, unit) for unit in range(count))

    def incomplete_units(self, shards: Iterable[str]) -> int:
        """Count the units of known shards that lack a file, or all files."""
        return sum(
            (self.unit_count(shard) or 0) - sum(unit.complete for unit in self.shards[shard].values())
            for shard in shards
        )

    def complete_units(self) -> set[tuple[str, int]]:
        return {
            (shard, index) for shard, units in self.shards.items() for index, unit in units.items() if unit.complete
        }

    def names(self, shard: str | None = None) -> Iterator[FileName]:
        """Yield the names of all files, or of one shard's files, in order."""
        for key in sorted(self.shards) if shard is None else [shard] if shard in self.shards else []:
            for _, unit in sorted(self.shards[key].items()):
                yield from unit.in_order()

    @property
    def rows(self) -> int:
        return sum(name.rows for name in self.names())


# Schemas. Files of codes and labels contain no times, hosts or users.


def codes_schema(bits: int) -> pa.Schema:
    """Return the schema of codes of `bits` bits."""
    return pa.schema(
        [
            pa.field("id", pa.string(), nullable=False),
            pa.field("position", pa.int64(), nullable=False),
            pa.field("code", pa.binary(bits // 8), nullable=False),
            pa.field("n_tokens", pa.int32(), nullable=False),
            pa.field("text_bytes", pa.int32(), nullable=False),
            pa.field("truncated", pa.bool_(), nullable=False),
        ]
    )


def part_schema(bits: int) -> pa.Schema:
    """Return the schema of a part: the codes of one block without ids and positions."""
    return pa.schema([codes_schema(bits).field(name) for name in ("code", "n_tokens", "truncated")])


def labels_schema(kind: str) -> pa.Schema:
    """Return the schema of labels of a head of kind "single", "multi" or "regression"."""
    columns = {
        "single": [
            pa.field("label", pa.dictionary(pa.int32(), pa.string())),  # null: abstained
            pa.field("score", pa.float32(), nullable=False),
        ],
        "multi": [
            pa.field("labels", pa.list_(pa.string()), nullable=False),
            pa.field("scores", pa.list_(pa.float32()), nullable=False),
        ],
        "regression": [pa.field("value", pa.float32(), nullable=False)],
    }[kind]
    return pa.schema(
        [
            pa.field("id", pa.string(), nullable=False),
            pa.field("position", pa.int64(), nullable=False),
            *columns,
            pa.field("in_domain", pa.float32()),
        ]
    )


def with_metadata(schema: pa.Schema, values: dict[str, Any]) -> pa.Schema:
    """Add metadata to a schema: one JSON object, with the format's version."""
    content = json.dumps({"format_version": FORMAT_VERSION, **values}, sort_keys=True)
    return schema.with_metadata({_METADATA_KEY: content})


def read_metadata(schema: pa.Schema) -> dict[str, Any]:
    """Return the metadata that `with_metadata` added to a schema.

    Raises:
        ValueError: there is none, or it is of another format.
    """
    raw = (schema.metadata or {}).get(_METADATA_KEY.encode())
    if raw is None:
        raise ValueError("the file carries no encode-once metadata")
    values = json.loads(raw)
    if values.get("format_version") != FORMAT_VERSION:
        raise ValueError(f"the file has format {values.get('format_version')}, this program reads {FORMAT_VERSION}")
    return values

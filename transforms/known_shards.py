"""Record the shards of every run, and recognise them later under another path or time.

Every run that finds shards under new paths or times writes them to `runs/<id>/shards.parquet`. A shard whose path, size and
time are known keeps its key. A shard of a known size under another path or time is read (not encoded) and compared with the
content hashes of the store's codes.
"""

from __future__ import annotations

import collections
import dataclasses
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa

from transforms.blocks import BlockLimits, UnitError
from transforms.filesystem import files
from transforms.options import ReadOptions
from transforms.read import ContentHash, read_unit
from transforms.store import Store
from transforms.tables import StoredTable, write_table
from transforms.unit import Shard, Unit

SHARDS_FILE = "shards.parquet"
SHARDS_SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("path", pa.string()),  # relative to the input root
        ("size_bytes", pa.int64()),
        ("version", pa.int64()),  # modification time in whole seconds, or a hash of the content
        ("reading", pa.string()),  # JSON of the options that decide what is read
        ("id_path", pa.string()),  # ids are made from it: the first path of the shard
        ("source", pa.string()),  # full path of the file
    ]
)
_THREADS = 4
_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class KnownShard:
    """One sighting of a shard; the attributes are those of `transforms.unit.Shard`."""

    key: str
    path: str
    size_bytes: int
    version: int
    reading: str
    id_path: str
    source: str

    @classmethod
    def of(cls, shard: Shard) -> KnownShard:
        return cls(
            key=shard.key,
            path=shard.relative_path,
            size_bytes=shard.size_bytes,
            version=shard.version,
            reading=shard.reading,
            id_path=shard.id_path,
            source=shard.path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace"),
        )

    @property
    def identity(self) -> tuple[str, int, int, str]:
        return self.path, self.size_bytes, self.version, self.reading


class KnownShards:
    """All sightings of a store's shards, the latest last."""

    def __init__(self, sightings: Iterable[KnownShard] = ()) -> None:
        self.latest: dict[str, KnownShard] = {}
        self._by_identity: dict[tuple[str, int, int, str], KnownShard] = {}
        self._by_size: dict[tuple[int, str], list[str]] = collections.defaultdict(list)
        for sighting in sightings:
            self._add(sighting)

    def _add(self, sighting: KnownShard) -> None:
        if sighting.key not in self.latest:
            self._by_size[sighting.size_bytes, sighting.reading].append(sighting.key)
        self.latest[sighting.key] = sighting
        self._by_identity[sighting.identity] = sighting

    @classmethod
    def read(cls, store: Store) -> KnownShards:
        """Read the sightings of all runs of a store."""
        known = cls()
        for run in sorted(files.list_folders(store.path("runs"))):
            try:
                table = StoredTable(files.read_bytes(store.path("runs", run, SHARDS_FILE))).read()
            except FileNotFoundError:
                continue
            for row in table.to_pylist():
                known._add(KnownShard(**row))
        return known

    def write_new(self, store: Store, shards: Sequence[Shard]) -> None:
        """Write new sightings of shards into the folder of the store's run."""
        new = [
            s for s in map(KnownShard.of, shards) if self._by_identity.get(s.identity) != s or self.latest[s.key] != s
        ]
        if new:
            table = pa.Table.from_pylist([dataclasses.asdict(sighting) for sighting in new], schema=SHARDS_SCHEMA)
            store.write_file(f"runs/{store.run_id}/{SHARDS_FILE}", write_table(table).to_pybytes())

    def recognise(
        self, shards: Sequence[Shard], is_same: Callable[[Shard, str], bool]
    ) -> tuple[list[Shard], list[tuple[str, str]]]:
        """Return shards, the known ones with their first key and path of ids.

        Args:
            shards: as matched, with keys of their own.
            is_same: whether a shard, moved or touched, is the one stored under a key; reads the shard.

        Returns:
            The shards, and (earlier path, path) of those that were recognised by their content.
        """
        found = [self._named(shard) for shard in shards]
        claimed: dict[str, Shard] = {}
        for shard in filter(None, found):
            # Two files of one content may have been known under one key in turn: the latest path has it.
            if shard.key not in claimed or shard.relative_path == self._path(shard.key):
                claimed[shard.key] = shard
        found = [shard if shard is not None and claimed[shard.key] is shard else None for shard in found]
        candidates = {}
        for shard, known in zip(shards, found):
            if known is None:
                keys = [key for key in self._by_size.get((shard.size_bytes, shard.reading), ()) if key not in claimed]
                if keys:
                    # The same path or name is the most likely, and is compared first.
                    path, name = shard.relative_path, _name(shard.relative_path)
                    keys.sort(key=lambda key: (self._path(key) != path, _name(self._path(key)) != name))
                    candidates[shard.path] = keys
        with ThreadPoolExecutor(_THREADS) as pool:
            doubtful = [shard for shard in shards if shard.path in candidates]
            same = pool.map(lambda s: [key for key in candidates[s.path] if is_same(s, key)], doubtful)
            keys_of = dict(zip((shard.path for shard in doubtful), same))
        recognised = []
        for index, shard in enumerate(shards):
            if found[index] is None:
                key = next((key for key in keys_of.get(shard.path, ()) if key not in claimed), None)
                if key is not None:
                    recognised.append((self._path(key), shard.relative_path))
                    found[index] = claimed[key] = self._as(shard, key)
        return [known or shard for shard, known in zip(shards, found)], recognised

    def _named(self, shard: Shard) -> Shard | None:
        """Return a shard as it is known by path, size, version and reading options; None if it is not."""
        known = self._by_identity.get((shard.relative_path, shard.size_bytes, shard.version, shard.reading))
        return None if known is None else self._as(shard, known.key)

    def _as(self, shard: Shard, key: str) -> Shard:
        return dataclasses.replace(shard, key=key, id_path=self.latest[key].id_path)

    def _path(self, key: str) -> str:
        return self.latest[key].path

    def earlier_versions(self, shards: Iterable[Shard]) -> dict[str, list[str]]:
        """Return by key of a shard the keys of its earlier versions: the same path and reading options, another content."""
        by_path: dict[tuple[str, str], list[str]] = collections.defaultdict(list)
        for key, known in self.latest.items():
            by_path[known.path, known.reading].append(key)
        current = {shard.key: shard for shard in shards}
        earlier = {
            key: [old for old in by_path[shard.relative_path, shard.reading] if old not in current]
            for key, shard in current.items()
        }
        return {key: keys for key, keys in earlier.items() if keys}

    def other_readings(self, shard: Shard) -> list[str]:
        """Return the keys under which the same file is known as read with other options."""
        return [
            key
            for key, known in self.latest.items()
            if (known.path, known.size_bytes, known.version) == (shard.relative_path, shard.size_bytes, shard.version)
            and known.reading != shard.reading
        ]


def _name(path: str) -> str:
    return path.rpartition("/")[2]


def has_content(
    shard: Shard,
    ranges: Sequence[tuple[int, int, int]],
    hashes: Mapping[int, str],
    options: ReadOptions,
    limits: BlockLimits,
) -> bool:
    """Return whether a shard has the content that the store has; read it unit by unit until a hash differs.

    Args:
        ranges: (start, stop, bytes) of the shard's units.
        hashes: content hash by unit, of units that are complete in the store.
    """
    for index, expected in sorted(hashes.items()):
        if index >= len(ranges):
            return False
        start, stop, _ = ranges[index]
        unit = Unit.of(shard, index, len(ranges), start, stop)
        content = ContentHash.of_unit(unit, options)
        try:
            for block in read_unit(unit, options, limits):
                content.add(block)
        except (UnitError, OSError):
            return False
        if content.hexdigest() != expected:
            return False
    return bool(hashes)

"""Check the blocks of one encoder in a store: codes, what was rejected with them, and all labels made of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import pyarrow as pa

from transforms.blocks import REJECT_SCHEMA, BlockLimits, ReadOptions, TextBlock, UnitError
from transforms.layout import BlockName, Listing, codes_schema, labels_schema, read_metadata, shard_path_key
from transforms.plan import Shard, Unit, cut_shard
from transforms.store import DamagedBlock, Store

_GOES_ON = "annotate goes on there, unless the shard has changed since (see status)"


@dataclasses.dataclass
class Found:
    """Hold what is wrong with a shard's blocks, what is merely unfinished, and how much was read."""

    problems: list[str] = dataclasses.field(default_factory=list)
    notes: list[str] = dataclasses.field(default_factory=list)
    blocks: int = 0
    documents: int = 0


class Damaged(Exception):
    """Say which block cannot be read, why, and where it is the block's own fault, what helps."""

    def __init__(self, folder: str, name: BlockName, error: Exception) -> None:
        program = "label" if folder.startswith("labels/") else "annotate"
        cure = f"delete it, and {program} makes it again"
        if folder.startswith("rejects/"):
            cure = f"delete it and the codes of {name.shard}, and annotate makes both again"
        helps = "" if isinstance(error, OSError) else f"; {cure}"  # what a file system fails at may pass
        why = str(error) if isinstance(error, DamagedBlock) else f"{type(error).__name__}: {error}"
        super().__init__(f"{folder}/{name} cannot be read ({why}){helps}")


class Checker:
    """Check the codes of one encoder, what was rejected with them, and all labels made of them."""

    def __init__(self, store: Store, encoder: str, listing: Listing, labels: list[tuple[str, Listing]]) -> None:
        self.store = store
        self.folder = f"codes/encoder={encoder}"
        self.rejects_folder = f"rejects/encoder={encoder}"
        self.encoder = encoder
        self.listing = listing
        self.labels = labels
        self.rejects = store.listing(self.rejects_folder)
        self._paths = {shard_path_key(key) for key in listing.shards}

    def check_shard(self, shard: str) -> Found:
        """Read all blocks of a shard, and the labels made of them."""
        found = Found()
        units = self.listing.shards[shard]
        expected = self.listing.unit_count(shard)
        if missing := [index for index in range(expected) if index not in units]:
            found.notes.append(f"{self.folder}/{shard}: units {missing} of {expected} are missing; {_GOES_ON}")
        if len(counts := {unit.units for unit in units.values()}) > 1:
            found.problems.append(f"{self.folder}/{shard}: blocks disagree on the number of units: {sorted(counts)}")
        for index, unit in sorted(units.items()):
            if unit.last is not None and max(unit.blocks) > unit.last:
                found.problems.append(f"{self.folder}/{shard} unit {index}: blocks after the last one, {unit.last}")
            if not unit.complete:
                found.notes.append(f"{self.folder}/{shard} unit {index} is incomplete; {_GOES_ON}")
            for block in sorted(unit.blocks):
                name = BlockName(shard, index, unit.units, block, block == unit.last)
                try:
                    self._check_block(name, found)
                except Damaged as damage:
                    found.problems.append(str(damage))
                except (OSError, ValueError, KeyError) as error:  # pyarrow's errors are among these
                    found.problems.append(str(Damaged(self.folder, name, error)))
        return found

    def _read(self, folder: str, name: BlockName) -> pa.Table:
        """Read a block, or raise Damaged."""
        try:
            return self.store.read_block(folder, name)
        except (OSError, ValueError) as error:
            raise Damaged(folder, name, error) from None

    def _check_block(self, name: BlockName, found: Found) -> None:
        table = self._read(self.folder, name)
        table.validate(full=True)
        meta = read_metadata(table.schema)
        where = f"{self.folder}/{name}"
        found.blocks += 1
        found.documents += table.num_rows
        if not table.schema.equals(codes_schema(meta["bits"])):
            found.problems.append(f"{where}: its schema is not that of codes of {meta['bits']} bits")
        if not meta["encoder"].startswith(self.encoder):
            found.problems.append(f"{where}: holds codes of encoder {meta['encoder'][:12]}")
        rejected = self._rejected(name, found)
        if rejected != meta["rows_rejected"] or meta["rows_read"] != table.num_rows + rejected:
            found.problems.append(
                f"{where}: {meta['rows_read']} rows were read but {table.num_rows} are coded and {rejected} rejected"
            )
        for folder, listing in self.labels:
            unit = listing.unit(name.shard, name.unit)
            if unit is None or name.block not in unit.blocks:
                continue
            found.blocks += 1
            found.problems += self._check_labels(folder, name, table["id"])

    def _rejected(self, name: BlockName, found: Found) -> int:
        unit = self.rejects.unit(name.shard, name.unit)
        if unit is None or name.block not in unit.blocks:
            return 0
        table = self._read(self.rejects_folder, dataclasses.replace(name, last=False))
        if not table.schema.equals(REJECT_SCHEMA):
            found.problems.append(f"{self.rejects_folder}/{name}: its schema is not that of rejects")
        return table.num_rows

    def _check_labels(self, folder: str, name: BlockName, ids: pa.ChunkedArray) -> Iterator[str]:
        where = f"{folder}/{name}"
        try:
            table = self.store.read_block(folder, name)
            table.validate(full=True)
            meta = read_metadata(table.schema)
        except (OSError, ValueError) as error:
            yield str(Damaged(folder, name, error))
            return
        task, head = (part.partition("=")[2] for part in folder.split("/")[1:])
        if not table.schema.equals(labels_schema(meta["kind"])):
            yield f"{where}: its schema is not that of labels of kind {meta['kind']}"
        if meta["task"] != task or not meta["head"].startswith(head):
            yield f"{where}: holds labels of task {meta['task']} by head {meta['head'][:12]}"
        if not meta["encoder"].startswith(self.encoder):
            yield f"{where}: was made from codes of encoder {meta['encoder'][:12]}"
        if not table["id"].equals(ids):
            yield f"{where}: its ids are not those of the codes"

    def labels_without_codes(self) -> Iterator[str]:
        """Name labels whose codes are not there, and files among labels that are no blocks."""
        for folder, listing in self.labels:
            yield from (f"{folder}/{stranger} is no block's name" for stranger in listing.strangers)
            for shard, units in listing.shards.items():
                for index, unit in units.items():
                    coded = self.listing.unit(shard, index)
                    if extra := unit.blocks - (coded.blocks if coded else set()):
                        yield f"{folder}/{shard} unit {index}: labels of blocks {sorted(extra)} that have no codes"

    def check_source(self, shard: Shard, reading: ReadOptions) -> list[str]:
        """Read a shard again and compare it, row for row, with what the store has of it."""
        return list(self._source_problems(shard, reading))

    def _source_problems(self, shard: Shard, reading: ReadOptions) -> Iterator[str]:
        from transforms.read import read_unit

        limits = BlockLimits(self.store.rules.block_rows, self.store.rules.block_text_bytes)
        try:
            ranges = cut_shard(shard, self.store.rules.unit_bytes)
            other = ""
            if shard.key not in self.listing.shards and shard_path_key(shard.key) in self._paths:
                other = " (the path is there, but the shard changed since, or was read with other options)"
            for index, (start, stop, _) in enumerate(ranges):
                if not self.listing.is_complete(shard.key, index):
                    yield f"{shard.path} unit {index} of {len(ranges)} is not in {self.folder}, or not all of it{other}"
                    continue
                unit = Unit.of(shard, index, len(ranges), start, stop)
                for block in read_unit(unit, reading, limits):
                    yield from self._compare(BlockName(shard.key, index, len(ranges), block.index, block.last), block)
        except (UnitError, OSError) as error:
            yield f"{shard.path} cannot be read again: {error}"

    def _compare(self, name: BlockName, block: TextBlock) -> Iterator[str]:
        if not self.store.has_block(self.folder, name):
            yield f"{self.folder}/{name} is missing: its shard holds {block.rows_read} rows for it"
            return
        try:
            yield from self._differences(name, block)
        except Damaged as damage:
            yield str(damage)

    def _differences(self, name: BlockName, block: TextBlock) -> Iterator[str]:
        table = self._read(self.folder, name)
        if not table["id"].equals(block.table["id"]):
            yield f"{self.folder}/{name}: its ids are not those of the rows of its shard"
        if (stored := read_metadata(table.schema)["rows_read"]) != block.rows_read:
            yield f"{self.folder}/{name}: {stored} rows were read then, {block.rows_read} are there now"
        if block.rejects.num_rows:
            rejects = self._read(self.rejects_folder, dataclasses.replace(name, last=False))
            if not rejects.equals(block.rejects):
                yield f"{self.rejects_folder}/{name}: these are not the rows of the shard that are rejected"

"""Check the files of one encoder in a store: codes, rejects, and all labels made from the codes."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import pyarrow as pa

from transforms.blocks import REJECT_SCHEMA, TextBlock, UnitError
from transforms.codes_file import CONTENT_HASH
from transforms.known_shards import KnownShards
from transforms.layout import FileName, Listing, UnitFiles, codes_schema, labels_schema, read_metadata
from transforms.options import ReadOptions
from transforms.plan import cut_shard
from transforms.read import ContentHash, block_limits, read_unit
from transforms.store import Store
from transforms.tables import DamagedFileError, StoredTable
from transforms.unit import Shard, Unit

_RESUMABLE = "annotate completes it, unless the shard has changed since (see status)"


@dataclasses.dataclass
class Findings:
    """Problems of a shard's files, notes about unfinished units, and how much was read."""

    problems: list[str] = dataclasses.field(default_factory=list)
    notes: list[str] = dataclasses.field(default_factory=list)
    files: int = 0
    documents: int = 0


class UnreadableError(Exception):
    """A file cannot be read. The message names the file and the reason, and the remedy if the file is damaged."""

    def __init__(self, folder: str, name: FileName, error: Exception) -> None:
        program = "label" if folder.startswith("labels/") else "annotate"
        cure = f"delete it; {program} recreates it"
        if folder.startswith("rejects/"):
            cure = f"delete it and the codes of {name.shard}; annotate recreates both"
        helps = "" if isinstance(error, OSError) else f"; {cure}"  # the errors of a file system may pass
        why = str(error) if isinstance(error, DamagedFileError) else f"{type(error).__name__}: {error}"
        super().__init__(f"{folder}/{name} cannot be read ({why}){helps}")


class Checker:
    """Checks the codes of one encoder, their rejects, and all labels made from the codes."""

    def __init__(self, store: Store, folder: str, listing: Listing, labels: list[tuple[str, Listing]]) -> None:
        """Check the codes in `folder`; `labels` are the folders of labels made from them."""
        self.store = store
        self.folder = folder
        self.rejects_folder = folder.replace("codes/", "rejects/", 1)
        self.encoder = folder.partition("=e")[2]
        self.listing = listing
        self.labels = labels
        self.rejects = store.listing(self.rejects_folder)

    def check_shard(self, shard: str) -> Findings:
        """Read all files of a shard, and the labels made from them."""
        found = Findings()
        units = self.listing.shards[shard]
        expected = self.listing.unit_count(shard) or 0
        if missing := [index for index in range(expected) if index not in units]:
            found.notes.append(f"{self.folder}/{shard}: units {missing} of {expected} are missing; {_RESUMABLE}")
        if len(counts := {unit.units for unit in units.values()}) > 1:
            found.problems.append(f"{self.folder}/{shard}: files disagree on the number of units: {sorted(counts)}")
        for index, unit in sorted(units.items()):
            names = unit.in_order()
            if any(name.last for name in names[:-1]):
                found.problems.append(f"{self.folder}/{shard} unit {index}: there are files after the last one")
            if not unit.complete:
                found.notes.append(f"{self.folder}/{shard} unit {index} is incomplete; {_RESUMABLE}")
            for name in names:
                try:
                    self._check_file(name, found)
                except UnreadableError as error:
                    found.problems.append(str(error))
                except (OSError, ValueError, KeyError) as error:  # pyarrow's errors are among these
                    found.problems.append(str(UnreadableError(self.folder, name, error)))
        return found

    def _open(self, folder: str, name: FileName) -> StoredTable:
        try:
            return self.store.open(folder, name)
        except (OSError, ValueError) as error:
            raise UnreadableError(folder, name, error) from None

    def _check_file(self, name: FileName, found: Findings) -> None:
        file = self._open(self.folder, name)
        table = file.read()
        table.validate(full=True)
        meta = read_metadata(table.schema)
        where = f"{self.folder}/{name}"
        found.files += 1
        found.documents += table.num_rows
        if not table.schema.equals(codes_schema(meta["bits"])):
            found.problems.append(f"{where}: its schema is not that of codes of {meta['bits']} bits")
        if not meta["encoder"].startswith(self.encoder):
            found.problems.append(f"{where}: holds codes of encoder {meta['encoder'][:12]}")
        if CONTENT_HASH not in file.footer:
            found.problems.append(f"{where}: its footer has no content hash")
        if table.num_rows != name.rows:
            found.problems.append(f"{where}: its name says {name.rows} rows, but it has {table.num_rows}")
        if (rejected := self._rejected(name, found)) != name.rejects:
            found.problems.append(
                f"{where}: its name says {name.rejects} rows were rejected, but rejects has {rejected}"
            )
        for folder, listing in self.labels:
            unit = listing.unit(name.shard, name.unit)
            if unit is not None and name.index in unit.files:
                found.files += 1
                found.problems += self._check_labels(folder, unit.files[name.index], name, table)

    def _rejected(self, name: FileName, found: Findings) -> int:
        unit = self.rejects.unit(name.shard, name.unit)
        if unit is None or name.index not in unit.files:
            return 0
        table = self._open(self.rejects_folder, unit.files[name.index]).read()
        if not table.schema.equals(REJECT_SCHEMA):
            found.problems.append(f"{self.rejects_folder}/{name}: its schema is not that of rejects")
        return table.num_rows

    def _check_labels(self, folder: str, name: FileName, codes_name: FileName, codes: pa.Table) -> Iterator[str]:
        where = f"{folder}/{name}"
        if name != codes_name:
            yield f"{where}: the file of its codes is {codes_name}"
        try:
            table = self.store.read(folder, name)
            table.validate(full=True)
            meta = read_metadata(table.schema)
        except (OSError, ValueError) as error:
            yield str(UnreadableError(folder, name, error))
            return
        task, head = (part.partition("=")[2] for part in folder.split("/")[1:])
        if not table.schema.equals(labels_schema(meta["kind"])):
            yield f"{where}: its schema is not that of labels of kind {meta['kind']}"
        if meta["task"] != task or not f"h{meta['head']}".startswith(head):
            yield f"{where}: holds labels of task {meta['task']} by head {meta['head'][:12]}"
        if not meta["encoder"].startswith(self.encoder):
            yield f"{where}: was made from codes of encoder {meta['encoder'][:12]}"
        if not table["id"].equals(codes["id"]) or not table["position"].equals(codes["position"]):
            yield f"{where}: its ids and positions are not those of the codes"

    def labels_without_codes(self) -> Iterator[str]:
        """Yield problems: labels whose codes are missing, and files whose names are not those of labels."""
        for folder, listing in self.labels:
            yield from (f"{folder}/{name} is not the name of a file of labels" for name in listing.unrecognised)
            for shard, units in listing.shards.items():
                for index, unit in units.items():
                    coded = self.listing.unit(shard, index) or UnitFiles(unit.units)
                    if extra := sorted(unit.files.keys() - coded.files.keys()):
                        yield f"{folder}/{shard} unit {index}: the files {extra} of labels have no codes"

    def check_source(self, shard: Shard, reading: ReadOptions, known: KnownShards) -> list[str]:
        """Read a shard again and compare it, row by row, with its files in the store."""
        return list(self._source_problems(shard, reading, known))

    def _source_problems(self, shard: Shard, reading: ReadOptions, known: KnownShards) -> Iterator[str]:
        limits = block_limits(self.store.rules)
        try:
            ranges = cut_shard(shard, self.store.rules.unit_bytes)
            other = ""
            if shard.key not in self.listing.shards and any(
                sighting.path == shard.relative_path for sighting in known.latest.values()
            ):
                other = " (the store knows the path, but the shard has changed, or was read with other options)"
            for index, (start, stop, _) in enumerate(ranges):
                files = self.listing.unit(shard.key, index)
                if files is None and self.store.limit is not None:
                    continue  # beyond the limit of a trial
                if files is None or not files.complete:
                    yield f"{shard.path} unit {index} of {len(ranges)} is missing or incomplete in {self.folder}{other}"
                    continue
                rows_there = None if self.store.limit is None else files.rows + files.rejects
                unit = Unit.of(shard, index, len(ranges), start, stop, rows=rows_there)
                content = ContentHash.of_unit(unit, reading)
                blocks: list[TextBlock] = []
                rows = 0
                names = iter(files.in_order())
                name = next(names, None)
                for block in read_unit(unit, reading, limits):
                    content.add(block)
                    blocks.append(block)
                    rows += block.rows_read
                    if name is not None and (rows >= name.rows_read or block.last):
                        yield from self._compare(name, blocks, content.hexdigest())
                        blocks, rows, name = [], 0, next(names, None)
                if blocks:
                    yield f"{self.folder}/{shard.key} unit {index}: its shard has {rows} more rows"
        except (UnitError, OSError) as error:
            yield f"{shard.path} cannot be read again: {error}"

    def _compare(self, name: FileName, blocks: list[TextBlock], content_hash: str) -> Iterator[str]:
        where = f"{self.folder}/{name}"
        rows = sum(block.rows_read for block in blocks)
        if rows != name.rows_read:
            yield f"{where}: its name says that {name.rows_read} rows were read, the shard has {rows} now"
        try:
            file = self._open(self.folder, name)
            if not file.read()["id"].equals(pa.concat_tables([block.table for block in blocks])["id"]):
                yield f"{where}: its ids are not those of the rows of its shard"
            elif file.footer.get(CONTENT_HASH) != content_hash:
                yield f"{where}: its content hash is not that of the rows of its shard"
            rejects = pa.concat_tables([block.rejects for block in blocks])
            if rejects.num_rows and not self._open(self.rejects_folder, name).read().equals(rejects):
                yield f"{self.rejects_folder}/{name}: these are not the rejected rows of the shard"
        except UnreadableError as error:
            yield str(error)

"""Read a store again, all of it, and prove that it is whole.

    encode-once verify --store my-store [--input 'corpus/*' --text_field body]

With --input, the shards are read again too, and every row of them must be accounted for. Exit code 1 and a list where
something is not as it must be.
"""

from __future__ import annotations

import dataclasses
import functools
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa

from pipelines.beam_options import check_options, prepare_files
from pipelines.cli import main_of
from pipelines.options import FORMATS, Parser
from pipelines.planning import find_encoder, reading_options
from transforms import files
from transforms.blocks import REJECT_SCHEMA, BlockLimits, ReadOptions, TextBlock, UnitError
from transforms.layout import BlockName, Listing, codes_schema, labels_schema, read_metadata
from transforms.store import Store, open_store, said_in_one_line
from transforms.units import Shard, Unit, cut_shard, match_shards

_THREADS = 4
_GOES_ON = "annotate goes on there, unless the shard has changed since (see status)"


@dataclasses.dataclass(frozen=True)
class Verification:
    """Say what verify found: what it read, what is wrong, and what is merely unfinished."""

    blocks: int
    documents: int
    problems: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def exit_code(self) -> int:
        return 1 if self.problems else 0


def run(argv: Sequence[str]) -> Verification:
    """Verify a store, print what is wrong, return it."""
    parser = Parser("encode-once verify", "Read a store again and prove that it is whole; exit code 1 where it is not.")
    parser.add_argument("--store", required=True, metavar="DIR", help="the store")
    parser.add_argument(
        "--input", nargs="+", metavar="PATTERN", help="read these shards again too and account for every row"
    )
    parser.add_argument("--format", choices=FORMATS, default="auto", help="as annotate was given it")
    parser.add_argument("--text_field", default="text", metavar="F", help="as annotate was given it")
    parser.add_argument("--id_field", metavar="F", help="as annotate was given it")
    parser.add_argument("--max_text_bytes", type=int, default=1 << 20, metavar="N", help="as annotate was given it")
    parser.add_argument("--input_root", metavar="DIR", help="as annotate was given it; default: as the store was made")
    parser.add_argument(
        "--encoder", metavar="E", help="compare the shards with this encoder's codes; default: every one's"
    )
    options, beam_args = parser.parse_known_args(list(argv))
    reading = reading_options(options)
    check_options(beam_args, parser)
    prepare_files([options.store, *(options.input or ()), options.input_root or ""], beam_args)
    store = open_store(options.store, options.input_root)
    encoder = find_encoder(options.encoder, store.root).fingerprint[:12] if options.encoder else None
    with said_in_one_line(store.root):
        result = verify(store, tuple(options.input or ()), reading, encoder)
    for note in result.notes:
        print(f"note: {note}")
    for problem in result.problems:
        print(f"PROBLEM: {problem}")
    verdict = f"{len(result.problems):,} problems" if result.problems else "whole"
    print(f"read {result.blocks:,} blocks of {result.documents:,} rows: {verdict}")
    return result


def verify(
    store: Store, patterns: tuple[str, ...] = (), reading: ReadOptions | None = None, encoder: str | None = None
) -> Verification:
    """Check a store, and the codes of one encoder (None: of each) against the shards of `patterns` where there are any."""
    only = encoder
    problems, notes = list(_leftovers(store)), []
    blocks = documents = 0
    labels_of = _labels_by_encoder(store, problems)
    encoders = [name.partition("=")[2] for name in files.list_folders(store.path("codes"))]
    if only and only not in encoders:
        known = ", ".join(encoders) or "none"
        problems.append(f"the store holds no codes of encoder {only}; it holds codes of: {known}")
    elif patterns and not encoders:
        problems.append("the store holds no codes at all")
    for encoder in encoders:
        name = f"encoder={encoder}"
        listing = store.listing(f"codes/{name}")
        problems += [f"codes/{name}/{stranger} is no block's name" for stranger in listing.strangers]
        checker = _Checker(store, encoder, listing, labels_of.pop(encoder, []))
        with ThreadPoolExecutor(_THREADS) as pool:
            for found in pool.map(checker.check_shard, sorted(listing.shards)):
                problems += found.problems
                notes += found.notes
                blocks += found.blocks
                documents += found.documents
        problems += checker.labels_without_codes()
        problems += [
            f"{checker.rejects_folder}/{stranger} is no block's name" for stranger in checker.rejects.strangers
        ]
        if patterns and only in (None, encoder):
            shards = match_shards(patterns, store.input_root, reading or ReadOptions(), store.root)
            with ThreadPoolExecutor(_THREADS) as pool:
                for found in pool.map(functools.partial(checker.check_source, reading=reading), shards):
                    problems += found
    for folders in labels_of.values():
        problems += [f"{folder} holds labels of codes that are not in the store" for folder, _ in folders]
    return Verification(blocks, documents, tuple(dict.fromkeys(problems)), tuple(notes))


@dataclasses.dataclass
class _Found:
    problems: list[str] = dataclasses.field(default_factory=list)
    notes: list[str] = dataclasses.field(default_factory=list)
    blocks: int = 0
    documents: int = 0


class _Damaged(Exception):
    """Say which block cannot be read, why, and what helps."""

    def __init__(self, folder: str, name: BlockName, error: Exception) -> None:
        program = "label" if folder.startswith("labels/") else "annotate"
        cure = f"delete it, and {program} makes it again"
        if folder.startswith("rejects/"):
            cure = f"delete it and the codes of {name.shard}, and annotate makes both again"
        super().__init__(f"{folder}/{name} cannot be read ({type(error).__name__}: {error}); {cure}")


class _Checker:
    """Check the codes of one encoder, what was rejected with them, and all labels made of them."""

    def __init__(self, store: Store, encoder: str, listing: Listing, labels: list[tuple[str, Listing]]) -> None:
        self.store = store
        self.folder = f"codes/encoder={encoder}"
        self.rejects_folder = f"rejects/encoder={encoder}"
        self.encoder = encoder
        self.listing = listing
        self.labels = labels
        self.rejects = store.listing(self.rejects_folder)

    def check_shard(self, shard: str) -> _Found:
        found = _Found()
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
                except _Damaged as damage:
                    found.problems.append(str(damage))
                except (OSError, ValueError, KeyError) as error:  # pyarrow's errors are among these
                    found.problems.append(str(_Damaged(self.folder, name, error)))
        return found

    def _read(self, folder: str, name: BlockName) -> pa.Table:
        """Read a block, or raise _Damaged."""
        try:
            return self.store.read_block(folder, name)
        except (OSError, ValueError) as error:
            raise _Damaged(folder, name, error) from None

    def _check_block(self, name: BlockName, found: _Found) -> None:
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

    def _rejected(self, name: BlockName, found: _Found) -> int:
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
            yield str(_Damaged(folder, name, error))
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
            for index, (start, stop, _) in enumerate(ranges):
                if not self.listing.is_complete(shard.key, index):
                    yield f"{shard.path} unit {index} of {len(ranges)} is not in {self.folder}, or not all of it"
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
        except _Damaged as damage:
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


def _labels_by_encoder(store: Store, problems: list[str]) -> dict[str, list[tuple[str, Listing]]]:
    found: dict[str, list[tuple[str, Listing]]] = {}
    for task in files.list_folders(store.path("labels")):
        for head in files.list_folders(store.path("labels", task)):
            folder = f"labels/{task}/{head}"
            listing = store.listing(folder)
            if not listing.shards:
                problems += [f"{folder}/{stranger} is no block's name" for stranger in listing.strangers]
            for shard, units in listing.shards.items():
                index, unit = next(iter(units.items()))
                block = next(iter(unit.blocks))
                name = BlockName(shard, index, unit.units, block, block == unit.last)
                try:
                    encoder = read_metadata(store.read_schema(folder, name)[0])["encoder"][:12]
                except (OSError, ValueError, KeyError) as error:
                    problems.append(str(_Damaged(folder, name, error)))
                    continue
                found.setdefault(encoder, []).append((folder, listing))
                break
    return found


def _leftovers(store: Store) -> Iterator[str]:
    """Name temporary files that belong to no run that lives."""
    from pipelines.runs import is_alive

    for name in files.list_names(store.path("runs")):
        yield f"runs/{name} is a leftover"
    for run_id in files.list_folders(store.path("runs")):
        temporary = store.path("runs", run_id, "tmp")
        names = files.list_names(temporary)
        if names and not is_alive(store, run_id):
            yield f"runs/{run_id}/tmp holds {len(names)} temporary files of a run that died; the next run removes them"
    for folder in ("codes", "labels", "rejects"):
        yield from (f"{folder}/{name} does not belong there" for name in files.list_names(store.path(folder)))


if __name__ == "__main__":
    sys.exit(main_of(run))

"""Say what a store holds, what is incomplete and what is stale.

encode-once status --store my-store
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa

from pipelines.beam_options import check_options, prepare_files
from pipelines.cli import main_of
from pipelines.options import parse_status, status_parser
from transforms.filesystem import files
from transforms.layout import BlockName, Listing, read_metadata
from transforms.store import Store, open_store, said_in_one_line

_FOOTER_THREADS = 8


@dataclasses.dataclass(frozen=True)
class FolderStatus:
    """Count what one folder of blocks holds: codes of an encoder, or labels of a head.

    Attributes:
        folder: its path in the store.
        shards, units, blocks, documents: what is there.
        incomplete: units some of whose blocks are missing, but those of stale shards.
        damaged: blocks that cannot be read.
        missing: units of the encoder's codes without all of these labels (labels only).
        stale: (path, why, key) of shards that changed or are gone since (codes only). Their rows are still there.
        twice: (path, keys) of shards that were read by several sets of options: their rows are there as often (codes only).
    """

    folder: str
    shards: int
    units: int
    blocks: int
    documents: int
    incomplete: int
    damaged: int = 0
    missing: int = 0
    stale: tuple[tuple[str, str, str], ...] = ()
    twice: tuple[tuple[str, tuple[str, ...]], ...] = ()


def run(argv: Sequence[str]) -> list[FolderStatus]:
    """Print a store's status and return it."""
    options = parse_status(argv)
    check_options(options.beam_args, status_parser())
    prepare_files([options.store, options.input_root or ""], options.beam_args)
    store = open_store(options.store, options.input_root)
    prepare_files([store.input_root or "several://"], options.beam_args)  # no root: the shards have none in common
    with said_in_one_line(store.root):
        found = store_status(store)
    if options.json:
        print(json.dumps([dataclasses.asdict(status) for status in found], indent=2, ensure_ascii=False))
        return found
    print(f"store {store.root}, shards below {store.input_root or '/'}")
    if not found:
        print("  empty: no codes, no labels")
    for status in found:
        print(
            f"{status.folder}\n  {status.shards:,} shards, {status.units:,} units, {status.blocks:,} blocks, "
            f"{status.documents:,} documents"
        )
        if status.incomplete:
            print(f"  INCOMPLETE: {status.incomplete:,} units; the same annotate command goes on with them")
        if status.damaged:
            print(f"  DAMAGED: {status.damaged:,} blocks cannot be read; verify names them")
        if status.missing:
            print(f"  MISSING: {status.missing:,} coded units without these labels; label makes them")
        for path, why, key in status.stale:
            print(f"  STALE: {path} {why}; its rows are still in the store, in all files {key}.*")
        for path, keys in status.twice:
            print(
                f"  TWICE: {path} was read with different options (--text_field, --id_field, --format, --max_text_bytes); "
                f"its rows are in the store {len(keys)} times, in all files {' and '.join(f'{key}.*' for key in keys)}"
            )
    return found


def store_status(store: Store) -> list[FolderStatus]:
    """Count every folder of codes and labels of a store, codes first."""
    found, complete_units = [], {}
    for name in files.list_folders(store.path("codes")):
        folder = f"codes/{name}"
        listing = store.listing(folder)
        complete_units[name.partition("=")[2]] = _complete(listing)
        shards = _shards(store, folder, listing)
        stale = tuple(sorted((shard["path"], why, key) for key, shard, why in shards if why))
        stale_keys = {key for _, _, key in stale}
        found.append(_folder_status(store, folder, listing, stale_keys, stale=stale, twice=_twice(shards)))
    for task in files.list_folders(store.path("labels")):
        for head in files.list_folders(store.path("labels", task)):
            folder = f"labels/{task}/{head}"
            listing = store.listing(folder)
            encoder = _encoder_of(store, folder, listing)
            missing = complete_units.get(encoder, set()) - _complete(listing)
            stale_keys = {key for status in found for _, _, key in status.stale}
            found.append(_folder_status(store, folder, listing, stale_keys, missing=len(missing)))
    return found


def block_names(listing: Listing) -> list[BlockName]:
    """Return the names of all blocks of a listing, in order."""
    return sorted(
        BlockName(shard, index, unit.units, block, block == unit.last)
        for shard, units in listing.shards.items()
        for index, unit in units.items()
        for block in unit.blocks
    )


def _folder_status(store: Store, folder: str, listing: Listing, stale_keys: set[str], **more) -> FolderStatus:
    names = block_names(listing)
    with ThreadPoolExecutor(_FOOTER_THREADS) as pool:
        footers = list(pool.map(lambda name: _footer(store, folder, name), names))
    rows = [footer[1] for footer in footers if footer]
    units = sum(map(len, listing.shards.values()))
    damaged = len(footers) - len(rows)
    shards, incomplete = len(listing.shards), listing.incomplete_units(listing.shards.keys() - stale_keys)
    return FolderStatus(folder, shards, units, len(names), sum(rows), incomplete, damaged, **more)


def _footer(store: Store, folder: str, name: BlockName) -> tuple[pa.Schema, int] | None:
    """Read a block's schema and rows; None where it is damaged."""
    try:
        return store.read_schema(folder, name)
    except (OSError, ValueError):  # pyarrow's errors are among these
        return None


def _complete(listing: Listing) -> set[tuple[str, int]]:
    return {(shard, index) for shard, units in listing.shards.items() for index, unit in units.items() if unit.complete}


def _shards(store: Store, folder: str, listing: Listing) -> list[tuple[str, dict, str | None]]:
    """Return (key, what its blocks say of the shard, why it is stale or None) of all shards whose first block can be read."""
    names = [listing.first_block(shard) for shard in sorted(listing.shards)]
    with ThreadPoolExecutor(_FOOTER_THREADS) as pool:
        footers = pool.map(lambda name: _footer(store, folder, name), names)
        shards = [(name.shard, read_metadata(footer[0])["shard"]) for name, footer in zip(names, footers) if footer]
        whys = pool.map(lambda shard: _why_stale(store, shard[1]), shards)
        return [(key, shard, why) for (key, shard), why in zip(shards, whys)]


def _twice(shards: list[tuple[str, dict, str | None]]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Group the keys of shards that have not changed: one path has two where it was read with other options."""
    keys_of: dict[str, list[str]] = {}
    for key, shard, why in shards:
        if why is None:
            keys_of.setdefault(shard["path"], []).append(key)
    return tuple(sorted((path, tuple(sorted(keys))) for path, keys in keys_of.items() if len(keys) > 1))


def _why_stale(store: Store, shard: dict) -> str | None:
    path = shard["path"]
    if files.is_local(path) and not os.path.isabs(path):
        path = files.join(store.input_root, path)
    if not files.exists(path):
        # A name that is no UTF-8 stands in the store with its bytes escaped; the file system wants the bytes.
        path = re.sub(r"\\x([89a-f][0-9a-f])", lambda byte: chr(0xDC00 + int(byte[1], 16)), path)
        if not files.is_local(path) or not files.exists(path):
            return "is gone"
    now = files.stat(path)
    return "has changed" if (now.size_bytes, now.stamp) != (shard["size_bytes"], shard["stamp"]) else None


def _encoder_of(store: Store, folder: str, listing: Listing) -> str | None:
    footers = (_footer(store, folder, listing.first_block(shard)) for shard in sorted(listing.shards))
    return next((read_metadata(footer[0])["encoder"][:12] for footer in footers if footer), None)


if __name__ == "__main__":
    sys.exit(main_of(run))

"""Say what a store holds, what is incomplete and what is stale.

encode-once status --store my-store
"""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import re
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from pipelines.beam_options import check_options, prepare_files
from pipelines.cli import main_of
from pipelines.options import parse_status, status_parser
from transforms.filesystem import files
from transforms.known_shards import KnownShard, KnownShards
from transforms.layout import Listing, codes_folder, labels_folder
from transforms.models import current_head, describe_stored_heads, stored_encoders
from transforms.store import Store, open_store, store_errors

_STAT_THREADS = 8


@dataclasses.dataclass(frozen=True)
class FolderStatus:
    """What one folder of files holds: codes of an encoder, or labels of a head. Told by names alone.

    Attributes:
        folder: its path in the store.
        shards, units, files, documents: what is there.
        rejected: rows that were rejected.
        incomplete: units some of whose files are missing, except those of stale shards.
        missing: units of the encoder's codes without all of these labels (labels only).
        current: whether the head is the current one of its task (labels only).
        stale: (path, why, key) of shards that changed or are gone since (codes only). Their rows are still there.
        twice: (path, keys) of shards that were read with several sets of options: their rows are there as often (codes
            only).
    """

    folder: str
    shards: int
    units: int
    files: int
    documents: int
    rejected: int
    incomplete: int
    missing: int = 0
    current: bool = True
    stale: tuple[tuple[str, str, str], ...] = ()
    twice: tuple[tuple[str, tuple[str, ...]], ...] = ()


def run(argv: Sequence[str]) -> list[FolderStatus]:
    """Print a store's status and return it."""
    options = parse_status(argv)
    check_options(options.beam_args, status_parser())
    prepare_files([options.store, options.input_root or ""], options.beam_args)
    store = open_store(options.store, options.input_root)
    prepare_files([store.input_root or "several://"], options.beam_args)  # no root: the shards have none in common
    with store_errors(store.root):
        found = store_status(store)
    if options.json:
        print(json.dumps([dataclasses.asdict(status) for status in found], indent=2, ensure_ascii=False))
        return found
    print(f"store {store.root}, shards below {store.input_root or '/'}")
    if not found:
        print("  empty: no codes, no labels")
    for status in found:
        print(
            f"{status.folder}\n  {status.shards:,} shards, {status.units:,} units, {status.files:,} files, "
            f"{status.documents:,} documents, {status.rejected:,} rejected"
        )
        if status.incomplete:
            print(f"  INCOMPLETE: {status.incomplete:,} units; the same annotate command completes them")
        if status.missing:
            print(f"  MISSING: {status.missing:,} coded units without these labels; label makes them")
        if not status.current:
            print("  NOT CURRENT: another head of this task is the current one; prune removes these labels")
        for path, why, key in status.stale:
            print(f"  STALE: {path} {why}; its rows are still in the store, in all files {key}.*")
        for path, keys in status.twice:
            print(
                f"  TWICE: {path} was read with different options (--text_field, --id_field, --format, --max_text_bytes); "
                f"its rows are in the store {len(keys)} times, in all files {' and '.join(f'{key}.*' for key in keys)}"
            )
    return found


def store_status(store: Store) -> list[FolderStatus]:
    """Count every folder of codes and labels of a store, codes first; opens no file of theirs."""
    known = KnownShards.read(store)
    found, complete_units = [], {}
    for encoder in stored_encoders(store.root):
        folder = codes_folder(encoder)
        listing = store.listing(folder)
        complete_units[encoder] = listing.complete_units()
        shards = [sighting for key, sighting in sorted(known.latest.items()) if key in listing.shards]
        with ThreadPoolExecutor(_STAT_THREADS) as pool:
            whys = list(pool.map(functools.partial(_why_stale, store), shards))
        stale = tuple(sorted((shard.path, why, shard.key) for shard, why in zip(shards, whys) if why))
        fresh = [shard for shard, why in zip(shards, whys) if not why]
        status = _folder_status(folder, listing, stale)
        found.append(dataclasses.replace(status, stale=stale, twice=_twice(fresh)))
    stale = tuple(entry for status in found for entry in status.stale)
    for head in describe_stored_heads(store):
        folder = labels_folder(head["task"], head["fingerprint"])
        listing = store.listing(folder)
        if not listing.shards:
            continue
        encoder = head["encoder_fingerprint"][:12]
        missing = len(complete_units.get(encoder, set()) - listing.complete_units())
        current = (current_head(store, head["task"]) or {}).get("head", head["fingerprint"])
        status = _folder_status(folder, listing, stale)
        found.append(dataclasses.replace(status, missing=missing, current=current == head["fingerprint"]))
    return found


def _folder_status(folder: str, listing: Listing, stale: Sequence[tuple[str, str, str]]) -> FolderStatus:
    names = list(listing.names())
    keys = listing.shards.keys() - {key for _, _, key in stale}
    return FolderStatus(
        folder=folder,
        shards=len(listing.shards),
        units=sum(map(len, listing.shards.values())),
        files=len(names),
        documents=sum(name.rows for name in names),
        rejected=sum(name.rejects for name in names),
        incomplete=listing.incomplete_units(keys),
    )


def _twice(shards: Sequence[KnownShard]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Group the keys of shards that have not changed: one path has two where it was read with other options."""
    keys_of: dict[str, list[str]] = {}
    for shard in shards:
        keys_of.setdefault(shard.path, []).append(shard.key)
    return tuple(sorted((path, tuple(sorted(keys))) for path, keys in keys_of.items() if len(keys) > 1))


def _why_stale(store: Store, shard: KnownShard) -> str | None:
    """Say why a shard is stale; None if its file is there as it was."""
    path = shard.path
    if files.is_local(path) and not os.path.isabs(path):
        path = files.join(store.input_root, path)
    if not files.exists(path):
        # A name that is not UTF-8 stands in the store with its bytes escaped; the file system wants the bytes.
        path = re.sub(r"\\x([89a-f][0-9a-f])", lambda byte: chr(0xDC00 + int(byte[1], 16)), path)
        if not files.is_local(path) or not files.exists(path):
            return "is gone"
    now = files.stat(path)
    return "has changed" if (now.size_bytes, now.version) != (shard.size_bytes, shard.version) else None


if __name__ == "__main__":
    sys.exit(main_of(run))

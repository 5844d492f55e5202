"""Print what a store holds, what is incomplete and what is stale.

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

from pipelines.command_line.cli import main_of
from pipelines.command_line.options import parse_status, status_parser
from pipelines.running.beam_options import check_options, prepare_files
from transforms.filesystem import files
from transforms.known_shards import KnownShard, KnownShards
from transforms.layout import Listing, codes_folder, labels_folder
from transforms.models import current_head, describe_stored_heads, stored_encoders
from transforms.store import Store, open_store, store_errors

_STAT_THREADS = 8


@dataclasses.dataclass(frozen=True)
class FolderStatus:
    """What one folder of files holds: codes of an encoder, or labels of a head; from a listing of its names.

    Attributes:
        folder: its path in the store.
        shards, units, files, documents: numbers of them in the folder.
        rejected: rows that were rejected.
        incomplete: units some of whose files are missing, except those of stale shards.
        uncoded: paths of shards that a run saw, that have not changed since, and of which no encoder has codes (codes only).
        missing: units of the encoder's codes without all of these labels (labels only).
        without_codes: shards that have these labels but no codes (labels only).
        current: whether the head is the current one of its task (labels only).
        stale: (path, why, key) of shards that changed or are gone since (codes only). Their rows are still in the store.
        twice: (path, keys) of shards that were read with several sets of options: their rows are in the store once per key
            (codes only).
    """

    folder: str
    shards: int
    units: int
    files: int
    documents: int
    rejected: int
    incomplete: int
    uncoded: tuple[str, ...] = ()
    missing: int = 0
    without_codes: int = 0
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
    if store.limit is not None:
        print(f"  a trial: the first {store.limit:,} rows of its input")
    if not found:
        print("  empty: no codes, no labels")
    for status in found:
        print(
            f"{status.folder}\n  {status.shards:,} shards, {status.units:,} units, {status.files:,} files, "
            f"{status.documents:,} documents, {status.rejected:,} rejected"
        )
        if status.incomplete and store.limit is None:  # a trial ends within a shard
            print(f"  INCOMPLETE: {status.incomplete:,} units; the same annotate command completes them")
        if status.uncoded:
            print(
                f"  INCOMPLETE: {len(status.uncoded):,} shards have no codes; the first is {status.uncoded[0]}; "
                "the same annotate command encodes them"
            )
        if status.missing:
            print(f"  MISSING: {status.missing:,} coded units without these labels; label makes them")
        if status.without_codes:
            print(
                f"  WITHOUT CODES: {status.without_codes:,} shards have labels but no codes; "
                "the same annotate command encodes them"
            )
        if not status.current:
            print("  NOT CURRENT: another head of this task is current; prune removes these labels")
        for path, why, key in status.stale:
            print(f"  STALE: {path} {why}; its rows are still in the store, in all files {key}.*")
        for path, keys in status.twice:
            print(
                f"  TWICE: {path} was read with different options (--text_field, --id_field, --format, --max_text_bytes); "
                f"its rows are in the store {len(keys)} times, in all files {' and '.join(f'{key}.*' for key in keys)}"
            )
    return found


def store_status(store: Store) -> list[FolderStatus]:
    """Count every folder of codes and labels of a store, codes first, labels by task. Opens no file of codes or labels."""
    known = KnownShards.read(store)
    with_folder = stored_encoders(store.root)
    with_bundle = [name[1:] for name in files.list_folders(store.path("encoders"))]
    codes = {encoder: store.listing(codes_folder(encoder)) for encoder in sorted({*with_folder, *with_bundle})}
    coded = {key for listing in codes.values() for key in listing.shards}
    coded_paths = {known.latest[key].path for key in coded if key in known.latest}
    # Earlier versions of a shard, and those read with other options, have no codes either; they are not looked up.
    shards = [shard for key, shard in sorted(known.latest.items()) if key in coded or shard.path not in coded_paths]
    with ThreadPoolExecutor(_STAT_THREADS) as pool:
        whys = dict(zip((shard.key for shard in shards), pool.map(functools.partial(_why_stale, store), shards)))
    uncoded = tuple(sorted({shard.path for shard in shards if shard.key not in coded and not whys[shard.key]}))
    found = []
    for encoder, listing in codes.items():
        if not listing.shards and not uncoded and encoder not in with_folder:
            continue
        own = [shard for shard in shards if shard.key in listing.shards]
        stale = tuple(sorted((shard.path, why, shard.key) for shard in own if (why := whys[shard.key])))
        twice = _twice([shard for shard in own if not whys[shard.key]])
        status = _folder_status(codes_folder(encoder), listing, stale)
        found.append(dataclasses.replace(status, uncoded=uncoded, stale=stale, twice=twice))
    stale = tuple(entry for status in found for entry in status.stale)
    for head in sorted(describe_stored_heads(store), key=lambda head: (head["task"], head["fingerprint"])):
        folder = labels_folder(head["task"], head["fingerprint"])
        listing = store.listing(folder)
        if not listing.shards:
            continue
        codes_listing = codes.get(head["encoder_fingerprint"][:12], Listing([]))
        missing = len(codes_listing.complete_units() - listing.complete_units())
        without_codes = len(listing.shards.keys() - codes_listing.shards.keys())
        current = (current_head(store, head["task"]) or {}).get("head", head["fingerprint"])
        status = _folder_status(folder, listing, stale)
        is_current = current == head["fingerprint"]
        found.append(dataclasses.replace(status, missing=missing, without_codes=without_codes, current=is_current))
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
    """Return the paths of unchanged shards that have several keys, as they were read with different options."""
    keys_of: dict[str, list[str]] = {}
    for shard in shards:
        keys_of.setdefault(shard.path, []).append(shard.key)
    return tuple(sorted((path, tuple(sorted(keys))) for path, keys in keys_of.items() if len(keys) > 1))


def _why_stale(store: Store, shard: KnownShard) -> str | None:
    """Return why a shard is stale; None if its file is unchanged."""
    path = shard.path
    if files.is_local(path) and not os.path.isabs(path):
        path = files.join(store.input_root, path)
    if not files.exists(path):
        # The store holds a name that is not UTF-8 with its bytes escaped; the file system needs the bytes.
        path = re.sub(r"\\x([89a-f][0-9a-f])", lambda byte: chr(0xDC00 + int(byte[1], 16)), path)
        if not files.is_local(path) or not files.exists(path):
            return "is gone"
    now = files.stat(path)
    return "has changed" if (now.size_bytes, now.version) != (shard.size_bytes, shard.version) else None


if __name__ == "__main__":
    sys.exit(main_of(run))

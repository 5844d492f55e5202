"""Remove from a store what is no longer needed: labels of earlier heads, leftover parts, shards that are gone.

    encode-once prune --store my-store
    encode-once prune --store my-store --input 'corpus/*.jsonl.gz' --dry_run

With --input, shards that the patterns should match and whose files are missing are removed too.
"""

from __future__ import annotations

import dataclasses
import fnmatch
import os
import sys
from collections.abc import Iterable, Sequence

from pipelines.command_line.cli import main_of
from pipelines.command_line.options import parse_prune, prune_parser
from pipelines.running.beam_options import check_options, prepare_files
from transforms.filesystem import files
from transforms.known_shards import KnownShards
from transforms.layout import Listing, PartName, codes_folder, head_folder, labels_folder, parts_folder
from transforms.match import InputError
from transforms.models import current_head, describe_stored_encoder, describe_stored_heads, stored_encoders
from transforms.remove import remove_shards
from transforms.store import Store, StoreError, open_store, store_errors

MAX_SHARE = 0.2  # of a store's documents that are removed without --yes


@dataclasses.dataclass(frozen=True)
class Pruning:
    """What prune found to remove.

    Attributes:
        heads: (task, fingerprint, documents) of heads that are not the current ones of their tasks.
        parts: (folder, name) of parts whose codes are committed or whose shard is not the current version.
        shards: (encoder, key, path, documents) of shards whose file is gone.
        documents: documents of all encoders' codes, before.
    """

    heads: tuple[tuple[str, str, int], ...]
    parts: tuple[tuple[str, str], ...]
    shards: tuple[tuple[str, str, str, int], ...]
    documents: int

    @property
    def removed_documents(self) -> int:
        return sum(documents for *_, documents in self.shards)


def run(argv: Sequence[str]) -> Pruning:
    """Prune a store, print what was removed and return it."""
    options = parse_prune(argv)
    check_options(options.beam_args, prune_parser())
    prepare_files([options.store, *options.input, options.input_root or ""], options.beam_args)
    store = open_store(options.store, options.input_root)
    with store_errors(store.root):
        return prune(store, options.input, options.yes, options.dry_run)


def prune(store: Store, patterns: Sequence[str] = (), yes: bool = False, dry_run: bool = False) -> Pruning:
    """Find what can be removed, print it, and remove it unless it is a dry run.

    Raises:
        InputError: a pattern matches no file at all: a disk may not be mounted.
        StoreError: more than `MAX_SHARE` of the documents would be removed, and not `yes`.
    """
    pruning = find(store, patterns)
    verb = "would remove" if dry_run else "removed"
    share = pruning.removed_documents / pruning.documents if pruning.documents else 0.0
    if share > MAX_SHARE and not yes and not dry_run:
        raise StoreError(
            f"the files of {len(pruning.shards):,} shards, {share:.0%} of the documents of store {store.root}, are missing; "
            f"the first is {pruning.shards[0][2]}; check that the disk is mounted; prune --yes removes them"
        )
    for task, fingerprint, documents in pruning.heads:
        print(
            f"{verb} the labels of {documents:,} documents by head {fingerprint[:12]} of task {task}: it is not current"
        )
    if pruning.parts:
        print(f"{verb} {len(pruning.parts):,} parts")
    for encoder, _, path, documents in pruning.shards:
        print(f"{verb} {path}: {documents:,} documents of encoder {encoder[:12]}")
    if not (pruning.heads or pruning.parts or pruning.shards):
        print("nothing to remove")
    if not dry_run:
        _remove(store, pruning)
    return pruning


def find(store: Store, patterns: Sequence[str]) -> Pruning:
    """Find what can be removed; raises what `prune` raises."""
    heads = []
    for head in describe_stored_heads(store):
        current = current_head(store, head["task"])
        if current is not None and current["head"] != head["fingerprint"]:
            rows = store.listing(labels_folder(head["task"], head["fingerprint"])).rows
            heads.append((head["task"], head["fingerprint"], rows))
    known = KnownShards.read(store)
    gone = _gone(store, known, patterns)
    parts, shards, documents = [], [], 0
    for short in stored_encoders(store.root):
        encoder = describe_stored_encoder(store.root, short).fingerprint
        codes = store.listing(codes_folder(encoder))
        documents += codes.rows
        parts += [(parts_folder(encoder), name) for name in _leftover_parts(store, encoder, codes, gone)]
        for key in gone:
            if key in codes.shards:
                rows = sum(unit.rows for unit in codes.shards[key].values())
                shards.append((encoder, key, known.latest[key].path, rows))
    return Pruning(tuple(heads), tuple(parts), tuple(shards), documents)


def _leftover_parts(store: Store, encoder: str, codes: Listing, gone: Iterable[str]) -> list[str]:
    gone = set(gone)
    parts = filter(None, map(PartName.parse, files.list_names(store.path(parts_folder(encoder)))))
    return [str(part) for part in parts if part.shard in gone or codes.is_complete(part.shard, part.unit)]


def _gone(store: Store, known: KnownShards, patterns: Sequence[str]) -> list[str]:
    """Return the keys of shards that the patterns would match and whose files are missing."""
    there: set[str] = set()
    for pattern in patterns:
        try:
            matched = files.match(pattern)
        except OSError as error:
            raise InputError(str(error)) from None
        if not matched:
            raise InputError(f"--input {pattern} matches no file; nothing is removed, as a disk may not be mounted")
        there |= {file.path for file in matched}
    gone = []
    for key, sighting in sorted(known.latest.items()):
        path = sighting.path
        if files.is_local(path) and not os.path.isabs(path):
            path = files.join(store.input_root, path)
        if path not in there and any(_is_below(path, pattern) for pattern in patterns) and not files.exists(path):
            gone.append(key)
    return gone


def _is_below(path: str, pattern: str) -> bool:
    """Whether a pattern would match a path if its file were there."""
    pattern = files.absolute(pattern)
    if not any(character in pattern for character in "*?["):
        return path == pattern or path.rpartition("/")[0] == pattern
    if "**" not in pattern and path.count("/") != pattern.count("/"):
        return False
    return fnmatch.fnmatchcase(path, pattern.replace("/**/", "/*").replace("**", "*"))


def _remove(store: Store, pruning: Pruning) -> None:
    for task, fingerprint, _ in pruning.heads:
        for folder in (labels_folder(task, fingerprint), head_folder(fingerprint)):
            for name in files.list_names(store.path(folder)):
                store.remove(folder, name)
            files.remove_folder(store.path(folder))
    for folder, name in pruning.parts:
        store.remove(folder, name)
    for encoder, key, *_ in pruning.shards:
        remove_shards(store, encoder, [key])


if __name__ == "__main__":
    sys.exit(main_of(run))

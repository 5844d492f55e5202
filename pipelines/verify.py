"""Read a store again, all of it, and prove that it is whole.

    encode-once verify --store my-store [--input 'corpus/*' --text_field body]

With --input, the shards are read again too, and every row of them must be accounted for. Exit code 1 and a list where
something is not as it must be.
"""

from __future__ import annotations

import dataclasses
import functools
import sys
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from pipelines.beam_options import check_options, prepare_files
from pipelines.check_blocks import Checker, Damaged
from pipelines.cli import main_of
from pipelines.options import parse_verify, verify_parser
from pipelines.prepare import find_encoder
from transforms.blocks import ReadOptions
from transforms.filesystem import files
from transforms.layout import Listing, read_metadata
from transforms.plan import match_shards
from transforms.store import Store, open_store, said_in_one_line

_THREADS = 4
_Found = TypeVar("_Found")


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
    options = parse_verify(argv)
    check_options(options.beam_args, verify_parser())
    prepare_files([options.store, *options.input, options.input_root or ""], options.beam_args)
    store = open_store(options.store, options.input_root)
    encoder = find_encoder(options.encoder, store.root).fingerprint[:12] if options.encoder else None
    with said_in_one_line(store.root):
        result = verify(store, options.input, options.reading, encoder)
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
        checker = Checker(store, encoder, listing, labels_of.pop(encoder, []))
        with ThreadPoolExecutor(_THREADS) as pool:
            checked = pool.map(checker.check_shard, sorted(listing.shards))
            for found in _shown(checked, len(listing.shards), encoder):
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
                accounted = pool.map(functools.partial(checker.check_source, reading=reading), shards)
                for found in _shown(accounted, len(shards), "input"):
                    problems += found
    for folders in labels_of.values():
        problems += [f"{folder} holds labels of codes that are not in the store" for folder, _ in folders]
    return Verification(blocks, documents, tuple(dict.fromkeys(problems)), tuple(notes))


def _shown(results: Iterable[_Found], count: int, name: str) -> Iterable[_Found]:
    """Draw a bar over results that come one by one, where there is a terminal."""
    from tqdm import tqdm

    return tqdm(results, name, count, unit="shard", disable=None, leave=False)


def _labels_by_encoder(store: Store, problems: list[str]) -> dict[str, list[tuple[str, Listing]]]:
    found: dict[str, list[tuple[str, Listing]]] = {}
    for task in files.list_folders(store.path("labels")):
        for head in files.list_folders(store.path("labels", task)):
            folder = f"labels/{task}/{head}"
            listing = store.listing(folder)
            if not listing.shards:
                problems += [f"{folder}/{stranger} is no block's name" for stranger in listing.strangers]
            for name in map(listing.first_block, listing.shards):
                try:
                    encoder = read_metadata(store.read_schema(folder, name)[0])["encoder"][:12]
                except (OSError, ValueError, KeyError) as error:
                    problems.append(str(Damaged(folder, name, error)))
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

"""Read all files of a store and check that it is complete and undamaged.

    encode-once verify --store my-store [--input 'corpus/*' --text_field body]

With --input, the shards are read too, and every row of them must be coded or rejected. Problems are listed, and the exit
code is then 1.
"""

from __future__ import annotations

import dataclasses
import functools
import sys
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from pipelines.check_files import Checker, UnreadableError
from pipelines.command_line import logs
from pipelines.command_line.cli import main_of
from pipelines.command_line.options import parse_verify, verify_parser
from pipelines.prepare import Comparison, find_encoder
from pipelines.running.beam_options import check_options, prepare_files
from transforms.filesystem import files
from transforms.known_shards import KnownShards
from transforms.layout import Listing, codes_folder, read_metadata
from transforms.match import match_shards
from transforms.models import stored_encoders
from transforms.options import ReadOptions
from transforms.store import Store, open_store, store_errors
from transforms.unit import Shard

_THREADS = 4
_Result = TypeVar("_Result")


@dataclasses.dataclass(frozen=True)
class Verification:
    """What was read, problems, and notes about what is merely unfinished."""

    files: int
    documents: int
    problems: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def exit_code(self) -> int:
        return 1 if self.problems else 0


def run(argv: Sequence[str]) -> Verification:
    """Verify a store, print the problems and return them."""
    options = parse_verify(argv)
    check_options(options.beam_args, verify_parser())
    prepare_files([options.store, *options.input, options.input_root or ""], options.beam_args)
    store = open_store(options.store, options.input_root)
    encoder = find_encoder(options.encoder, store.root).fingerprint[:12] if options.encoder else None
    with store_errors(store.root):
        result = verify(store, options.input, options.reading, encoder)
    for note in result.notes:
        print(f"note: {note}")
    for problem in result.problems:
        print(f"PROBLEM: {problem}")
    found = f"{len(result.problems):,}" if result.problems else "no"
    print(f"read {result.files:,} files with {result.documents:,} documents: {found} problems")
    return result


def verify(
    store: Store, patterns: tuple[str, ...] = (), reading: ReadOptions | None = None, encoder: str | None = None
) -> Verification:
    """Check a store.

    Args:
        patterns: shards to read again, whose rows must all be coded or rejected.
        reading: how they are read.
        encoder: short fingerprint of the encoder whose codes are compared with the shards; None: those of each.
    """
    problems, notes = list(_leftovers(store)), []
    checked_files = documents = 0
    labels_of = _labels_by_encoder(store, problems)
    encoders = stored_encoders(store.root)
    if encoder and encoder not in encoders:
        known_encoders = ", ".join(encoders) or "none"
        problems.append(f"the store holds no codes of encoder {encoder}; it holds codes of: {known_encoders}")
    elif patterns and not encoders:
        problems.append("the store holds no codes at all")
    reading = reading or ReadOptions()
    shards: list[Shard] = []
    known = KnownShards()
    if patterns:
        known = KnownShards.read(store)
        matched = match_shards(patterns, store.input_root, reading, store.root)
        shards, _ = known.recognise(matched, Comparison(store, known, reading).is_same)
    for fingerprint in encoders:
        folder = codes_folder(fingerprint)
        listing = store.listing(folder)
        problems += [f"{folder}/{name} is not the name of a file of codes" for name in listing.unrecognised]
        problems += [f"{folder}/{name} is there in two versions" for name in listing.conflicts]
        checker = Checker(store, folder, listing, labels_of.pop(fingerprint, []))
        with ThreadPoolExecutor(_THREADS) as pool:
            checked = pool.map(checker.check_shard, sorted(listing.shards))
            for findings in _with_progress_bar(checked, len(listing.shards), fingerprint):
                problems += findings.problems
                notes += findings.notes
                checked_files += findings.files
                documents += findings.documents
        problems += checker.labels_without_codes()
        problems += [
            f"{checker.rejects_folder}/{name} is not the name of a file of rejects"
            for name in checker.rejects.unrecognised
        ]
        if encoder in (None, fingerprint):
            check_source = functools.partial(checker.check_source, reading=reading, known=known)
            with ThreadPoolExecutor(_THREADS) as pool:
                for source_problems in _with_progress_bar(pool.map(check_source, shards), len(shards), "input"):
                    problems += source_problems
    for folders in labels_of.values():
        problems += [f"{folder} holds labels of codes that are not in the store" for folder, _ in folders]
    return Verification(checked_files, documents, tuple(dict.fromkeys(problems)), tuple(notes))


def _with_progress_bar(results: Iterable[_Result], count: int, name: str) -> Iterable[_Result]:
    """Show a progress bar over results, in a terminal only."""
    from tqdm import tqdm

    return tqdm(results, name, count, unit="shard", disable=logs.is_json() or None, leave=False)


def _labels_by_encoder(store: Store, problems: list[str]) -> dict[str, list[tuple[str, Listing]]]:
    """List the folders of labels by the short fingerprint of the encoder whose codes they were made from."""
    folders: dict[str, list[tuple[str, Listing]]] = {}
    for task in files.list_folders(store.path("labels")):
        for head in files.list_folders(store.path("labels", task)):
            folder = f"labels/{task}/{head}"
            listing = store.listing(folder)
            problems += [f"{folder}/{name} is there in two versions" for name in listing.conflicts]
            if not listing.shards:
                problems += [f"{folder}/{name} is not the name of a file of labels" for name in listing.unrecognised]
            for name in listing.names():
                try:
                    encoder = read_metadata(store.open_footer(folder, name).schema)["encoder"][:12]
                except (OSError, ValueError, KeyError) as error:
                    problems.append(str(UnreadableError(folder, name, error)))
                    continue
                folders.setdefault(encoder, []).append((folder, listing))
                break
    return folders


def _leftovers(store: Store) -> Iterator[str]:
    """List temporary files that no living run owns."""
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

"""Open a store, write files into it, read them back.

Names and schemas are in `transforms.layout`; what makes a commit atomic is in `transforms.filesystem.files`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa

from transforms.filesystem import files
from transforms.layout import FORMAT_VERSION, FileName, Listing, PartName, UnitFiles, unit_prefix
from transforms.options import CutRules
from transforms.tables import DamagedFileError, StoredTable

STORE_FILE = "store.json"


class StoreError(ValueError):
    """A store cannot be used; the message says why."""


@contextlib.contextmanager
def store_errors(root: str) -> Iterator[None]:
    """Convert errors of the file system to StoreError."""
    try:
        yield
    except OSError as error:
        raise StoreError(f"store {root} cannot be used: {error}") from None


@dataclasses.dataclass(frozen=True)
class Store:
    """The folder of a store. Small and picklable, so DoFns carry it.

    Attributes:
        root: the store's folder.
        rules: the sizes of its units, blocks and files.
        input_root: the folder that relative paths of shards are relative to.
        run_id: the run that writes; "" for reading only.
        limit: rows of the input that a trial store has, from the first on; None for a store of whole shards.
    """

    root: str
    rules: CutRules
    input_root: str
    run_id: str = ""
    limit: int | None = None

    def path(self, *names: str) -> str:
        return files.join(self.root, *names)

    @property
    def run_folder(self) -> str:
        return self.path("runs", self.run_id)

    @property
    def temporary_folder(self) -> str:
        return files.join(self.run_folder, "tmp")

    def listing(self, folder: str) -> Listing:
        """List a folder of codes, labels or rejects."""
        return Listing(files.list_names(self.path(folder)))

    def unit_files(self, folder: str, shard: str, unit: int, units: int) -> UnitFiles:
        """List the files of one unit."""
        listing = Listing(files.list_names(self.path(folder), unit_prefix(shard, unit, units)))
        return listing.unit(shard, unit) or UnitFiles(units)

    def unit_parts(self, folder: str, shard: str, unit: int, units: int) -> dict[int, PartName]:
        """List the parts of one unit, by block."""
        names = map(PartName.parse, files.list_names(self.path(folder), unit_prefix(shard, unit, units)))
        return {name.block: name for name in names if name is not None}

    def commit(self, folder: str, name: FileName | PartName, content: pa.Buffer) -> None:
        """Write a file atomically. An existing file of the same name has the same content and may be kept.

        Only codes and rejects are synced to the disk (fsync). Labels and parts can be recreated from codes and text in
        minutes; `verify` names those that a power failure has damaged.
        """
        sync = folder.startswith(("codes/", "rejects/"))
        files.commit(self.path(folder, str(name)), content, self.temporary_folder, sync, replace=False)

    def remove(self, folder: str, name: FileName | PartName | str) -> None:
        """Remove a file, if it exists."""
        files.remove(self.path(folder, str(name)))

    def has(self, folder: str, name: FileName) -> bool:
        return files.exists(self.path(folder, str(name)))

    def open(self, folder: str, name: FileName | PartName) -> StoredTable:
        """Open a file of codes, labels or rejects, or a part.

        Raises:
            OSError: it cannot be read now; FileNotFoundError: it does not exist.
            DamagedFileError: it was read and is damaged.
        """
        return StoredTable(files.read_bytes(self.path(folder, str(name))))

    def read(self, folder: str, name: FileName | PartName) -> pa.Table:
        """Read all rows of a file; raises what `open` raises."""
        return self.open(folder, name).read()

    def open_footer(self, folder: str, name: FileName) -> StoredTable:
        """Open a file to read its footer only; raises what `open` raises."""
        path = self.path(folder, str(name))
        with files.open_raw(path) as file:
            try:
                return StoredTable(file)
            except DamagedFileError:
                files.read_bytes(path)  # raises where the file system is what fails
                raise

    def write_file(self, name: str, content: bytes | str | dict[str, Any]) -> None:
        """Commit a small file by its path in the store; a dict becomes JSON."""
        if isinstance(content, dict):
            content = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
        if isinstance(content, str):
            content = content.encode("utf-8", "backslashreplace")
        files.commit(self.path(*name.split("/")), content, self.temporary_folder)

    def record_failure(self, failure: dict[str, Any]) -> None:
        """Record that a unit failed; the same failure reported twice is one record."""
        name = f"{failure['shard']}.{failure['unit']:05d}.{failure['step']}.json"
        self.write_file(f"runs/{self.run_id}/failures/{name}", failure)

    def failures(self) -> list[dict[str, Any]]:
        """Return this run's failures, in order of shard and unit."""
        folder = files.join(self.run_folder, "failures")
        return [json.loads(files.read_bytes(files.join(folder, name))) for name in sorted(files.list_names(folder))]


def open_store(root: str, input_root: str | None = None) -> Store:
    """Open an existing store; `input_root` is where its shards are now, if they were moved.

    Raises:
        StoreError: the folder is not a store, or one of a format that this program does not know.
    """
    root = _checked(root)
    path = files.join(root, STORE_FILE)
    with store_errors(root):
        if not files.exists(path):
            raise StoreError(f"{root} is not a store: it holds no {STORE_FILE}; annotate or encode makes one")
        written = files.read_bytes(path)
    try:
        content = json.loads(written)
        version = content["format_version"]
        if version == FORMAT_VERSION:
            return Store(
                root,
                CutRules(**content["cut_rules"]),
                files.absolute(input_root) if input_root else content["input_root"],
                limit=content.get("limit"),
            )
    except (KeyError, TypeError, ValueError) as error:  # ValueError: neither JSON nor UTF-8
        raise StoreError(f"{path} cannot be read: {type(error).__name__}: {error}") from error
    raise StoreError(
        f"{root} is a store of format {version}, but this program reads format {FORMAT_VERSION}; "
        "install the version of encode-once that made it, or name another --store"
    )


def open_or_create_store(
    root: str, input_root: str, rules: Mapping[str, int | None], made_by: str, limit: int | None = None
) -> Store:
    """Open a store, or create it with these rules for units, blocks and files (None: the default).

    Args:
        limit: rows of a trial store; None for a store of whole shards.

    Raises:
        StoreError: the folder holds something else, cannot be written, or was made with other rules or another limit.
    """
    root = _checked(root)
    asked = {name: value for name, value in rules.items() if value is not None}
    if not files.exists(files.join(root, STORE_FILE)):
        _create(root, input_root, CutRules(**asked), made_by, limit)
    store = open_store(root)
    check_limit(store, limit)
    for name, value in asked.items():
        if value != (fixed := getattr(store.rules, name)):
            raise StoreError(
                f"--{name} {value} differs from the {fixed} that store {root} was made with; "
                f"leave it out, or give another --store"
            )
    return store


def check_limit(store: Store, limit: int | None) -> None:
    """Check that a run and a store have the same limit: units of a trial hold a part of their rows, and count as complete.

    Raises:
        StoreError: they differ.
    """
    if limit == store.limit:
        return
    if store.limit is None:
        raise StoreError(
            f"--limit {limit} needs a store of its own, and {store.root} is one of whole shards; give another --store"
        )
    given = "no --limit" if limit is None else f"--limit {limit}"
    raise StoreError(
        f"store {store.root} is a trial of --limit {store.limit}, and this run has {given}; give another --store, or "
        f"--limit {store.limit}"
    )


def check_unchanged(store: Store, input_root: str | None) -> None:
    """Check that a store has not changed since a run was planned; `input_root` as for `open_store`.

    Raises:
        StoreError: another first run created the store at the same time with other options.
    """
    now = open_store(store.root, input_root)
    if (now.rules, now.input_root, now.limit) != (store.rules, store.input_root, store.limit):
        raise StoreError(
            f"another run made store {store.root} at the same time with other options: {now.rules} and input root "
            f"{now.input_root!r}, here {store.rules} and {store.input_root!r}; run the command again"
        )


def _checked(root: str) -> str:
    root = files.absolute(root)
    if not files.is_local(root) and set(root) & set("*?["):
        raise StoreError(
            f"store {root} cannot be used: a remote file system takes *, ? and [ in its path for a pattern"
        )
    return root


def _create(root: str, input_root: str, rules: CutRules, made_by: str, limit: int | None) -> None:
    content = {
        "format_version": FORMAT_VERSION,
        "made_by": made_by,
        "input_root": input_root,
        "cut_rules": dataclasses.asdict(rules),
    } | ({} if limit is None else {"limit": limit})
    try:
        if (
            files.is_local(root)
            and os.path.isdir(root)
            and {n for n in os.listdir(root) if not n.startswith(".")} - {"runs"}
        ):
            raise StoreError(f"{root} holds other files and is not a store; give an empty or a new folder")
        # Two first runs at once must agree on one set of rules: only one of them makes the file. An object store cannot
        # promise that, but two runs of the same options write the same content: nothing of time is in it.
        files.commit_new(
            files.join(root, STORE_FILE),
            (json.dumps(content, indent=2) + "\n").encode(),
            files.join(root, "runs"),
        )
    except OSError as error:
        raise StoreError(f"store {root} cannot be written: {error}") from None

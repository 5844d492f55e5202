"""Open a store, write blocks into it, read them back.

The layout is in `transforms.layout`; what makes a commit atomic is in `transforms.filesystem.files`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

import encoder
from transforms.filesystem import files
from transforms.layout import FORMAT_VERSION, BlockName, Listing
from transforms.options import CutRules

STORE_FILE = "store.json"
# Columns, by their path in Parquet, whose values come again and again. A dictionary of ids, codes or scores is as long
# as the column: built, found too large, thrown away, at twice the time of writing the column plainly.
_REPEATING = ("label", "labels.list.element", "path", "reason")


class StoreError(ValueError):
    """Say why a store cannot be used."""


class DamagedBlock(ValueError):
    """Say that a block was read and is not a Parquet file: it has to be made again, where an OSError may pass."""


@contextlib.contextmanager
def said_in_one_line(root: str) -> Iterator[None]:
    """Turn what a file system says of a store that cannot be read into StoreError."""
    try:
        yield
    except OSError as error:
        raise StoreError(f"store {root} cannot be used: {error}") from None


@dataclasses.dataclass(frozen=True)
class Store:
    """A store's folder as one run sees it. Small and picklable: it travels in the DoFns.

    Attributes:
        root: the store's folder.
        rules: how its shards are cut.
        input_root: the folder that relative paths of shards are relative to.
        run_id: the run that writes, "" for reading only.
    """

    root: str
    rules: CutRules
    input_root: str
    run_id: str = ""

    def path(self, *names: str) -> str:
        return files.join(self.root, *names)

    @property
    def run_folder(self) -> str:
        return self.path("runs", self.run_id)

    @property
    def temporary_folder(self) -> str:
        return files.join(self.run_folder, "tmp")

    def listing(self, folder: str) -> Listing:
        return Listing(files.list_names(self.path(folder)))

    def write_block(self, folder: str, name: BlockName, table: pa.Table) -> None:
        """Commit a block's table as one Parquet file with one row group.

        For labels the disk is not waited for: that would take a fifth of the time of labelling, and they are made again
        from codes. `verify` tells what a power cut left of them.
        """
        buffer = pa.BufferOutputStream()
        pq.write_table(
            table,
            buffer,
            compression="zstd",
            row_group_size=max(1, table.num_rows),
            use_dictionary=[column for column in _REPEATING if column.partition(".")[0] in table.column_names],
            store_schema=True,
        )
        sync = not folder.startswith("labels/")
        path = self.path(folder, str(name))
        files.commit(path, buffer.getvalue(), self.temporary_folder, sync, replace=False)

    def remove_block(self, folder: str, name: BlockName) -> None:
        """Remove a damaged block: a commit would leave what stands there."""
        files.remove(self.path(folder, str(name)))

    def has_block(self, folder: str, name: BlockName) -> bool:
        return files.exists(self.path(folder, str(name)))

    def read_block(self, folder: str, name: BlockName) -> pa.Table:
        """Read a block.

        Raises:
            OSError: it cannot be read now; FileNotFoundError: it is not there.
            DamagedBlock: it was read, and is not what was written.
        """
        content = files.read_bytes(self.path(folder, str(name)))
        try:
            # Not `pq.read_table`: its threads may still hold the bytes when the interpreter ends, which aborts.
            return pq.ParquetFile(pa.BufferReader(content)).read(use_threads=False)
        except (OSError, ValueError) as error:  # pyarrow's errors are among these
            raise DamagedBlock(f"{type(error).__name__}: {error}") from None

    def read_schema(self, folder: str, name: BlockName) -> tuple[pa.Schema, int]:
        """Read a block's schema and its number of rows from its footer.

        Raises: as `read_block`.
        """
        with files.open_raw(self.path(folder, str(name))) as file:
            try:
                parquet = pq.ParquetFile(file)
            except (OSError, ValueError) as error:
                files.read_bytes(self.path(folder, str(name)))  # raises where the file system is what fails
                raise DamagedBlock(f"{type(error).__name__}: {error}") from None
            return parquet.schema_arrow, parquet.metadata.num_rows

    def write_file(self, name: str, content: bytes | str | dict[str, Any]) -> None:
        """Commit a small file by its path in the store; a dict becomes JSON."""
        if isinstance(content, dict):
            content = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
        if isinstance(content, str):
            content = content.encode("utf-8", "backslashreplace")
        files.commit(self.path(*name.split("/")), content, self.temporary_folder)

    def record_failure(self, failure: dict[str, Any]) -> None:
        """Note that a unit failed; the same failure reported twice is one record."""
        name = f"{failure['shard']}.{failure['unit']:05d}.{failure['step']}.json"
        self.write_file(f"runs/{self.run_id}/failures/{name}", failure)

    def failures(self) -> list[dict[str, Any]]:
        """Return this run's failures, in order of shard and unit."""
        folder = files.join(self.run_folder, "failures")
        return [json.loads(files.read_bytes(files.join(folder, name))) for name in sorted(files.list_names(folder))]


def open_store(root: str, input_root: str | None = None) -> Store:
    """Open a store that is there; `input_root` says where its shards lie now, if not where they did.

    Raises:
        StoreError: no store, or one of a format this program does not know.
    """
    root = _checked(root)
    path = files.join(root, STORE_FILE)
    with said_in_one_line(root):
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
            )
    except (KeyError, TypeError, ValueError) as error:  # ValueError: neither JSON nor UTF-8
        raise StoreError(f"{path} cannot be read: {type(error).__name__}: {error}") from error
    raise StoreError(
        f"{root} is a store of format {version} but this program knows format {FORMAT_VERSION}; "
        "install the encode-once that made it, or give another --store"
    )


def describe_stored_encoder(root: str, short_fingerprint: str) -> encoder.Bundle:
    """Read the description of an encoder that lies in a store."""
    folder = files.join(root, "encoders", short_fingerprint)
    if files.is_local(folder):
        return encoder.describe(folder)
    with tempfile.TemporaryDirectory() as local:
        for name in files.list_names(folder):
            Path(local, name).write_bytes(files.read_bytes(files.join(folder, name)))
        return encoder.describe(local)


def open_or_create_store(root: str, input_root: str, rules: dict[str, int | None], made_by: str) -> Store:
    """Open a store, or make it with the cutting rules asked for (None: the default).

    Raises:
        StoreError: the folder holds something else, cannot be written, or was made with other rules.
    """
    root = _checked(root)
    asked = {name: value for name, value in rules.items() if value is not None}
    if not files.exists(files.join(root, STORE_FILE)):
        _create(root, input_root, CutRules(**asked), made_by)
    store = open_store(root)
    for name, value in asked.items():
        if value != (fixed := getattr(store.rules, name)):
            raise StoreError(
                f"--{name} {value} differs from the {fixed} that store {root} was made with; "
                f"leave it out, or give another --store"
            )
    return store


def _checked(root: str) -> str:
    root = files.absolute(root)
    if not files.is_local(root) and set(root) & set("*?["):
        raise StoreError(
            f"store {root} cannot be used: a remote file system takes *, ? and [ in its path for a pattern"
        )
    return root


def _create(root: str, input_root: str, rules: CutRules, made_by: str) -> None:
    content = {
        "format_version": FORMAT_VERSION,
        "made_by": made_by,
        "created": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "input_root": input_root,
        "cut_rules": dataclasses.asdict(rules),
    }
    try:
        if (
            files.is_local(root)
            and os.path.isdir(root)
            and {n for n in os.listdir(root) if not n.startswith(".")} - {"runs"}
        ):
            raise StoreError(f"{root} holds other files and is not a store; give an empty or a new folder")
        # Two first runs at once must agree on one set of rules: only one of them makes the file.
        files.commit_new(
            files.join(root, STORE_FILE),
            (json.dumps(content, indent=2) + "\n").encode(),
            files.join(root, "runs"),
        )
    except OSError as error:
        raise StoreError(f"store {root} cannot be written: {error}") from None

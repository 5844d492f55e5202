"""Store the encoders and heads of a run in its store, and load them from there.

Workers load models by fingerprint, so a job's graph carries names only.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import encoder
from encoder import Bundle
from heads import Head
from transforms.filesystem import files
from transforms.layout import SHORT_FINGERPRINT, encoder_folder, head_folder
from transforms.store import Store


class HeadName(NamedTuple):
    """The task and fingerprint of a head: all that a graph carries of it."""

    task: str
    fingerprint: str

    @classmethod
    def of(cls, head: Head) -> HeadName:
        return cls(head.task, head.fingerprint)


def store_models(store: Store, bundle: Bundle, heads: Sequence[Head]) -> None:
    """Store the encoder and the heads, if they are not stored yet."""
    _store_folder(store, encoder_folder(bundle.fingerprint), bundle.files())
    for head in heads:
        _store_folder(store, head_folder(head.fingerprint), head.files())


def set_current_heads(store: Store, heads: Sequence[Head]) -> None:
    """Record the heads as the current ones of their tasks, so that readers do not count the labels of two heads."""
    for head in heads:
        content = {"head": head.fingerprint, "encoder": head.encoder_fingerprint}
        if current_head(store, head.task) != content:
            store.write_file(f"heads/current/{head.task}.json", content)


def current_head(store: Store, task: str) -> dict[str, str] | None:
    """Return the fingerprints of a task's current head and its encoder; None if the task has none."""
    try:
        return json.loads(files.read_bytes(store.path("heads", "current", f"{task}.json")))
    except FileNotFoundError:
        return None


def describe_stored_encoder(root: str, fingerprint: str) -> Bundle:
    """Read the description of an encoder of a store."""
    with _local_folder(files.join(root, *encoder_folder(fingerprint).split("/"))) as folder:
        return encoder.describe(str(folder))


def load_stored_head(store: Store, fingerprint: str) -> Head:
    """Load a head of a store.

    Raises:
        HeadError: it is missing or damaged.
    """
    with _local_folder(store.path(*head_folder(fingerprint).split("/"))) as folder:
        return Head.read(folder)


def stored_encoders(root: str) -> list[str]:
    """Return the short fingerprints of the encoders that a store has codes of."""
    return [name.partition("=")[2][1:] for name in files.list_folders(files.join(root, "codes"))]


def describe_stored_heads(store: Store) -> list[dict[str, Any]]:
    """Return the descriptions (`head.json`) of all heads of a store."""
    folders = [name for name in files.list_folders(store.path("heads")) if len(name) == SHORT_FINGERPRINT + 1]
    return [json.loads(files.read_bytes(store.path("heads", name, "head.json"))) for name in folders]


def _store_folder(store: Store, folder: str, content: dict[str, bytes]) -> None:
    """Commit the files of a model; the last one is its description, which makes it complete."""
    for name, data in content.items():
        if not files.exists(store.path(*folder.split("/"), name)):
            store.write_file(f"{folder}/{name}", data)


@contextmanager
def _local_folder(folder: str) -> Iterator[Path]:
    """Yield a local folder with the files of a folder of a store, as a context manager."""
    if files.is_local(folder):
        yield Path(folder)
        return
    with tempfile.TemporaryDirectory() as local:
        for name in files.list_names(folder):
            Path(local, name).write_bytes(files.read_bytes(files.join(folder, name)))
        yield Path(local)

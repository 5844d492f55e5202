"""Remove shards from a store: labels first, then codes, so that no reader ever sees labels without codes."""

from __future__ import annotations

from collections.abc import Iterable

from transforms.filesystem import files
from transforms.layout import FileName, codes_folder, labels_folder, parts_folder, rejects_folder
from transforms.models import describe_stored_heads
from transforms.store import Store


def label_folders(store: Store, encoder: str) -> list[str]:
    """Return the folders of labels that were made from the codes of an encoder."""
    return [
        labels_folder(head["task"], head["fingerprint"])
        for head in describe_stored_heads(store)
        if head["encoder_fingerprint"] == encoder
    ]


def remove_shards(store: Store, encoder: str, keys: Iterable[str]) -> int:
    """Remove shards from the codes of an encoder and all that was made with them; return how many documents they had."""
    labels = label_folders(store, encoder)
    documents = 0
    for key in keys:
        for folder in (*labels, codes_folder(encoder), rejects_folder(encoder), parts_folder(encoder)):
            names = files.list_names(store.path(folder), f"{key}.")
            for name in names:
                store.remove(folder, name)
                if folder == codes_folder(encoder) and (parsed := FileName.parse(name)):
                    documents += parsed.rows
    return documents

"""Prepare a run: find the encoder and the heads, match the shards, open the store, plan what is left to do."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from typing import Any

import encoder
import heads
from encoder import Bundle
from heads import Head, HeadError
from pipelines.options import ALL_HEADS, NO_HEADS, AnnotateOptions
from transforms.filesystem import files
from transforms.layout import Listing, codes_folder, labels_folder, read_metadata, shard_path_key
from transforms.machine import NOT_INSTALLED, installed
from transforms.plan import InputError, Plan, Shard, common_root, match_shards, plan, plan_labels
from transforms.store import (
    STORE_FILE,
    CutRules,
    Store,
    StoreError,
    describe_stored_encoder,
    open_or_create_store,
    open_store,
    said_in_one_line,
)

_LOOKED_AT = 16  # shards whose footers are read for a warning

_log = logging.getLogger(__name__)


def prepare(options: AnnotateOptions, command: str) -> tuple[Bundle, Store, Plan, list[Head]]:
    """Check everything a user can get wrong, before any model is loaded, and plan the run.

    Raises:
        EncoderError, HeadError, InputError, StoreError: what is wrong, in one line.
    """
    with said_in_one_line(options.store):
        return _prepare(options, command)


def _prepare(options: AnnotateOptions, command: str) -> tuple[Bundle, Store, Plan, list[Head]]:
    bundle = find_encoder(options.encoder, options.store)
    found_heads = find_heads(options, bundle)
    if command == "label":
        store = open_store(options.store)
        codes = store.listing(codes_folder(bundle.fingerprint))
        if not codes.shards:
            known = ", ".join(stored_encoders(options.store)) or "none"
            raise StoreError(
                f"store {store.root} holds no codes of encoder {bundle.fingerprint[:12]}; it holds codes of: {known}"
            )
        if not found_heads:
            raise HeadError("label needs heads: name bundled ones, or folders of heads, with --heads")
        return bundle, store, plan_labels(codes, _label_listings(store, found_heads)), found_heads
    root = find_root(options)
    is_store = files.exists(files.join(options.store, STORE_FILE))
    shards = match_shards(options.input, root, options.reading, options.store if is_store else "")
    if options.input_root and all(shard.relative_path == shard.path for shard in shards):
        raise InputError(f"no shard lies below --input_root {root}: the first is {shards[0].path}")
    store = _open(options, root)
    codes = store.listing(codes_folder(bundle.fingerprint))
    if not codes.shards and is_store:
        _warn_of_another_encoder(options.store, bundle)
    _warn_of_another_root(store, codes, root, shards)
    made = plan(shards, codes, _label_listings(store, found_heads), store.rules.unit_bytes)
    _warn_of_other_options(store, codes, codes_folder(bundle.fingerprint), shards)
    return bundle, store, made, found_heads


def _warn_of_another_encoder(store: str, bundle: Bundle) -> None:
    """Say so where a store has codes, none of them of this encoder: an upgrade may have brought another default."""
    if others := [known for known in stored_encoders(store) if known != bundle.fingerprint[:12]]:
        _log.warning(
            "the store has codes of encoder %s and none of %s (%s), so everything is encoded; --encoder with a fingerprint of "
            "the store's keeps to the codes there are, and wants heads of that encoder",
            ", ".join(others),
            bundle.fingerprint[:12],
            bundle.name,
        )


def _warn_of_another_root(store: Store, codes: Listing, root: str, shards: Sequence[Shard]) -> None:
    """Say so where shards are named relative to another folder than the store's, and none of them is known by that name."""
    known = {shard_path_key(key) for key in codes.shards}
    if known and root != store.input_root and not any(shard_path_key(shard.key) in known for shard in shards):
        _log.warning(
            "--input_root %s is not the store's own, %s, and no shard has the name of one in the store, so all are new; if the "
            "corpus was moved, --input_root is where %s lies now",
            root,
            store.input_root or "none",
            store.input_root or "it",
        )


def _warn_of_other_options(store: Store, codes: Listing, folder: str, shards: Sequence[Shard]) -> None:
    """Say so where a shard is in the store as it is now, but read with other options: its rows will be there twice."""
    stored: dict[str, list[str]] = {}
    for key in codes.shards:
        stored.setdefault(shard_path_key(key), []).append(key)
    known = [shard for shard in shards if shard.key not in codes.shards and shard_path_key(shard.key) in stored]
    for shard, key in ((s, key) for s in known[:_LOOKED_AT] for key in stored[shard_path_key(s.key)]):
        try:
            schema, rows = store.read_schema(folder, codes.first_block(key))
        except (OSError, ValueError):  # a damaged block is verify's business
            continue
        if not rows:
            continue  # all rows were rejected: the options were a mistake, and nothing is there twice
        before = read_metadata(schema)["shard"]
        if (before["size_bytes"], before["stamp"]) == (shard.size_bytes, shard.stamp):
            _log.warning(
                "%s has not changed, but the store has it as read with other options (--text_field, --id_field, --format, "
                "--max_text_bytes): its rows will be in the store twice, and those of other shards like it; status names them",
                shard.path,
            )
            return


def find_encoder(name: str, store: str) -> Bundle:
    """Describe the encoder of a name, or of the beginning of a fingerprint that the store has."""
    if re.fullmatch(r"[0-9a-f]{6,64}", name):
        matching = [fp for fp in stored_encoders(store) if fp.startswith(name[:12])]
        if len(matching) == 1:
            return describe_stored_encoder(store, matching[0])
    return encoder.describe(name)


def stored_encoders(store: str) -> list[str]:
    """Return the short fingerprints of the encoders a store has codes of."""
    return [name.partition("=")[2] for name in files.list_folders(files.join(store, "codes"))]


def find_heads(options: AnnotateOptions, bundle: Bundle) -> list[Head]:
    """Load the heads asked for and check that they fit the encoder and each other."""
    if set(options.heads) == {NO_HEADS}:
        return []
    names = dict.fromkeys(options.heads)
    loaded = []
    if ALL_HEADS in names:
        del names[ALL_HEADS]
        loaded = [heads.load(name) for name in heads.bundled() if name not in names]
        if options.encoder != "default":
            # "all" means what fits: the bundled heads are for the bundled encoder.
            fitting = [head for head in loaded if head.encoder_fingerprint == bundle.fingerprint]
            if len(fitting) < len(loaded):
                _log.warning(
                    "%d of %d bundled heads fit encoder %s: the others were fitted on the bundled one; train-head makes more",
                    len(fitting), len(loaded), bundle.fingerprint[:12],
                )  # fmt: skip
            loaded = fitting
    loaded += map(heads.load, names)
    tasks: set[str] = set()
    for head in loaded:
        head.check_encoder(bundle.fingerprint)
        if head.task in tasks:
            raise HeadError(f"two heads are for task {head.task!r}; leave one out, or give one another name")
        tasks.add(head.task)
    return loaded


def keep_models(store: Store, bundle: Bundle, used: list[Head]) -> None:
    """Keep in the store what its codes and labels were made by; workers load the encoder from there."""
    folder = f"encoders/{bundle.fingerprint[:12]}"
    for name, content in bundle.files().items():  # the description last
        if not files.exists(store.path(*folder.split("/"), name)):
            store.write_file(f"{folder}/{name}", content)
    for head in used:
        path = f"heads/{head.task}-{head.fingerprint[:12]}.json"
        if not files.exists(store.path(*path.split("/"))):
            about = {"task": head.task, "kind": head.kind, "labels": list(head.labels), "fingerprint": head.fingerprint}
            about |= {"encoder": head.encoder_fingerprint, "metrics": head.metrics, "source": head.source}
            store.write_file(path, about)


def still_failed(store: Store, bundle: Bundle, heads: list[Head]) -> list[dict[str, Any]]:
    """Return this run's failures, without those of units that a later attempt finished: a runner tries again by itself."""
    failures = store.failures()
    if not failures:
        return []
    needed = [store.listing(codes_folder(bundle.fingerprint)), *_label_listings(store, heads).values()]

    def is_done(failure: dict[str, Any]) -> bool:
        return all(listing.is_complete(failure["shard"], failure["unit"]) for listing in needed)

    return [failure for failure in failures if failure["step"] == "plan" or not is_done(failure)]


def made_by() -> str:
    return f"encode-once {installed()}".replace(NOT_INSTALLED, f"({NOT_INSTALLED})")


def _label_listings(store: Store, used: list[Head]) -> dict:
    return {head.task: store.listing(labels_folder(head.task, head.fingerprint)) for head in used}


def find_root(options: AnnotateOptions) -> str:
    """Return the folder relative paths are relative to: as asked for, as the store was made, or as the patterns share."""
    if options.input_root:
        return files.absolute(options.input_root)
    if files.exists(files.join(options.store, STORE_FILE)):
        return open_store(options.store).input_root
    return common_root(options.input)


def _open(options: AnnotateOptions, root: str) -> Store:
    if options.dry_run and not files.exists(files.join(options.store, STORE_FILE)):
        return Store(options.store, CutRules(**options.cut_rules), root)
    return open_or_create_store(options.store, root, dict(options.cut_rules), made_by())

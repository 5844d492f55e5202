"""Prepare a run: find the encoder and the heads, match the shards, open the store, plan what is left to do."""

from __future__ import annotations

import json
from importlib.metadata import PackageNotFoundError, version

import encoder
import heads
from encoder import Bundle
from heads import Head, HeadError
from pipelines.options import ALL_HEADS, NO_HEADS, AnnotateOptions, OptionError
from transforms import files
from transforms.blocks import ReadOptions
from transforms.layout import codes_folder, labels_folder
from transforms.store import CutRules, Store, StoreError, open_or_create_store, open_store
from transforms.units import Plan, common_root, match_shards, plan, plan_labels


def prepare(options: AnnotateOptions, command: str) -> tuple[Bundle, Store, Plan, list[Head]]:
    """Check everything a user can get wrong, before any model is loaded, and plan the run.

    Raises:
        EncoderError, HeadError, InputError, StoreError: what is wrong, in one line.
    """
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
    reading = reading_options(options)
    root = common_root([options.input_root]) if options.input_root else _stored_root(options.store)
    root = common_root(options.input) if root is None else root
    shards = match_shards(options.input, root, reading)
    store = _open(options, root)
    codes = store.listing(codes_folder(bundle.fingerprint))
    made = plan(shards, codes, _label_listings(store, found_heads), store.rules.unit_bytes)
    return bundle, store, made, found_heads


def reading_options(options: AnnotateOptions) -> ReadOptions:
    """Return how shards are read.

    Raises:
        OptionError: the options do not go together.
    """
    try:
        return ReadOptions(options.format, options.text_field, options.id_field, options.max_text_bytes)
    except ValueError as error:
        raise OptionError(str(error)) from None


def find_encoder(name: str, store: str) -> Bundle:
    """Describe the encoder of a name, or of the beginning of a fingerprint that the store has."""
    matching = [fp for fp in stored_encoders(store) if len(name) >= 6 and (fp.startswith(name) or name.startswith(fp))]
    if len(matching) == 1:
        folder = files.join(store, "encoders", matching[0])
        if files.is_local(folder):
            return encoder.describe(folder)
    return encoder.describe(name)


def stored_encoders(store: str) -> list[str]:
    """Return the short fingerprints of the encoders a store has codes of."""
    return [name.partition("=")[2] for name in files.list_folders(files.join(store, "codes"))]


def find_heads(options: AnnotateOptions, bundle: Bundle) -> list[Head]:
    """Load the heads asked for and check that they fit the encoder and each other."""
    if options.heads == (NO_HEADS,):
        return []
    asked_all = options.heads == (ALL_HEADS,)
    loaded = [heads.load(name) for name in (heads.bundled() if asked_all else options.heads)]
    if asked_all and options.encoder != "default":
        # "all" means what fits: the bundled heads are for the bundled encoder.
        loaded = [head for head in loaded if head.encoder_fingerprint == bundle.fingerprint]
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
    for name, content in sorted(bundle.files().items(), reverse=True):  # the description last
        if not files.exists(store.path(*folder.split("/"), name)):
            store.write_file(f"{folder}/{name}", content)
    for head in used:
        path = f"heads/{head.task}-{head.fingerprint[:12]}.json"
        if not files.exists(store.path(*path.split("/"))):
            about = {"task": head.task, "kind": head.kind, "labels": list(head.labels), "fingerprint": head.fingerprint}
            about |= {"encoder": head.encoder_fingerprint, "metrics": head.metrics, "source": head.source}
            store.write_file(path, about)


def made_by() -> str:
    try:
        return f"encode-once {version('encode-once')}"
    except PackageNotFoundError:
        return "encode-once (not installed)"


def _label_listings(store: Store, used: list[Head]) -> dict:
    return {head.task: store.listing(labels_folder(head.task, head.fingerprint)) for head in used}


def _stored_root(store: str) -> str | None:
    path = files.join(store, "store.json")
    if not files.exists(path):
        return None
    return json.loads(files.read_bytes(path)).get("input_root")


def _open(options: AnnotateOptions, root: str) -> Store:
    rules = {name: getattr(options, name) for name in ("unit_bytes", "block_rows", "block_text_bytes")}
    if options.dry_run and not files.exists(files.join(options.store, "store.json")):
        return Store(options.store, CutRules(**{k: v for k, v in rules.items() if v is not None}), root)
    return open_or_create_store(options.store, root, rules, made_by())

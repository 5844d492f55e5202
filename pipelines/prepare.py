"""Prepare a run: find the encoder and the heads, match the shards, open the store, plan what is left to do."""

from __future__ import annotations

import dataclasses
import logging
import re
from typing import Any

import encoder
import heads
from encoder import Bundle
from heads import Head, HeadError
from pipelines.command_line.options import ALL_HEADS, NO_HEADS, AnnotateOptions
from transforms.blocks import UnitError
from transforms.check_fields import check_fields
from transforms.codes_file import CONTENT_HASH
from transforms.filesystem import files
from transforms.known_shards import KnownShards, has_content
from transforms.layout import Listing, codes_folder, labels_folder
from transforms.machine import NOT_INSTALLED, package_version
from transforms.match import InputError, common_root, match_shards
from transforms.models import describe_stored_encoder, stored_encoders
from transforms.options import CutRules, ReadOptions
from transforms.plan import Plan, cut_shard, plan, plan_labels, plan_trial
from transforms.read import block_limits
from transforms.store import STORE_FILE, Store, StoreError, open_or_create_store, open_store, store_errors
from transforms.unit import Shard

_log = logging.getLogger(__name__)


@dataclasses.dataclass
class Job:
    """Everything that a run needs.

    Attributes:
        bundle: the encoder.
        store: the store.
        plan: what is left to do.
        heads: the heads.
        known: shards as earlier runs saw them.
        recognised: (earlier path, path) of shards that were recognised by their content.
    """

    bundle: Bundle
    store: Store
    plan: Plan
    heads: list[Head]
    known: KnownShards = dataclasses.field(default_factory=KnownShards)
    recognised: list[tuple[str, str]] = dataclasses.field(default_factory=list)


def prepare(options: AnnotateOptions, command: str) -> Job:
    """Check options, heads, encoder and shards before any model is loaded, and plan the run.

    Raises:
        EncoderError, HeadError, InputError, StoreError: one of them cannot be used; the message is one line.
    """
    with store_errors(options.store):
        return _prepare_labels(options) if command == "label" else _prepare(options)


def _prepare_labels(options: AnnotateOptions) -> Job:
    bundle = find_encoder(options.encoder, options.store)
    found_heads = find_heads(options, bundle)
    store = open_store(options.store)
    codes = store.listing(codes_folder(bundle.fingerprint))
    if not codes.shards:
        known = ", ".join(stored_encoders(options.store)) or "none"
        raise StoreError(
            f"store {store.root} holds no codes of encoder {bundle.fingerprint[:12]}; it holds codes of: {known}"
        )
    if not found_heads:
        raise HeadError("label needs heads: name bundled ones, or folders of heads, with --heads")
    made = plan_labels(codes, label_listings(store, found_heads), options.sample)
    if store.limit is not None:
        made.counts["units_incomplete"] = 0  # beyond the limit
    return Job(bundle, store, made, found_heads)


def _prepare(options: AnnotateOptions) -> Job:
    bundle = find_encoder(options.encoder, options.store)
    found_heads = find_heads(options, bundle)
    root = find_root(options)
    is_store = files.exists(files.join(options.store, STORE_FILE))
    shards = match_shards(options.input, root, options.reading, options.store if is_store else "")
    if options.input_root and all(shard.relative_path == shard.path for shard in shards):
        raise InputError(f"no shard lies below --input_root {root}: the first is {shards[0].path}")
    store = _open(options, root, is_store)
    codes = store.listing(codes_folder(bundle.fingerprint))
    if not codes.shards and is_store:
        _warn_of_another_encoder(options.store, bundle)
    known = KnownShards.read(store)
    shards, recognised = known.recognise(shards, Comparison(store, known, options.reading).is_same)
    _report_recognised(recognised)
    _warn_of_another_root(store, known, root, shards)
    _warn_of_other_options(codes, known, shards)
    _warn_of_recompressed(known, shards)
    store = dataclasses.replace(store, input_root=root)  # where the shards are in this run
    labels = label_listings(store, found_heads)
    earlier, unit_bytes = known.earlier_versions(shards), store.rules.unit_bytes
    if options.limit is None:
        made = plan(shards, codes, labels, unit_bytes, earlier, options.sample)
    else:
        made = plan_trial(shards, codes, labels, unit_bytes, earlier, options.limit, options.reading)
    if options.max_reject_share < 1:
        check_fields(_unproven(shards, codes, made), options.reading)
    if not is_store and not options.dry_run:
        open_or_create_store(options.store, root, options.cut_rules, made_by(), options.limit)
    return Job(bundle, store, made, found_heads, known, recognised)


def _unproven(shards: list[Shard], codes: Listing, made: Plan) -> list[Shard]:
    """Return the shards to encode of formats of which the store has no documents yet: their fields may be misspelled."""
    to_encode = {unit.shard for unit in made.to_encode}
    proven = {
        shard.format.kind for shard in shards if any(unit.rows for unit in codes.shards.get(shard.key, {}).values())
    }
    return [shard for shard in shards if shard.key in to_encode and shard.format.kind not in proven]


class Comparison:
    """Compares shards with what the store has under other paths or times, by the hashes in the footers of its codes."""

    def __init__(self, store: Store, known: KnownShards, reading: ReadOptions) -> None:
        self._store = store
        self._known = known
        self._reading = reading
        self._listings: dict[str, Listing] | None = None

    def is_same(self, shard: Shard, key: str) -> bool:
        """Return whether a shard is the one that the store has under a key, moved or touched.

        A copy at another relative path is another shard as long as the original exists.
        """
        try:
            known = self._known.latest[key]
            if known.path != shard.relative_path and files.is_another_file(known.source, shard.path):
                return False
            hashes, units = self._hashes(key)
            ranges = cut_shard(shard, self._store.rules.unit_bytes) if hashes else []
        except (OSError, ValueError, UnitError):  # a shard that cannot be read fails later, like any other
            return False
        limits = block_limits(self._store.rules)
        return len(ranges) == units and has_content(shard, ranges, hashes, self._reading, limits)

    def _hashes(self, key: str) -> tuple[dict[int, str], int]:
        """Return the content hashes of a shard's complete units, and the number of its units; of any encoder."""
        if self._listings is None:
            folders = [f"codes/{name}" for name in files.list_folders(self._store.path("codes"))]
            self._listings = {folder: self._store.listing(folder) for folder in folders}
        for folder, listing in self._listings.items():
            units = {index: unit for index, unit in listing.shards.get(key, {}).items() if unit.complete}
            if units:
                hashes = {
                    index: self._store.open_footer(folder, unit.in_order()[-1]).footer[CONTENT_HASH]
                    for index, unit in units.items()
                }
                return hashes, listing.unit_count(key) or 0
        return {}, 0


def _report_recognised(recognised: list[tuple[str, str]]) -> None:
    moved = [pair for pair in recognised if pair[0] != pair[1]]
    if moved:
        _log.warning(
            "%d shards are in the store under other paths and keep their codes and ids; the first is %s, which was %s",
            len(moved), moved[0][1], moved[0][0],
        )  # fmt: skip


def _warn_of_another_encoder(store: str, bundle: Bundle) -> None:
    """Warn if a store has codes, but none of this encoder: an upgrade may have changed the default encoder."""
    if others := [known for known in stored_encoders(store) if known != bundle.fingerprint[:12]]:
        _log.warning(
            "the store has codes of encoder %s and none of %s (%s), so every document is encoded; to keep the codes that are "
            "there, name their encoder by its fingerprint with --encoder, and use heads of that encoder",
            ", ".join(others),
            bundle.fingerprint[:12],
            bundle.name,
        )


def _warn_of_another_root(store: Store, known: KnownShards, root: str, shards: list[Shard]) -> None:
    """Warn if paths are relative to another folder than the store's and no shard is known."""
    paths = {sighting.path for sighting in known.latest.values()}
    if (
        paths
        and root != store.input_root
        and not any(s.key in known.latest or s.relative_path in paths for s in shards)
    ):
        _log.warning(
            "--input_root is %s, the store was made with %s, and no shard is known, so all shards are new; if the corpus was "
            "moved, set --input_root to the folder where %s is now",
            root,
            store.input_root or "none",
            store.input_root or "it",
        )


def _warn_of_other_options(codes: Listing, known: KnownShards, shards: list[Shard]) -> None:
    """Warn if the store has codes of a file as read with other options: its rows will be in the store twice."""
    for shard in shards:
        others = [] if shard.key in codes.shards else known.other_readings(shard)
        if any(unit.rows for key in others for unit in codes.shards.get(key, {}).values()):
            _log.warning(
                "%s has not changed, but the store has its codes as read with other options (--text_field, --id_field, "
                "--format, --max_text_bytes): its rows will be in the store twice, as those of similar shards; status lists "
                "them",
                shard.path,
            )
            return


def _warn_of_recompressed(known: KnownShards, shards: list[Shard]) -> None:
    """Warn if the names of a new and a known shard differ only in the compression: the rows will be in the store twice."""
    stems = {_stem(sighting.path): sighting for sighting in known.latest.values()}
    for shard in shards:
        other = stems.get(_stem(shard.relative_path))
        if shard.key not in known.latest and other is not None and other.path != shard.relative_path:
            _log.warning(
                "%s seems to be %s with another compression: it is encoded as a new shard, with other ids; prune removes the "
                "old one when its file is gone",
                shard.path,
                other.path,
            )
            return


def _stem(path: str) -> str:
    return re.sub(r"\.(gz|zst|zstd|bz2|xz)$", "", path)


def find_encoder(name: str, store: str) -> Bundle:
    """Describe the encoder with a name, or with the first digits of a fingerprint in the store."""
    if match := re.fullmatch(r"e?([0-9a-f]{6,64})", name):
        matching = [fingerprint for fingerprint in stored_encoders(store) if fingerprint.startswith(match[1][:12])]
        if len(matching) == 1:
            return describe_stored_encoder(store, matching[0])
    return encoder.describe(name)


def find_heads(options: AnnotateOptions, bundle: Bundle) -> list[Head]:
    """Load the heads of --heads and check them against the encoder and each other."""
    if set(options.heads) == {NO_HEADS}:
        return []
    names = dict.fromkeys(options.heads)
    loaded = []
    if ALL_HEADS in names:
        del names[ALL_HEADS]
        loaded = [heads.load(name) for name in heads.bundled() if name not in names]
        if options.encoder != "default":
            # "all" selects the heads that fit: the bundled heads are for the bundled encoder.
            fitting = [head for head in loaded if head.encoder_fingerprint == bundle.fingerprint]
            if len(fitting) < len(loaded):
                _log.warning(
                    "%d of %d bundled heads are used: the others were not fitted on encoder %s; train-head fits heads for it",
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


def still_failed(job: Job) -> list[dict[str, Any]]:
    """Return the run's failures, without those of units that a later attempt finished: a runner tries again by itself."""
    failures = job.store.failures()
    if not failures:
        return []
    needed = [job.store.listing(codes_folder(job.bundle.fingerprint)), *label_listings(job.store, job.heads).values()]

    def is_done(failure: dict[str, Any]) -> bool:
        return all(listing.is_complete(failure["shard"], failure["unit"]) for listing in needed)

    return [failure for failure in failures if failure["step"] == "plan" or not is_done(failure)]


def made_by() -> str:
    return f"encode-once {package_version()}".replace(NOT_INSTALLED, f"({NOT_INSTALLED})")


def label_listings(store: Store, used: list[Head]) -> dict[str, Listing]:
    """List the labels of heads, by task."""
    return {head.task: store.listing(labels_folder(head.task, head.fingerprint)) for head in used}


def find_root(options: AnnotateOptions) -> str:
    """Return the input root: that of --input_root, of the store, or the folder that all patterns share."""
    if options.input_root:
        return files.absolute(options.input_root)
    if files.exists(files.join(options.store, STORE_FILE)):
        return open_store(options.store).input_root
    return common_root(options.input)


def _open(options: AnnotateOptions, root: str, is_store: bool) -> Store:
    """Open the store; one that is not there yet is made when everything else is checked."""
    if is_store:
        return open_or_create_store(options.store, root, options.cut_rules, made_by(), options.limit)
    return Store(options.store, CutRules(**options.cut_rules), root, limit=options.limit)

"""Plan a run: match shards, cut them into units, see from the store what is left to do.

The plan is made once, by the program that launches the run: the same plan answers a dry run, feeds the progress bar, and
ends a run that has nothing to do before a pipeline is built or Beam is imported. It then lies in the run's folder, one unit
a line, and `transforms.ReadPlan` brings it into the pipeline; so the job's graph stays small however many units there are.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import logging
import os
import re
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from transforms.blocks import ReadOptions, UnitError
from transforms.filesystem import files
from transforms.layout import Listing, shard_key, shard_path_key
from transforms.readers.formats import Format, detect
from transforms.readers.records import unit_ranges

_log = logging.getLogger(__name__)
_GLOB = re.compile(r"[*?\[{]")
_FOOTER_THREADS = 16
_SHARD_STATES = ("new", "changed", "partial", "coded")
_STATES = (*(f"shards_{state}" for state in _SHARD_STATES), *(f"units_{state}" for state in _SHARD_STATES[:3]))


class InputError(ValueError):
    """Say why the input cannot be used."""


@dataclasses.dataclass(frozen=True)
class Shard:
    """Stand for one input file as it was when the run was planned.

    Attributes:
        path: where it is.
        relative_path: its path below the store's input root; ids and keys are made of it.
        size_bytes: its size.
        stamp: its modification time in milliseconds.
        format: what it holds and how it is compressed.
        key: its name in the store.
    """

    path: str
    relative_path: str
    size_bytes: int
    stamp: int
    format: Format
    key: str


@dataclasses.dataclass(frozen=True)
class Unit:
    """Stand for a range of a shard and for what is left to do on it. Tiny: the one thing that is shuffled.

    Attributes:
        shard: the shard's key.
        index: which unit of the shard.
        count: units of the shard.
        tasks: tasks whose labels are missing.
        coded_blocks: blocks of codes where all are there, None where the text must be read.
        path, relative_path, size_bytes, stamp: the shard; empty where the text need not be read.
        start, stop: bytes of a splittable text shard, row groups of a Parquet shard, else nothing.
    """

    shard: str
    index: int
    count: int
    tasks: tuple[str, ...]
    coded_blocks: int | None
    path: str = ""
    relative_path: str = ""
    size_bytes: int = 0
    stamp: int = 0
    start: int = 0
    stop: int = 0

    @classmethod
    def of(cls, shard: Shard, index: int, count: int, start: int, stop: int, tasks: tuple[str, ...] = ()) -> Unit:
        """Make the unit of a shard whose text must be read."""
        return cls(
            shard=shard.key,
            index=index,
            count=count,
            tasks=tasks,
            coded_blocks=None,
            path=shard.path,
            relative_path=shard.relative_path,
            size_bytes=shard.size_bytes,
            stamp=shard.stamp,
            start=start,
            stop=stop,
        )

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, line: str) -> Unit:
        fields = json.loads(line)
        return cls(**fields | {"tasks": tuple(fields["tasks"])})


@dataclasses.dataclass
class Plan:
    """Say what a run finds and what it will do.

    Attributes:
        units: what is left to do; a unit with codes and all labels is not among them.
        unit_bytes: source bytes by (shard, unit) of units to encode, for the progress bar.
        unreadable: (key, path, reason) of shards that cannot be opened.
        counts: shards and units by their state, for people.
    """

    units: list[Unit]
    unit_bytes: dict[tuple[str, int], int]
    unreadable: list[tuple[str, str, str]]
    counts: dict[str, int]

    @property
    def to_encode(self) -> list[Unit]:
        return [unit for unit in self.units if unit.coded_blocks is None]

    @property
    def to_label(self) -> list[Unit]:
        return [unit for unit in self.units if unit.coded_blocks is not None]

    def to_lines(self) -> str:
        return "".join(unit.to_json() + "\n" for unit in self.units)


def common_root(patterns: Iterable[str]) -> str:
    """Return the deepest folder all patterns lie in; "" where there is none."""
    roots = []
    for pattern in patterns:
        if files.is_local(pattern):
            pattern = os.path.abspath(os.path.expanduser(pattern))
            if os.path.isdir(pattern):
                roots.append(pattern)
                continue
        literal = _GLOB.split(pattern, maxsplit=1)[0]
        roots.append(literal.rpartition("/")[0] or "/")
    parts = [root.split("/") for root in roots]
    shared = []
    for level in zip(*parts):
        if len(set(level)) > 1:
            break
        shared.append(level[0])
    root = "/".join(shared)
    if all(map(files.is_local, roots)):
        return root
    return root if len(shared) > 2 and not files.is_local(root) else ""  # "gs:", "", and at least a bucket


def match_shards(patterns: Iterable[str], input_root: str, options: ReadOptions, store: str = "") -> list[Shard]:
    """Match patterns into shards, sorted by path, each once; hidden files (._ at the beginning) are left out of patterns.

    Raises:
        InputError: a pattern matches nothing, a file cannot be read.
    """
    found: dict[str, Shard] = {}
    for pattern in patterns:
        try:
            matched = files.match(pattern)
        except OSError as error:
            raise InputError(str(error)) from None
        named = files.absolute(pattern)
        below = files.list_folders(named) if files.is_local(named) else []
        below = [name for name in below if not name.startswith((".", "_")) and files.join(named, name) != store]
        if below:
            _log.warning(
                "--input %s: %d folders in it are not looked into; '%s/**' takes all below", pattern, len(below), named
            )
        matched = [f for f in matched if f.path == named or not os.path.basename(f.path).startswith((".", "_"))]
        if store:
            matched = [f for f in matched if not f.path.startswith(f"{store}/")]
        if not matched:
            raise InputError(f"--input {pattern} matches no file")
        for file in matched:
            if files.is_local(file.path) and not os.access(file.path, os.R_OK):
                raise InputError(f"--input {file.path} cannot be read: permission denied")
            relative = _relative(file.path, input_root)
            try:
                form = detect(file.path, options.format, options.encoding)
            except ValueError as error:
                raise InputError(f"--input {error}") from None
            key = shard_key(relative, file.size_bytes, str(file.stamp), options.key_fields(form.kind))
            found[file.path] = Shard(file.path, relative, file.size_bytes, file.stamp, form, key)
    return sorted(found.values(), key=lambda shard: shard.path)


def cut_shard(shard: Shard, unit_bytes: int) -> list[tuple[int, int, int]]:
    """Cut a shard into (start, stop, source bytes) of its units; opens Parquet and Arrow shards for their footer.

    Raises:
        UnitError, OSError: the shard's footer cannot be read.
    """
    open_raw = functools.partial(files.open_raw, shard.path)
    return unit_ranges(open_raw, shard.format, shard.size_bytes, unit_bytes)


def plan(shards: list[Shard], codes: Listing, labels: dict[str, Listing], unit_bytes: int) -> Plan:
    """Plan a run over shards: `codes` and `labels` (by task) are listings of what is there."""
    made = Plan([], {}, [], dict.fromkeys(_STATES, 0))
    known_paths = {shard_path_key(key) for key in codes.shards}
    open_shards = []
    for shard in shards:
        count = codes.unit_count(shard.key)
        if count is not None and all(codes.is_complete(shard.key, index) for index in range(count)):
            made.counts["shards_coded"] += 1
            _plan_labels(made, shard.key, count, codes, labels)
        else:
            state = "partial" if count else "changed" if shard_path_key(shard.key) in known_paths else "new"
            made.counts[f"shards_{state}"] += 1
            open_shards.append((shard, state))
    with ThreadPoolExecutor(_FOOTER_THREADS) as pool:
        cuts = pool.map(lambda entry: _try(cut_shard, entry[0], unit_bytes), open_shards)
        for (shard, state), (ranges, error) in zip(open_shards, cuts):
            if error is not None:
                made.unreadable.append((shard.key, shard.path, error))
                continue
            for index, (start, stop, source_bytes) in enumerate(ranges):
                if codes.is_complete(shard.key, index):
                    _plan_unit_labels(made, shard.key, index, len(ranges), codes, labels)
                    continue
                made.unit_bytes[shard.key, index] = source_bytes
                made.counts[f"units_{state}"] += 1
                made.units.append(Unit.of(shard, index, len(ranges), start, stop, tuple(labels)))
    return _counted(made, len(shards), sum(shard.size_bytes for shard in shards))


def plan_labels(codes: Listing, labels: dict[str, Listing]) -> Plan:
    """Plan the labelling of all complete units of codes, without looking at any shard."""
    made = Plan([], {}, [], {})
    for key, units in sorted(codes.shards.items()):
        for index, unit in sorted(units.items()):
            if unit.complete:
                _plan_unit_labels(made, key, index, unit.units, codes, labels)
    counted = _counted(made, len(codes.shards), 0)
    counted.counts["units_incomplete"] = codes.incomplete_units(codes.shards)
    return counted


def _plan_labels(made: Plan, key: str, count: int, codes: Listing, labels: dict[str, Listing]) -> None:
    for index in range(count):
        _plan_unit_labels(made, key, index, count, codes, labels)


def _plan_unit_labels(made: Plan, key: str, index: int, count: int, codes: Listing, labels: dict[str, Listing]) -> None:
    missing = tuple(task for task, listing in labels.items() if not listing.is_complete(key, index))
    blocks = len(codes.unit(key, index).blocks)
    made.counts["units_coded"] = made.counts.get("units_coded", 0) + 1
    if missing:
        made.units.append(Unit(key, index, count, missing, coded_blocks=blocks))


def _counted(made: Plan, shards: int, source_bytes: int) -> Plan:
    coded = made.counts.pop("units_coded", 0)
    made.counts = {
        "shards": shards,
        "source_bytes": source_bytes,
        **made.counts,
        "shards_unreadable": len(made.unreadable),
        "units": coded + len(made.to_encode),
        "units_to_encode": len(made.to_encode),
        "bytes_to_encode": sum(made.unit_bytes.values()),
        "units_to_label": len(made.to_label),
        "units_done": coded - len(made.to_label),
    }
    return made


def _relative(path: str, root: str) -> str:
    prefix = root.rstrip("/") + "/"
    relative = path[len(prefix) :] if root and path.startswith(prefix) else path
    # A name that is not UTF-8 must still make ids that are.
    return relative.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _try(function: Callable, *args: Any) -> tuple[Any, str | None]:
    try:
        return function(*args), None
    except Exception as error:  # whatever a damaged footer makes a library throw, the other shards go on
        return None, str(error) if isinstance(error, (UnitError, OSError)) else f"{type(error).__name__}: {error}"

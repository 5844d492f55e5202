"""Plan a run: split shards into units, and compute from listings of the store what is left to do.

The plan is made once, by the program that launches the run. The dry run and the progress bar use it. A run with nothing to
do ends before a pipeline is built or Beam is imported. The plan is written into the run's folder, one unit per line, and
`transforms.ReadPlan` reads it in the pipeline, so the graph of a job stays small for any number of units.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from transforms.blocks import BlockLimits, UnitError
from transforms.filesystem import files
from transforms.layout import FileName, Listing
from transforms.options import ReadOptions
from transforms.read import read_unit
from transforms.readers.records import unit_ranges
from transforms.unit import Shard, Unit

_FOOTER_THREADS = 16
_SHARD_STATES = ("new", "changed", "partial", "coded")
_STATES = (*(f"shards_{state}" for state in _SHARD_STATES), *(f"units_{state}" for state in _SHARD_STATES[:3]))


@dataclasses.dataclass
class Plan:
    """What is left to do in a run, and what was found.

    Attributes:
        units: units to encode or label; units with codes and all labels are left out.
        unit_bytes: source bytes by (shard, unit) of units to encode, for the progress bar.
        unreadable: (key, path, reason) of shards that cannot be opened.
        counts: shards and units by their state, for people.
        shards: all shards that were matched.
        earlier: by key of a shard, the keys of its earlier versions in the store.
    """

    units: list[Unit]
    unit_bytes: dict[tuple[str, int], int]
    unreadable: list[tuple[str, str, str]]
    counts: dict[str, int]
    shards: Sequence[Shard] = ()
    earlier: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)

    @property
    def to_encode(self) -> list[Unit]:
        return [unit for unit in self.units if unit.files is None]

    @property
    def to_label(self) -> list[Unit]:
        return [unit for unit in self.units if unit.files is not None]

    def to_lines(self, run_id: str) -> str:
        """Write the units, one per line, in an order drawn from the run's id, so that two runs on one store share the work.

        Each run lists a unit's files before it begins. In the same order, both runs would process every unit.
        """
        units = list(self.units)
        random.Random(run_id).shuffle(units)
        return "".join(unit.to_json() + "\n" for unit in units)


def cut_shard(shard: Shard, unit_bytes: int) -> list[tuple[int, int, int]]:
    """Split a shard into (start, stop, source bytes) of its units. Opens Parquet and Arrow shards to read their footers.

    Raises:
        UnitError, OSError: the shard's footer cannot be read.
    """
    open_raw = functools.partial(files.open_raw, shard.path)
    return unit_ranges(open_raw, shard.format, shard.size_bytes, unit_bytes)


def plan(
    shards: Sequence[Shard],
    codes: Listing,
    labels: Mapping[str, Listing],
    unit_bytes: int,
    earlier: Mapping[str, Sequence[str]],
    share: float | None = None,
) -> Plan:
    """Plan a run over shards.

    Args:
        codes: listing of the encoder's codes.
        labels: listings of the heads' labels, by task.
        earlier: keys of earlier versions by key of a shard.
        share: plan this share of the units only; None for all.
    """
    made = Plan([], {}, [], dict.fromkeys(_STATES, 0), shards, earlier)
    sample = Sample.draw((shard.key for shard in shards), share)
    open_shards = []
    for shard in shards:
        if codes.is_complete_shard(shard.key):
            made.counts["shards_coded"] += 1
            for index in range(codes.unit_count(shard.key) or 0):
                _plan_labels(made, shard.key, index, codes, labels, sample)
        else:
            open_shards.append((shard, _count_state(made, shard, codes)))
    with ThreadPoolExecutor(_FOOTER_THREADS) as pool:
        cuts = pool.map(lambda entry: _try(cut_shard, entry[0], unit_bytes), open_shards)
        for (shard, state), (ranges, error) in zip(open_shards, cuts):
            if error is not None:
                made.unreadable.append((shard.key, shard.path, error))
                continue
            for index, (start, stop, source_bytes) in enumerate(ranges):
                if codes.is_complete(shard.key, index):
                    _plan_labels(made, shard.key, index, codes, labels, sample)
                elif sample.has(shard.key, index):
                    unit = Unit.of(shard, index, len(ranges), start, stop, tuple(labels))
                    _plan_encoding(made, unit, state, source_bytes)
                else:
                    _leave_out(made)
    return _counted(made, len(shards), sum(shard.size_bytes for shard in shards))


def plan_trial(
    shards: Sequence[Shard],
    codes: Listing,
    labels: Mapping[str, Listing],
    unit_bytes: int,
    earlier: Mapping[str, Sequence[str]],
    limit: int,
    reading: ReadOptions,
) -> Plan:
    """Plan a run over the first `limit` rows of the shards, in order.

    How many rows a unit has is known only when it is read, so all these rows are read here, except those that have codes.
    """
    made = Plan([], {}, [], dict.fromkeys(_STATES, 0), earlier=earlier)
    touched = []
    for shard in shards:
        if limit <= 0:
            break
        touched.append(shard)
        state = _count_state(made, shard, codes)
        ranges, error = _try(cut_shard, shard, unit_bytes)
        if error is not None:
            made.unreadable.append((shard.key, shard.path, error))
            continue
        for index, (start, stop, _) in enumerate(ranges):
            if limit <= 0:
                break
            there = codes.unit(shard.key, index)
            if there is not None and there.complete:
                _plan_labels(made, shard.key, index, codes, labels)
                limit -= there.rows + there.rejects
                continue
            unit = Unit.of(shard, index, len(ranges), start, stop, tuple(labels), rows=limit)
            rows, source_bytes = _count_rows(unit, reading)
            _plan_encoding(made, unit, state, source_bytes)
            limit -= rows
    made.shards = touched
    return _counted(made, len(touched), sum(shard.size_bytes for shard in touched))


def _count_rows(unit: Unit, reading: ReadOptions) -> tuple[int, int]:
    """Count the rows that a unit reads, and their bytes; those before the place where it cannot be read further."""
    rows = source_bytes = 0
    with contextlib.suppress(UnitError, OSError):  # it fails in the run, with the reason
        for block in read_unit(unit, reading, BlockLimits()):
            rows += block.rows_read
            source_bytes += block.source_bytes
    return rows, source_bytes


def _count_state(made: Plan, shard: Shard, codes: Listing) -> str:
    """Count a shard by its state, and return that."""
    is_changed = any(key in codes.shards for key in made.earlier.get(shard.key, ()))
    state = "partial" if shard.key in codes.shards else "changed" if is_changed else "new"
    if codes.is_complete_shard(shard.key):
        state = "coded"
    made.counts[f"shards_{state}"] += 1
    return state


def _plan_encoding(made: Plan, unit: Unit, state: str, source_bytes: int) -> None:
    made.unit_bytes[unit.shard, unit.index] = source_bytes
    made.counts[f"units_{state}"] += 1
    made.units.append(unit)


@dataclasses.dataclass(frozen=True)
class Sample:
    """A share of all units, at least one, drawn by hashes of names: the same ones in every run. A larger share has them too.

    The hash leaves out the version of a shard: a changed shard keeps its place.
    """

    share: float | None = None
    first: str = ""

    @classmethod
    def draw(cls, keys: Iterable[str], share: float | None) -> Sample:
        """Draw a share of the units of shards; None for all."""
        if share is None:
            return cls()
        return cls(share, min(keys, key=lambda key: (_place(key, 0), key), default=""))

    def has(self, key: str, index: int) -> bool:
        """Return whether a unit belongs to the sample."""
        return self.share is None or (key, index) == (self.first, 0) or _place(key, index) < self.share


def _place(key: str, index: int) -> float:
    """Return the place of a unit between 0 and 1."""
    name = f"{key.rpartition('-')[0]} {index}"  # without the hash of the version
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=6).digest(), "big") / 2**48


def plan_labels(codes: Listing, labels: Mapping[str, Listing], share: float | None = None) -> Plan:
    """Plan the labelling of all complete units of codes, or a share of them, without reading any shard."""
    made = Plan([], {}, [], {})
    units = sorted(codes.complete_units())
    sample = Sample.draw((key for key, index in units if index == 0), share)
    for key, index in units:
        _plan_labels(made, key, index, codes, labels, sample)
    counted = _counted(made, len(codes.shards), 0)
    counted.counts["units_incomplete"] = codes.incomplete_units(codes.shards)
    return counted


def _leave_out(made: Plan) -> None:
    made.counts["units_left_out"] = made.counts.get("units_left_out", 0) + 1


def _plan_labels(
    made: Plan, key: str, index: int, codes: Listing, labels: Mapping[str, Listing], sample: Sample | None = None
) -> None:
    if sample is not None and not sample.has(key, index):
        _leave_out(made)
        return
    unit = codes.shards[key][index]
    missing = tuple(task for task, listing in labels.items() if not listing.is_complete(key, index))
    made.counts["units_coded"] = made.counts.get("units_coded", 0) + 1
    if missing:
        made.units.append(Unit(key, index, unit.units, missing, tuple(map(str, unit.in_order()))))


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


def _try(function: Callable, *args: Any) -> tuple[Any, str | None]:
    try:
        return function(*args), None
    except Exception as error:  # libraries raise many errors for a damaged footer; the other shards are processed
        return None, str(error) if isinstance(error, (UnitError, OSError)) else f"{type(error).__name__}: {error}"


def rows_to_label(units: Iterable[Unit]) -> int:
    """Count the rows of units whose codes are stored."""
    return sum(FileName.parsed(name).rows for unit in units for name in unit.files or ())

"""Plan a run: split shards into units, and compute from listings of the store what is left to do.

The plan is made once, by the program that launches the run. The dry run and the progress bar use it. A run with nothing to
do ends before a pipeline is built or Beam is imported. The plan is written into the run's folder, one unit per line, and
`transforms.ReadPlan` reads it in the pipeline, so the graph of a job stays small for any number of units.
"""

from __future__ import annotations

import dataclasses
import functools
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from transforms.blocks import UnitError
from transforms.filesystem import files
from transforms.layout import FileName, Listing
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
) -> Plan:
    """Plan a run over shards.

    Args:
        codes: listing of the encoder's codes.
        labels: listings of the heads' labels, by task.
        earlier: keys of earlier versions by key of a shard.
    """
    made = Plan([], {}, [], dict.fromkeys(_STATES, 0), shards, earlier)
    open_shards = []
    for shard in shards:
        if codes.is_complete_shard(shard.key):
            made.counts["shards_coded"] += 1
            for index in range(codes.unit_count(shard.key) or 0):
                _plan_labels(made, shard.key, index, codes, labels)
        else:
            is_changed = any(key in codes.shards for key in earlier.get(shard.key, ()))
            state = "partial" if shard.key in codes.shards else "changed" if is_changed else "new"
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
                    _plan_labels(made, shard.key, index, codes, labels)
                    continue
                made.unit_bytes[shard.key, index] = source_bytes
                made.counts[f"units_{state}"] += 1
                made.units.append(Unit.of(shard, index, len(ranges), start, stop, tuple(labels)))
    return _counted(made, len(shards), sum(shard.size_bytes for shard in shards))


def plan_labels(codes: Listing, labels: Mapping[str, Listing]) -> Plan:
    """Plan the labelling of all complete units of codes, without reading any shard."""
    made = Plan([], {}, [], {})
    for key, index in sorted(codes.complete_units()):
        _plan_labels(made, key, index, codes, labels)
    counted = _counted(made, len(codes.shards), 0)
    counted.counts["units_incomplete"] = codes.incomplete_units(codes.shards)
    return counted


def _plan_labels(made: Plan, key: str, index: int, codes: Listing, labels: Mapping[str, Listing]) -> None:
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

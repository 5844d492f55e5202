"""Read units of text shards into blocks: the DoFn around `transforms.readers.records`."""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterator

import apache_beam as beam

from transforms.blocks import BlockLimits, ReadOptions, TextBlock, UnitError
from transforms.filesystem import files
from transforms.layout import BlockName
from transforms.plan import Unit
from transforms.readers.formats import detect
from transforms.readers.records import read_blocks
from transforms.store import Store

_log = logging.getLogger(__name__)


def read_unit(unit: Unit, options: ReadOptions, limits: BlockLimits) -> Iterator[TextBlock]:
    """Read a unit's blocks.

    Raises:
        UnitError: the shard is corrupt, gone, or no longer what was planned. Blocks before that are good.
    """
    _check_unchanged(unit)
    blocks = read_blocks(
        functools.partial(files.open_raw, unit.path),
        unit.path,
        unit.relative_path,
        detect(unit.path, options.format, options.encoding),
        (unit.start, unit.stop),
        options,
        limits,
    )
    for block in blocks:
        if block.last:
            _check_unchanged(unit)  # before the block that would make the unit complete
        yield block


class ReadText(beam.PTransform):
    """Read `Unit` elements into (`Unit`, `TextBlock`) pairs, in order within a unit.

    A unit that cannot be read to its end is recorded in the run's folder; its blocks up to there go on.
    """

    def __init__(self, store: Store, options: ReadOptions) -> None:
        super().__init__()
        self.store = store
        self.options = options

    def expand(self, units):
        return units | beam.ParDo(_ReadText(self.store, self.options))


class _ReadText(beam.DoFn):
    def __init__(self, store: Store, options: ReadOptions) -> None:
        self.store = store
        self.options = options
        self.limits = BlockLimits(store.rules.block_rows, store.rules.block_text_bytes)

    def process(self, unit: Unit) -> Iterator[tuple[Unit, TextBlock]]:
        try:
            for block in read_unit(unit, self.options, self.limits):
                yield unit, block
        except Exception as error:  # whatever a damaged shard makes a library throw, the other units go on
            report_failure(self.store, unit, "read", error)


def report_failure(store: Store, unit: Unit, step: str, error: Exception) -> None:
    """Record in the run's folder that a unit failed at a step, and why."""
    reason = str(error) if isinstance(error, (UnitError, OSError)) else f"{type(error).__name__}: {error}"
    where = unit.path or unit.shard
    reason = reason.removeprefix(f"{where}: ")
    _log.warning("unit %d of %s failed at %s: %s", unit.index, where, step, reason)
    failure = {"shard": unit.shard, "unit": unit.index, "path": where, "step": step, "reason": reason}
    store.record_failure(failure | ({"kind": error.reason} if isinstance(error, UnitError) else {}))


def block_name(unit: Unit, index: int, last: bool) -> BlockName:
    return BlockName(unit.shard, unit.index, unit.count, index, last)


def _check_unchanged(unit: Unit) -> None:
    try:
        now = files.stat(unit.path)
    except FileNotFoundError:
        raise UnitError(f"{unit.path} is gone", "vanished_shard") from None
    if (now.size_bytes, now.stamp) != (unit.size_bytes, unit.stamp):
        raise UnitError(
            f"{unit.path} changed since the run was planned: {unit.size_bytes} bytes then, {now.size_bytes} now; "
            "run the same command again",
            "changed_shard",
        )

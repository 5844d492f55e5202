"""Read the units of shards into blocks, and record what cannot be read."""

from __future__ import annotations

import functools
import hashlib
import logging
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from transforms.blocks import BlockLimits, TextBlock, UnitError
from transforms.filesystem import files
from transforms.options import CutRules, ReadOptions
from transforms.readers.formats import detect
from transforms.readers.records import read_blocks
from transforms.store import Store
from transforms.unit import Unit

_log = logging.getLogger(__name__)


def block_limits(rules: CutRules) -> BlockLimits:
    """Return the limits of a block by the rules of a store."""
    return BlockLimits(rules.block_rows, rules.block_text_bytes)


def read_unit(unit: Unit, options: ReadOptions, limits: BlockLimits) -> Iterator[TextBlock]:
    """Read a unit's blocks, in order.

    Raises:
        UnitError: the shard is corrupt, missing, or has changed since the plan. The blocks before are valid.
    """
    _check_unchanged(unit)
    blocks = read_blocks(
        functools.partial(files.open_raw, unit.path),
        unit.path,
        unit.id_path,
        detect(unit.path, options.format, options.encoding),
        (unit.start, unit.stop),
        options,
        limits,
        max_rows=unit.rows,
    )
    for block in blocks:
        if block.last:
            _check_unchanged(unit)  # before the block that would make the unit complete
        yield block


class ContentHash:
    """Hash of the rows of a unit, block by block: the same texts at the same positions have the same hash.

    It distinguishes a moved or touched shard from a changed one.
    """

    def __init__(self, with_ids: bool) -> None:
        """Start a unit; `with_ids`: ids come from a field of the rows, not from paths and positions."""
        self._with_ids = with_ids
        self._chain = b""

    @classmethod
    def of_unit(cls, unit: Unit, options: ReadOptions) -> ContentHash:
        """Start a unit; a text file has no field with ids."""
        return cls(options.id_field is not None and detect(unit.path, options.format, options.encoding).kind != "text")

    def add(self, block: TextBlock) -> str:
        """Add a block; return the hex digest of the block alone."""
        digest = hashlib.blake2b(digest_size=16)
        for table in (block.table, block.rejects):
            digest.update(np.int64(table.num_rows).tobytes())
            digest.update(table["position"].to_numpy().tobytes())
        _add_strings(digest, block.table["text"])
        if self._with_ids:
            _add_strings(digest, block.table["id"])
        self._chain = hashlib.blake2b(self._chain + digest.digest(), digest_size=16).digest()
        return digest.hexdigest()

    def hexdigest(self) -> str:
        """Return the hash of the rows added so far."""
        return self._chain.hex()


def _add_strings(digest: hashlib.blake2b, column: pa.ChunkedArray) -> None:
    for chunk in column.chunks:
        digest.update(pc.binary_length(chunk).to_numpy(zero_copy_only=False).tobytes())
        _, offsets, data = chunk.buffers()
        if data is not None and len(chunk):
            bounds = np.frombuffer(offsets, np.int32)[[chunk.offset, chunk.offset + len(chunk)]].tolist()
            digest.update(data.slice(bounds[0], bounds[1] - bounds[0]))


def report_failure(store: Store, shard: str, unit: int, path: str, step: str, error: Exception) -> None:
    """Record in the run's folder the failure of a unit at a step."""
    reason = str(error) if isinstance(error, (UnitError, OSError)) else f"{type(error).__name__}: {error}"
    where = path or shard
    reason = reason.removeprefix(f"{where}: ")
    _log.warning("unit %d of %s failed at %s: %s", unit, where, step, reason)
    failure = {"shard": shard, "unit": unit, "path": where, "step": step, "reason": reason}
    store.record_failure(failure | ({"kind": error.reason} if isinstance(error, UnitError) else {}))


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

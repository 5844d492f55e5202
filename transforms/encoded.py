"""Count what this process has encoded of the units in work, for a progress bar in the same process.

Files and parts tell the rest: a small unit is committed at its end only, and workers may run elsewhere.
"""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Encoded:
    """What is encoded of a unit: bytes of its shard, and documents."""

    source_bytes: int = 0
    documents: int = 0


_units: dict[tuple[str, int], Encoded] = {}


def note_encoded(shard: str, unit: int, encoded: Encoded | None) -> None:
    """Note what is encoded of a unit; None where the unit is finished."""
    if encoded is None:
        _units.pop((shard, unit), None)
    else:
        _units[shard, unit] = encoded


def encoded_units() -> dict[tuple[str, int], Encoded]:
    """Return what is encoded of the units in work, by shard and unit."""
    return dict(_units)


def forget_encoded() -> None:
    """Forget all units: those of an earlier run that was interrupted."""
    _units.clear()

"""Keep what steps of an earlier page found, where they are not run again: another machine made it, or another day."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def read(path: Path, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Read steps by name from an earlier page's figures; each says with what settings it was measured, as "kept".

    Raises:
        ValueError: there is no such page, or it lacks a step.
    """
    if not names:
        return {}
    if not path.is_file():
        raise ValueError(f"--keep takes steps from {path}, which is not there")
    figures = json.loads(path.read_text(encoding="utf-8"))
    steps = figures["steps"]
    if lacks := [name for name in names if name not in steps]:
        raise ValueError(f"--keep names {', '.join(lacks)}, but {path} has {', '.join(steps)}")
    return {name: {"kept": figures["settings"]} | steps[name] for name in names}

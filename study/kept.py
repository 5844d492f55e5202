"""Read the results of steps from an earlier page, for example one that was measured on another machine."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def read(path: Path, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return steps by name from an earlier page's figures, each with the settings it was measured with as "kept".

    Raises:
        ValueError: the page does not exist, or it lacks a step.
    """
    if not names:
        return {}
    if not path.is_file():
        raise ValueError(f"--keep reads steps from {path}, which is not there")
    figures = json.loads(path.read_text(encoding="utf-8"))
    steps = figures["steps"]
    if missing := [name for name in names if name not in steps]:
        raise ValueError(f"--keep names {', '.join(missing)}, but {path} has {', '.join(steps)}")
    return {name: {"kept": figures["settings"]} | steps[name] for name in names}

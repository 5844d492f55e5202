"""Expand a pattern of local paths, going into each folder once: links may lead in circles."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator

RECURSIVE = "**"


def expand(pattern: str) -> tuple[list[str], list[str]]:
    """Return the paths that match an absolute pattern (`*`, `?`, `[…]`, `**`), sorted, and the links that were not followed.

    `**` stands for any folders, none included. A link to a folder is not followed if the folder is read anyway. Python's
    `glob` follows such links again and again, up to the system's limit of 40 links in a path.
    """
    matched: set[str] = set()
    repeated: set[str] = set()
    _expand(pattern, matched, repeated)
    return sorted(matched), sorted(repeated)


def _expand(pattern: str, matched: set[str], repeated: set[str]) -> None:
    parts = pattern.split("/")
    if RECURSIVE not in parts:
        matched.update(glob.glob(pattern))
        return
    index = parts.index(RECURSIVE)
    rest = "/".join(part for part in parts[index + 1 :]) or "*"
    for top in glob.glob("/".join(parts[:index]) + "/"):
        for folder in _folders(top, repeated):
            _expand(f"{glob.escape(folder)}/{rest}", matched, repeated)


def _folders(top: str, repeated: set[str]) -> Iterator[str]:
    """Yield a folder and all folders below that are not hidden, each once; those that only links lead to come last."""
    seen: set[str] = set()
    links = [top]
    while links:
        start = links.pop(0)
        if os.path.realpath(start) in seen:
            repeated.add(start)
            continue
        for folder, names, _ in os.walk(start):
            real = os.path.realpath(folder)
            if real in seen:
                names.clear()
                continue
            seen.add(real)
            yield folder.rstrip("/")
            names[:] = sorted(name for name in names if not name.startswith("."))
            links += [path for name in names if os.path.islink(path := os.path.join(folder, name))]

"""Find this project's other packages beside this one, even if the working directory has modules of the same names."""

from __future__ import annotations

import os
import sys
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

PACKAGES = ("encoder", "heads", "pipelines", "transforms")
FOLDER = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


class SiblingFinder:
    """A finder that resolves the names of `PACKAGES` in `FOLDER`, before `sys.path` is searched."""

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        """Return where a package of this project is, or None for any other module."""
        return PathFinder.find_spec(name, [FOLDER]) if name in PACKAGES else None


def install() -> None:
    """Put the finder in front of all others; a second call changes nothing.

    Raises:
        ImportError: a module of one of the names was imported before, from elsewhere.
    """
    for name in PACKAGES:
        module = sys.modules.get(name)
        if module is not None and not _is_ours(module):
            raise ImportError(
                f"encode_once needs its package {name!r}, but a module of that name was imported from "
                f"{getattr(module, '__file__', None) or 'elsewhere'}; import encode_once first, or rename that module"
            )
    if not any(isinstance(finder, SiblingFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, SiblingFinder())


def _is_ours(module: ModuleType) -> bool:
    file = getattr(module, "__file__", None)
    return file is not None and os.path.realpath(os.path.dirname(os.path.dirname(file))) == os.path.realpath(FOLDER)

"""The Beam transforms, and the store they read and write.

An element is a unit or the name of a committed file, never a document; only units are ever shuffled. The transforms are
imported when they are first used, because planning, listing and checking a store need no Beam.
"""

from __future__ import annotations

import importlib
from typing import Any

_MODULE_OF = {
    "EncodeUnits": "transforms.encode",
    "LabelAndWrite": "transforms.label",
    "ReadPlan": "transforms.read_plan",
}
__all__ = list(_MODULE_OF)


def __getattr__(name: str) -> Any:
    if name in _MODULE_OF:
        return getattr(importlib.import_module(_MODULE_OF[name]), name)
    raise AttributeError(f"module 'transforms' has no attribute {name!r}")

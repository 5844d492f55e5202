"""Hold the Beam transforms over blocks, and the store they read and write.

An element is a unit or a block, never a document; nothing but units is ever shuffled. The transforms are imported when they
are first asked for: planning, listing and checking a store need no Beam.
"""

from __future__ import annotations

import importlib

_MODULE_OF = {
    "EncodeAndLabel": "transforms.label",
    "EncodeText": "transforms.encode",
    "LabelAndWrite": "transforms.label",
    "LabelCodes": "transforms.label",
    "ReadPlan": "transforms.read_plan",
    "ReadCodes": "transforms.encode",
    "ReadText": "transforms.read",
    "ScoreCodes": "transforms.label",
    "WriteCodes": "transforms.encode",
    "WriteLabels": "transforms.label",
}
__all__ = list(_MODULE_OF)


def __getattr__(name: str):
    if name in _MODULE_OF:
        return getattr(importlib.import_module(_MODULE_OF[name]), name)
    raise AttributeError(f"module 'transforms' has no attribute {name!r}")

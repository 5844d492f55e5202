"""Check the names of fields in the first rows of a few shards, before a model is loaded."""

from __future__ import annotations

import difflib
import functools
import logging
from collections.abc import Iterable, Sequence

from transforms.blocks import UnitError
from transforms.filesystem import files
from transforms.match import InputError
from transforms.options import ReadOptions
from transforms.readers.columns import MAX_COLUMNS_NAMED
from transforms.readers.fields import first_fields
from transforms.unit import Shard

_JSON_KINDS = ("jsonl", "unknown")  # a row may lack a field
_log = logging.getLogger(__name__)


def check_fields(shards: Iterable[Shard], options: ReadOptions) -> None:
    """Check that the fields of the options exist: in the first shard of each format, or else in its middle or last one.

    So at most three shards of a format are opened, however many there are. A shard that lacks a field that others have fails
    alone when it is read, and so does a shard that cannot be read.

    Raises:
        InputError: all of these shards lack a field, or for JSON lines the id field or all text fields.
    """
    by_kind: dict[str, list[Shard]] = {}
    for shard in shards:
        by_kind.setdefault(shard.format.kind, []).append(shard)
    for kind, of_kind in by_kind.items():
        _check_kind(kind, of_kind, options)


def _check_kind(kind: str, shards: Sequence[Shard], options: ReadOptions) -> None:
    wanted = dict.fromkeys(options.text_field, "--text_field")
    if options.id_field is not None:
        wanted[options.id_field] = "--id_field"
    found: dict[str, None] = {}
    opened: list[Shard] = []
    for index in dict.fromkeys((0, len(shards) // 2, len(shards) - 1)):
        fields = _fields(shards[index], options)
        if fields:
            opened.append(shards[index])
            found |= dict.fromkeys(fields)
        if opened and found.keys() >= wanted.keys():
            return
    missing = [name for name in wanted if name not in found]
    if not opened:  # no rows to tell
        return
    message = _message(opened, {name: wanted[name] for name in missing}, list(found), kind)
    if kind in _JSON_KINDS and options.id_field not in missing and not set(options.text_field) <= set(missing):
        _log.warning("%s; texts are made of the other fields", message)
        return
    raise InputError(message)


def _fields(shard: Shard, options: ReadOptions) -> list[str]:
    """Return the fields of a shard; none of a shard that cannot be read: its units fail, each with its reason."""
    try:
        return first_fields(functools.partial(files.open_raw, shard.path), shard.format, options)
    except (UnitError, OSError, ValueError):
        return []


def _message(opened: Sequence[Shard], missing: dict[str, str], known: list[str], kind: str) -> str:
    word = "field" if kind in _JSON_KINDS else "column"
    rows = " in the first rows" if word == "field" else ""
    where = opened[0].path + (f" (and {len(opened) - 1} more)" if opened[1:] else "")
    listed = ", ".join(known[:MAX_COLUMNS_NAMED]) + (", ..." if len(known) > MAX_COLUMNS_NAMED else "")
    hints = [f"{option} {close}" for name, option in missing.items() if (close := closest(name, known))]
    cure = f"did you mean {' and '.join(hints)}?" if hints else f"set {' and '.join(dict.fromkeys(missing.values()))}"
    return f"no {word} {' and '.join(map(repr, missing))}{rows} of {where}; there are {listed}; {cure}"


def closest(name: str, known: Sequence[str]) -> str | None:
    """Return the known name that is most like a name, in upper or lower case; None if none is like it."""
    by_lower = {one.lower(): one for one in reversed(known)}
    found = difflib.get_close_matches(name.lower(), by_lower, 1, 0.6)
    return by_lower[found[0]] if found else None

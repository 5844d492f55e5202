"""Match patterns to shards: the files that are read, with their formats and keys."""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Iterable

from transforms.filesystem import files
from transforms.filesystem.expand import expand
from transforms.layout import shard_key
from transforms.options import ReadOptions
from transforms.readers.formats import detect, why_not_data
from transforms.unit import Shard

_log = logging.getLogger(__name__)
_GLOB = re.compile(r"[*?\[{]")


class InputError(ValueError):
    """The input cannot be used; the message says why."""


def common_root(patterns: Iterable[str]) -> str:
    """Return the deepest folder that contains all patterns; "" if there is none."""
    roots = []
    for pattern in patterns:
        if files.is_local(pattern):
            pattern = os.path.abspath(os.path.expanduser(pattern))
            if os.path.isdir(pattern):
                roots.append(pattern)
                continue
        literal = _GLOB.split(pattern, maxsplit=1)[0]
        roots.append(literal.rpartition("/")[0] or "/")
    parts = [root.split("/") for root in roots]
    shared = []
    for level in zip(*parts):
        if len(set(level)) > 1:
            break
        shared.append(level[0])
    root = "/".join(shared)
    if all(map(files.is_local, roots)):
        return root
    return root if len(shared) > 2 and not files.is_local(root) else ""  # "gs:", "", and at least a bucket


def match_shards(patterns: Iterable[str], input_root: str, options: ReadOptions, store: str = "") -> list[Shard]:
    """Match patterns to shards, sorted by path, each file once.

    Files that are not data (hidden files, README.md, partial downloads) are skipped unless a pattern names them. A file that
    several paths reach through symbolic links is matched once, if possible by the path without a link.

    Raises:
        InputError: a pattern matches no file, or a file cannot be read.
    """
    matched: dict[str, files.File] = {}
    for pattern in patterns:
        for file in _match(pattern, store):
            matched.setdefault(file.path, file)
    shards = [_shard(file, input_root, options) for file in _without_links(matched)]
    return sorted(shards, key=lambda shard: shard.path)


def _match(pattern: str, store: str) -> list[files.File]:
    try:
        matched = files.match(pattern)
    except OSError as error:
        raise InputError(str(error)) from None
    named = files.absolute(pattern)
    if files.is_local(named):
        _report_unread(pattern, named, store)
    if store:
        matched = [file for file in matched if not file.path.startswith(f"{store}/")]
    skipped = {file.path: why for file in matched if file.path != named and (why := why_not_data(file.path))}
    reported = {path: why for path, why in skipped.items() if why != "hidden file"}
    if reported:
        path, why = next(iter(reported.items()))
        _log.warning(
            "--input %s: %d files are skipped; the first is %s (%s); to read such a file, name it in --input",
            pattern,
            len(reported),
            path,
            why,
        )
    matched = [file for file in matched if file.path not in skipped]
    if not matched:
        raise InputError(f"--input {pattern} matches no file")
    for file in matched:
        if files.is_local(file.path) and not os.access(file.path, os.R_OK):
            raise InputError(f"--input {file.path} cannot be read: permission denied")
    return matched


def _report_unread(pattern: str, named: str, store: str) -> None:
    """Warn about folders that a pattern does not search, and about broken links."""
    if os.path.isdir(named):
        paths = [os.path.join(named, name) for name in os.listdir(named)]
        repeated: list[str] = []
    else:
        paths, repeated = expand(named)
    folders = [] if "**" in pattern else [path for path in paths if os.path.isdir(path)]
    folders = [path for path in folders if path != store and not os.path.basename(path).startswith((".", "_"))]
    if folders:
        _log.warning(
            "--input %s: %d folders are not read; the first is %s; '%s/**' reads the files in all folders",
            pattern,
            len(folders),
            folders[0],
            named if os.path.isdir(named) else os.path.dirname(named),
        )
    if repeated:
        _log.warning(
            "--input %s: %d links to folders are not followed, as the folders are read anyway; the first is %s",
            pattern,
            len(repeated),
            repeated[0],
        )
    if broken := sorted(path for path in paths if os.path.islink(path) and not os.path.exists(path)):
        _log.warning("--input %s: %d links are broken; the first is %s", pattern, len(broken), broken[0])


def _without_links(matched: dict[str, files.File]) -> Iterable[files.File]:
    """Keep one path of each file: the one without links, else the first."""
    chosen: dict[str, files.File] = {}
    for path in sorted(matched):
        real = os.path.realpath(path) if files.is_local(path) else path
        if real not in chosen or path == real:
            chosen[real] = matched[path]
    if left_out := len(matched) - len(chosen):
        _log.warning("%d paths are symbolic links to files that are matched already; each file is read once", left_out)
    return chosen.values()


def _shard(file: files.File, input_root: str, options: ReadOptions) -> Shard:
    relative = _relative(file.path, input_root)
    try:
        form = detect(file.path, options.format, options.encoding)
    except ValueError as error:
        raise InputError(f"--input {error}") from None
    reading = options.key_fields(form.kind)
    return Shard(
        path=file.path,
        relative_path=relative,
        size_bytes=file.size_bytes,
        stamp=file.stamp,
        version=file.version,
        format=form,
        reading=json.dumps(reading, sort_keys=True),
        key=shard_key(relative, file.size_bytes, file.version, reading),
        id_path=relative,
    )


def _relative(path: str, root: str) -> str:
    prefix = root.rstrip("/") + "/"
    relative = path[len(prefix) :] if root and path.startswith(prefix) else path
    # A name that is not UTF-8 must still make ids that are.
    return relative.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")

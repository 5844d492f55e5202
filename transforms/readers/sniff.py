"""Inspect the first bytes of a shard, so that no other format is read as text.

This module opens no path.
"""

from __future__ import annotations

import io
import json
import re
from typing import Any, BinaryIO

from transforms.blocks import UnitError, UnitFailure
from transforms.options import ReadOptions
from transforms.readers.columns import MAX_COLUMNS_NAMED
from transforms.readers.formats import Kind
from transforms.readers.lines import UTF16_MARKS

SNIFF_BYTES = 1 << 16
JSON_LINES_INSPECTED = 20
MIN_CONTROL_SHARE = 0.05  # of binary content; a text has next to none

_LFS_POINTER = b"version https://git-lfs.github.com/spec/"
_CONTROL_CHARACTERS = bytes(byte for byte in range(32) if byte not in b"\t\n\v\f\r\x1b")
# First bytes by which a format is recognised. A text can begin with those of the second table.
_SIGNATURES = (
    (b"\x1f\x8b", "gzip"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"\xfd7zXZ\0", "xz"),
    (b"\x04\x22\x4d\x18", "lz4"),
    (b"\xff\x06\x00\x00sNaPpY", "Snappy"),
    (b"7z\xbc\xaf\x27\x1c", "7-Zip"),
    (b"PK\x03\x04", "ZIP"),
    (b"PK\x05\x06", "ZIP"),
    (b"Rar!\x1a\x07", "RAR"),
    (b"ARROW1\0\0", "Arrow"),
    (b"Obj\x01", "Avro"),
    (b"SQLite format 3\0", "SQLite"),
    (b"\x93NUMPY", "NumPy"),
    (b"\x89HDF\r\n\x1a\n", "HDF5"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x7fELF", "ELF"),
)
_TEXTLIKE_SIGNATURES = (
    (b"PAR1", "Parquet"),
    (b"BZh", "bzip2"),
    (b"ORC", "ORC"),
    (b"FEA1", "Feather version 1"),
    (b"GIF8", "GIF"),
    (b"%PDF-", "PDF"),
)
_TAR_MARK = slice(257, 262)
_BEGINS_A_JSON_OBJECT = re.compile(rb"(\xef\xbb\xbf)?\s*\{\s*(\}|\"(\\.|[^\"\\])*\"\s*:)")
_BEGINS_A_JSON_OBJECT_OVER_LINES = re.compile(rb"(\xef\xbb\xbf)?\s*\{[ \t\r]*\n\s*\"(\\.|[^\"\\])*\"\s*:")
_BEGINS_A_JSON_ARRAY = re.compile(rb"(\xef\xbb\xbf)?\s*\[\s*" + _BEGINS_A_JSON_OBJECT.pattern.partition(rb"\s*")[2])


def kind_of_content(kind: Kind, beginning: bytes, options: ReadOptions) -> Kind:
    """Check the first bytes of a shard (decompressed, in UTF-8) against its kind.

    Returns:
        The kind: for "unknown", "jsonl" if the first lines are JSON objects, else "text".

    Raises:
        UnitError: The content is of another kind.
    """
    _refuse_pointer(beginning)
    if name := signature(beginning):
        raise UnitError(f"the file is {name} data, not {_words(kind)}; {_cure(name)}", "unexpected_content")
    if kind == "jsonl":
        _refuse_json_document(beginning)
    if kind not in ("text", "unknown") or options.format != "auto":
        return kind
    if beginning.startswith(UTF16_MARKS):
        return "text"  # whose reader reports the encoding
    if is_binary(beginning):
        what = "NUL bytes" if b"\0" in beginning else "control characters and bytes that are not UTF-8"
        raise UnitError(
            f"the file is not text: it has {what}; for text in another encoding set --encoding", "unexpected_content"
        )
    if kind == "unknown" and (
        _BEGINS_A_JSON_ARRAY.match(beginning) or _BEGINS_A_JSON_OBJECT_OVER_LINES.match(beginning)
    ):
        _refuse_json_document(beginning)
    rows = json_rows(beginning)
    if not rows:
        return "text"
    if kind == "text":
        raise UnitError(
            "the file has JSON lines, but its name is that of plain text; set --format jsonl to read the field, or "
            "--format text to encode whole lines",
            "unexpected_content",
        )
    fields = {name: None for row in rows for name in row}
    if not any(has_field(row, name) for row in rows for name in options.text_field):
        known = ", ".join(list(fields)[:MAX_COLUMNS_NAMED])
        wanted = " and ".join(map(repr, options.text_field))
        raise UnitError(
            f"the file has JSON lines without the field {wanted}; its fields are {known}; set --text_field, or --format "
            "text to encode whole lines",
            "missing_column",
        )
    return "jsonl"


def check_container(file: BinaryIO, name: str, mark: bytes, reason: UnitFailure) -> None:
    """Explain why a file that has the same mark at its start and its end cannot be opened.

    Raises:
        UnitError: The file is empty, truncated, or of another format.
    """
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    beginning = file.read(SNIFF_BYTES)
    file.seek(max(0, size - len(mark)))
    ending = file.read(len(mark))
    _refuse_pointer(beginning)
    if not beginning.startswith(mark):
        if other := signature(beginning):
            raise UnitError(f"the file is {other} data, not {name}; {_cure(other)}", "unexpected_content")
        what = f"the file is not {name}" if beginning else "the file is empty"
        raise UnitError(f"the {name} footer cannot be read: {what}", reason)
    if ending != mark:
        raise UnitError(
            f"the file is truncated at {size} bytes: its {name} footer is missing; download or copy it again", reason
        )


def signature(beginning: bytes) -> str | None:
    """Return the name of the binary format whose signature these first bytes of a file have, or None."""
    for first, name in _SIGNATURES:
        if beginning.startswith(first):
            return name
    if beginning[_TAR_MARK] == b"ustar":
        return "tar"
    for first, name in _TEXTLIKE_SIGNATURES:
        if beginning.startswith(first) and is_binary(beginning):
            return name
    return None


def is_binary(beginning: bytes) -> bool:
    """Return whether the first bytes of a file are not text: a NUL byte, or not UTF-8 and many control characters."""
    if b"\0" in beginning:
        return True
    controls = len(beginning) - len(beginning.translate(None, _CONTROL_CHARACTERS))
    return controls > MIN_CONTROL_SHARE * len(beginning) and not _is_utf8(beginning)


def json_rows(beginning: bytes) -> list[dict[str, Any]]:
    """Parse the first lines of a file as JSON objects; return an empty list if one of them is not an object.

    Raises:
        UnitError: The first line begins like a JSON object and is too long to parse here.
    """
    if not _BEGINS_A_JSON_OBJECT.match(beginning):
        return []
    lines = beginning.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    if len(beginning) >= SNIFF_BYTES:
        lines.pop()  # its end was not read
        if not lines:
            raise UnitError(
                "the file begins with a long line that may be JSON; set --format jsonl or --format text",
                "unexpected_content",
            )
    rows = []
    for line in filter(bytes.strip, lines[:JSON_LINES_INSPECTED]):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            return []
        if not isinstance(row, dict):
            return []
        rows.append(row)
    return rows


def has_field(row: dict[str, Any], name: str) -> bool:
    """Return whether a JSON object has a field; a name with dots may name a nested field."""
    value: Any = row
    for part in [name] if name in row else name.split("."):
        if not isinstance(value, dict) or part not in value:
            return False
        value = value[part]
    return True


def _refuse_pointer(beginning: bytes) -> None:
    if beginning.startswith(_LFS_POINTER):
        raise UnitError("the file is a Git LFS pointer, not the data; run git lfs pull", "unexpected_content")


def _refuse_json_document(beginning: bytes) -> None:
    """Refuse a JSON array of rows and an object that is written over several lines: each row must be on one line."""
    if _begins_an_array(beginning):
        raise UnitError("the file is a JSON array, not JSON lines; convert it with jq -c '.[]'", "unsupported_format")
    if _BEGINS_A_JSON_OBJECT_OVER_LINES.match(beginning):
        raise UnitError(
            "the file is JSON with one object over several lines, not JSON lines; write each row on one line, for example "
            "with jq -c .",
            "unsupported_format",
        )


def _begins_an_array(beginning: bytes) -> bool:
    """Return whether a file begins with an array of rows. A single row that is an array is a reject."""
    text = beginning.removeprefix(b"\xef\xbb\xbf").lstrip()
    if not text.startswith(b"["):
        return False
    line, newline, _ = text.partition(b"\n")
    if not newline and len(beginning) >= SNIFF_BYTES:  # the end of the line was not read
        return _BEGINS_A_JSON_ARRAY.match(text) is not None
    try:
        rows = json.loads(line)
    except (ValueError, RecursionError):
        return True
    return any(isinstance(row, dict) for row in rows)


def _is_utf8(beginning: bytes) -> bool:
    try:
        beginning.decode()
    except UnicodeDecodeError as error:
        return error.end == len(beginning) and error.reason == "unexpected end of data"
    return True


def _words(kind: Kind) -> str:
    names = {"jsonl": "JSON lines", "csv": "CSV", "tsv": "TSV"}
    return names.get(kind, "text")


def _cure(name: str) -> str:
    suffixes = {"gzip": ".gz", "zstd": ".zst", "xz": ".xz", "bzip2": ".bz2", "Parquet": ".parquet", "Arrow": ".arrow"}
    if name in suffixes:
        return f"rename it so that its name ends in {suffixes[name]}"
    return "convert it to one of the supported formats"

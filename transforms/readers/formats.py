"""Infer the format of a shard from its name, and split shards into ranges.

This module opens no file. Decompression is in `streams`, row groups are in `read_parquet`, record batches in `read_arrow`,
and checks of the content in `sniff`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from transforms.blocks import FormatName

Kind = Literal["unknown", "text", "jsonl", "csv", "tsv", "parquet", "arrow"]
Compression = Literal["gzip", "zstd", "bz2", "xz"]

KIND_OF_SUFFIX: dict[str, Kind] = {
    ".txt": "text",
    ".text": "text",
    ".md": "text",
    ".log": "text",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".arrow": "arrow",
    ".arrows": "arrow",
    ".feather": "arrow",
    ".ipc": "arrow",
}
COMPRESSION_OF_SUFFIX: dict[str, Compression] = {
    ".gz": "gzip",
    ".zst": "zstd",
    ".zstd": "zstd",
    ".bz2": "bz2",
    ".xz": "xz",
}
UNSUPPORTED_COMPRESSION_SUFFIXES = frozenset(
    (".br", ".lz", ".lz4", ".lzma", ".lzo", ".sz", ".snappy", ".z", ".zz")  # compared with names in lower case
)
_DOWNLOADS = (".aria2", ".crdownload", ".download", ".filepart", ".opdownload", ".part", ".partial")
_TEMPORARY = (".bak", ".orig", ".swo", ".swp", ".temp", ".tmp")
PARTIAL_SUFFIXES = frozenset((*_DOWNLOADS, *_TEMPORARY))
_ARCHIVES = (".7z", ".iso", ".jar", ".rar", ".tar", ".tbz2", ".tgz", ".txz", ".warc", ".whl", ".zip")
_TABLES = (".avro", ".db", ".duckdb", ".h5", ".hdf5", ".npy", ".npz", ".orc", ".pickle", ".pkl", ".pt", ".safetensors")
_DOCUMENTS = (".doc", ".docx", ".epub", ".htm", ".html", ".odt", ".pdf", ".ppt", ".pptx", ".xls", ".xlsx", ".xml")
_MEDIA = (".bmp", ".gif", ".jpeg", ".jpg", ".mkv", ".mov", ".mp3", ".mp4", ".png", ".svg", ".tiff", ".wav", ".webp")
_OTHER = (".bin", ".crc", ".dll", ".exe", ".md5", ".sha1", ".sha256", ".sha512", ".so", ".sqlite")
# Formats that are not read. With --format auto they are refused, so that no archive is encoded as lines of text.
FOREIGN_SUFFIXES = frozenset((*_ARCHIVES, *_TABLES, *_DOCUMENTS, *_MEDIA, *_OTHER))
# Files that accompany data: documentation, checksums, and what Hugging Face datasets writes beside its Arrow files.
_DOCUMENTATION_STEMS = frozenset(("authors", "changelog", "changes", "citation", "code_of_conduct", "contributing"))
_DOCUMENTATION_STEMS |= {"copying", "licence", "license", "notice", "readme"}
_DOCUMENTATION_SUFFIXES = frozenset(("", ".bib", ".cff", ".html", ".md", ".org", ".rst", ".txt"))
_CHECKSUM_SUFFIXES = frozenset((".crc", ".md5", ".sha1", ".sha256", ".sha512"))
_METADATA_NAMES = frozenset(("dataset_dict.json", "dataset_info.json", "dataset_infos.json", "state.json"))
_NAME_A_FORMAT = "leave it out, or set --format to the format of its content"


@dataclass(frozen=True)
class Format:
    """The format of a shard.

    Attributes:
        kind: the file format; "unknown" is text or JSON lines, which the content decides (`sniff.kind_of_content`).
        compression: how the whole file is compressed; None if it is not.
        splittable: whether the shard is read in ranges: of bytes, of row groups (Parquet) or of record batches (Arrow).
    """

    kind: Kind
    compression: Compression | None
    splittable: bool


def detect(path: str, format: FormatName = "auto", encoding: str = "utf-8") -> Format:
    """Infer the format of a shard from its file name. A `format` other than "auto" overrides the name.

    CSV and TSV are not splittable, as a quoted field may contain newlines; text in another encoding than UTF-8 is not
    splittable either.

    Raises:
        ValueError: The extension is that of another format, of a compression that is not supported, or of a partial
            download.
    """
    stem, suffix = os.path.splitext(path.lower())
    compression = COMPRESSION_OF_SUFFIX.get(suffix)
    if compression:
        suffix = os.path.splitext(stem)[1]
    if suffix in UNSUPPORTED_COMPRESSION_SUFFIXES:
        supported = ", ".join(COMPRESSION_OF_SUFFIX)
        raise ValueError(
            f"{path} has a compression that is not supported ({suffix}); supported are {supported}; decompress it"
        )
    kind: Kind
    if format == "auto":
        if suffix in FOREIGN_SUFFIXES:
            raise ValueError(f"{path} is not text ({suffix}); {_NAME_A_FORMAT}")
        if is_partial(path):
            raise ValueError(f"{path} looks like a partial download or a temporary file; {_NAME_A_FORMAT}")
        kind = KIND_OF_SUFFIX.get(suffix, "unknown")
    else:
        kind = format
    ranges = kind in ("parquet", "arrow") or (kind not in ("csv", "tsv") and encoding == "utf-8")
    return Format(kind, compression, splittable=compression is None and ranges)


def is_partial(path: str) -> bool:
    """Return whether a file name is that of a partial download, a temporary file or an editor's copy."""
    return path.endswith("~") or os.path.splitext(path.lower())[1] in PARTIAL_SUFFIXES


def why_not_data(path: str) -> str | None:
    """Return why a file that a folder or a pattern matches is skipped (hidden, documentation, checksum), or None.

    Skipped files are reported. A file that is named itself is read.
    """
    name = path.rpartition("/")[2]
    stem, suffix = os.path.splitext(name.lower())
    if name.startswith((".", "_")):
        return "hidden file"
    if is_partial(name):
        return "partial download or temporary file"
    if suffix in _CHECKSUM_SUFFIXES:
        return "checksum"
    if stem in _DOCUMENTATION_STEMS and suffix in _DOCUMENTATION_SUFFIXES:
        return "documentation"
    if name.lower() in _METADATA_NAMES:
        return "metadata of a dataset"
    return None


def byte_ranges(size: int, unit_bytes: int) -> list[tuple[int, int]]:
    """Split `size` bytes into ranges [start, end) of `unit_bytes`. The last one has between 0.5 and 1.5 times as many.

    An empty file has the one range (0, 0).
    """
    if unit_bytes < 1:
        raise ValueError(f"unit_bytes is {unit_bytes} but must be 1 or more")
    count = max(1, (size + unit_bytes // 2) // unit_bytes)
    starts = [index * unit_bytes for index in range(count)]
    return list(zip(starts, [*starts[1:], size], strict=True))


def group_ranges(sizes: Sequence[int], unit_bytes: int) -> list[tuple[int, int, int]]:
    """Split groups of rows of `sizes` bytes into ranges: (first, stop, bytes) of each.

    A range ends with the group that reaches `unit_bytes`. A last range of less than half as many bytes becomes part of the
    previous one. Without groups there is the one range (0, 0, 0).
    """
    if unit_bytes < 1:
        raise ValueError(f"unit_bytes is {unit_bytes} but must be 1 or more")
    ranges: list[tuple[int, int, int]] = []
    first = taken_bytes = 0
    for index, group_bytes in enumerate(sizes):
        taken_bytes += group_bytes
        if taken_bytes >= unit_bytes:
            ranges.append((first, index + 1, taken_bytes))
            first, taken_bytes = index + 1, 0
    if first < len(sizes) or not ranges:
        if ranges and taken_bytes < unit_bytes / 2:
            previous_first, _, previous_bytes = ranges.pop()
            first, taken_bytes = previous_first, previous_bytes + taken_bytes
        ranges.append((first, len(sizes), taken_bytes))
    return ranges

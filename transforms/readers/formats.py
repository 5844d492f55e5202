"""Tell a shard's format from its name, open compressed shards, and cut a shard's bytes into ranges.

Nothing here opens a path: callers pass names, sizes and open binary files. Row groups are in `read_parquet`.
"""

import bz2
import gzip
import io
import lzma
import os
import zlib
from dataclasses import dataclass
from typing import BinaryIO, Literal

import pyarrow as pa

from transforms.blocks import FormatName, UnitError

Kind = Literal["text", "jsonl", "csv", "tsv", "parquet"]
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
    ".parquet": "parquet",
    ".pq": "parquet",
}
COMPRESSION_OF_SUFFIX: dict[str, Compression] = {
    ".gz": "gzip",
    ".zst": "zstd",
    ".zstd": "zstd",
    ".bz2": "bz2",
    ".xz": "xz",
}
# Known not to be text; under "auto" they are refused, so that no archive is encoded line by line.
_ARCHIVES = (".7z", ".rar", ".tar", ".tbz2", ".tgz", ".txz", ".zip")
_TABLES = (".arrow", ".avro", ".feather", ".h5", ".npy", ".npz", ".orc", ".pickle", ".pkl", ".safetensors", ".sqlite")
_DOCUMENTS = (".doc", ".docx", ".epub", ".odt", ".pdf", ".xls", ".xlsx", ".jpeg", ".jpg", ".png")
FOREIGN_SUFFIXES = frozenset((*_ARCHIVES, *_TABLES, *_DOCUMENTS))
READ_BYTES = 1 << 16


@dataclass(frozen=True)
class Format:
    """Describe a shard. `splittable` shards are read in ranges: of bytes, or for Parquet of row groups."""

    kind: Kind
    compression: Compression | None
    splittable: bool


def detect(path: str, format: FormatName = "auto") -> Format:
    """Tell a shard's format from its file name; a `format` other than "auto" overrides the kind, not the compression.

    A name without a known ending is taken for text. CSV and TSV are never split, as a quoted field may hold newlines.

    Raises:
        ValueError: the ending is known to be of something else, an archive for example, and `format` does not say what
            it holds.
    """
    stem, suffix = os.path.splitext(path.lower())
    compression = COMPRESSION_OF_SUFFIX.get(suffix)
    if compression:
        suffix = os.path.splitext(stem)[1]
    if format == "auto" and suffix in FOREIGN_SUFFIXES:
        raise ValueError(f"{path} is not text ({suffix})")
    kind = KIND_OF_SUFFIX.get(suffix, "text") if format == "auto" else format
    return Format(kind, compression, splittable=compression is None and kind not in ("csv", "tsv"))


def open_compressed(raw_file: BinaryIO, compression: Compression) -> io.BufferedReader:
    """Open the decompressed bytes of a raw binary file as a (not seekable) binary file.

    Concatenated members are read one after the other. Reading raises UnitError where the stream is truncated, also
    inside a later member, where it is corrupt, and where something else than a member follows.
    """
    if compression == "zstd":
        inner = pa.CompressedInputStream(pa.PythonFile(_Unclosed(raw_file), mode="r"), "zstd")
    elif compression == "gzip":
        inner = gzip.GzipFile(fileobj=raw_file, mode="rb")
    else:
        inner = _Members(raw_file, bz2.BZ2Decompressor if compression == "bz2" else lzma.LZMADecompressor)
    return io.BufferedReader(_CheckedStream(raw_file, inner, compression), buffer_size=READ_BYTES)


class _Unclosed:
    """Lend a file to Arrow, which would close it with the stream read from it."""

    closed = False

    def __init__(self, raw_file):
        self.read = raw_file.read

    def close(self):
        self.closed = True


class _CheckedStream(io.RawIOBase):
    """Turn what a decompressor raises into UnitError, and take an empty file for a truncated one."""

    def __init__(self, raw_file, inner, compression):
        self._raw_file, self._inner, self._compression = raw_file, inner, compression
        self._started = False

    def readable(self):
        return True

    def readinto(self, buffer) -> int:
        try:
            data = self._inner.read(len(buffer))
        except EOFError as error:
            raise self._truncated() from error
        except (OSError, ValueError, zlib.error, lzma.LZMAError) as error:
            if getattr(error, "errno", None) is not None:
                raise  # the file could not be read, which says nothing about its content
            if "Truncated" in str(error):
                raise self._truncated() from error
            raise UnitError(f"the {self._compression} stream is corrupt: {error}", "corrupt_stream") from error
        if not data and not self._started and self._raw_file.seek(0, io.SEEK_END) == 0:
            raise self._truncated()
        self._started = True
        buffer[: len(data)] = data
        return len(data)

    def _truncated(self) -> UnitError:
        at = self._raw_file.tell()
        return UnitError(f"the {self._compression} stream ends early, at byte {at} of the shard", "truncated_stream")


class _Members:
    """Read .bz2 and .xz members one after the other.

    The standard library's own readers silently drop all that follows a damaged member, and Arrow's fails on an empty
    .bz2 member.
    """

    def __init__(self, raw_file, make_decompressor):
        self._raw_file, self._make_decompressor = raw_file, make_decompressor
        self._member = make_decompressor()

    def read(self, size: int) -> bytes:
        while True:
            if self._member.eof:
                data = self._member.unused_data.lstrip(b"\0")  # zeros may pad the space between members
                while not data:
                    data = self._raw_file.read(READ_BYTES)
                    if not data:
                        return b""
                    data = data.lstrip(b"\0")
                self._member = self._make_decompressor()
            elif self._member.needs_input:
                data = self._raw_file.read(READ_BYTES)
                if not data:
                    raise EOFError
            else:
                data = b""
            data = self._member.decompress(data, max_length=size)
            if data:
                return data


def byte_ranges(size: int, unit_bytes: int) -> list[tuple[int, int]]:
    """Cut `size` bytes into ranges [start, end) of `unit_bytes`, the last between a half and one and a half of it.

    An empty file gives the one range (0, 0).
    """
    if unit_bytes < 1:
        raise ValueError(f"unit_bytes is {unit_bytes} but must be 1 or more")
    count = max(1, (size + unit_bytes // 2) // unit_bytes)
    starts = [index * unit_bytes for index in range(count)]
    return list(zip(starts, [*starts[1:], size], strict=True))

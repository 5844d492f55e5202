"""Open compressed shards and shards in other encodings as streams of UTF-8 bytes.

Nothing here opens a path: callers pass open binary files.
"""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import lzma
import zlib
from collections.abc import Callable
from typing import Any, BinaryIO, Protocol, cast

from backports import zstd

from transforms.blocks import UnitError
from transforms.readers.formats import Compression

READ_BYTES = 1 << 16
MAX_ZSTD_WINDOW_LOG = 31  # 2 GiB, as in archives made with zstd --long=31; only such archives need that much memory
_INVALID = "\udcff"  # replaces bytes that are invalid in a shard's encoding; it becomes a byte that is not UTF-8


class _Decompressor(Protocol):
    """The common interface of the decompressors of bz2, lzma and zstd."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


def open_compressed(raw_file: BinaryIO, compression: Compression) -> io.BufferedReader:
    """Open the decompressed bytes of a raw binary file as a binary file that is not seekable.

    Concatenated members are read one after the other. Reading raises UnitError if the stream is truncated, also in a later
    member, if it is corrupt, and if a member is followed by something else.
    """
    inner: Any
    if compression == "gzip":
        inner = gzip.GzipFile(fileobj=raw_file, mode="rb")
    else:
        inner = _Members(raw_file, _DECOMPRESSORS[compression])
    return io.BufferedReader(_CheckedStream(raw_file, inner, compression), buffer_size=READ_BYTES)


def open_transcoded(file: BinaryIO, encoding: str) -> io.BufferedReader:
    """Open a binary file in another encoding as UTF-8. Bytes that are not in the encoding give bytes that are not UTF-8."""
    return io.BufferedReader(_TranscodedStream(file, encoding), buffer_size=READ_BYTES)


def read_beginning(file: BinaryIO, size: int) -> tuple[bytes, BinaryIO]:
    """Read the first `size` bytes of a file.

    Returns:
        The bytes, and a file that reads everything from the start.
    """
    beginning = file.read(size)
    if file.seekable():
        file.seek(0)
        return beginning, file
    return beginning, cast(BinaryIO, _PrefixedStream(beginning, file))


def _make_zstd_decompressor() -> _Decompressor:
    return zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: MAX_ZSTD_WINDOW_LOG})


_DECOMPRESSORS: dict[str, Callable[[], _Decompressor]] = {
    "bz2": bz2.BZ2Decompressor,
    "xz": lzma.LZMADecompressor,
    "zstd": _make_zstd_decompressor,
}


class _ReadableStream(io.RawIOBase):
    """A stream of chunks of at most the size that is asked for; an empty chunk is the end."""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._read_chunk(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def _read_chunk(self, size: int) -> bytes:
        raise NotImplementedError


class _CheckedStream(_ReadableStream):
    """Converts the errors of a decompressor to UnitError, and reports an empty file as truncated."""

    def __init__(self, raw_file: BinaryIO, inner: Any, compression: Compression) -> None:
        self._raw_file, self._inner, self._compression = raw_file, inner, compression
        self._started = False

    def _read_chunk(self, size: int) -> bytes:
        try:
            data = self._inner.read(size)
        except EOFError as error:
            raise self._truncated() from error
        except (OSError, ValueError, zlib.error, lzma.LZMAError, zstd.ZstdError) as error:
            if getattr(error, "errno", None) is not None:
                raise  # an error of the file system, not of the content
            raise UnitError(f"the {self._compression} stream is corrupt: {error}", "corrupt_stream") from error
        if not data and not self._started and self._raw_file.seek(0, io.SEEK_END) == 0:
            raise self._truncated()
        self._started = True
        return data

    def _truncated(self) -> UnitError:
        at = self._raw_file.tell()
        return UnitError(f"the {self._compression} stream ends early, at byte {at} of the shard", "truncated_stream")


class _Members:
    """Reads the members of a .bz2, .xz or .zst file one after the other.

    The readers of the standard library silently drop everything after a damaged member. Arrow's reader fails on an empty
    .bz2 member, and on .zst files with a window of more than 128 MiB.
    """

    def __init__(self, raw_file: BinaryIO, make_decompressor: Callable[[], _Decompressor]) -> None:
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


class _TranscodedStream(_ReadableStream):
    """The content of a file in another encoding, as UTF-8."""

    def __init__(self, file: BinaryIO, encoding: str) -> None:
        codecs.register_error("encode_once_invalid", _replace_invalid)
        self._file = file
        self._decoder = codecs.getincrementaldecoder(encoding)("encode_once_invalid")
        self._data = b""
        self._at_end = False

    def _read_chunk(self, size: int) -> bytes:
        while not self._data and not self._at_end:
            raw = self._file.read(READ_BYTES)
            self._at_end = not raw
            text = self._decoder.decode(raw, final=self._at_end)
            self._data = text.encode("utf-8", "surrogateescape")
        chunk, self._data = self._data[:size], self._data[size:]
        return chunk


def _replace_invalid(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return _INVALID, error.end


class _PrefixedStream(io.RawIOBase):
    """Bytes that were read already, then the rest of their file."""

    def __init__(self, beginning: bytes, file: BinaryIO) -> None:
        self._beginning, self._file = beginning, file

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        if not self._beginning:
            return self._file.read(size)
        chunk = self._beginning if size < 0 else self._beginning[:size]
        self._beginning = self._beginning[len(chunk) :]
        return chunk + self._file.read(-1 if size < 0 else size - len(chunk))

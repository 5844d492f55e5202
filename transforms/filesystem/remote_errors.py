"""Raise as OSErrors what remote file systems raise: each cloud's library has errors of its own, and Beam lets them through."""

from __future__ import annotations

import contextlib
import errno
import io
from collections.abc import Iterator
from typing import BinaryIO

READ_BYTES = 1 << 20  # read at once; Beam's own 16 MiB would fetch a shard's next unit to find where a line ends


class NoFileSystem(OSError):
    """Say that no file system for a path's scheme is installed."""


@contextlib.contextmanager
def as_os_errors(path: str) -> Iterator[None]:
    """Raise what a file system raises as the OSError that a local file would give."""
    try:
        yield
    except Exception as error:
        status = next((found for cause in _causes(error) if (found := _status(cause))), None)
        if status == 404:
            raise FileNotFoundError(errno.ENOENT, "not found", path) from error
        if status in (401, 403):
            raise PermissionError(errno.EACCES, f"not allowed ({error})", path) from error
        if isinstance(error, OSError):
            raise
        raise OSError(f"{path}: {type(error).__name__}: {error}") from error


def _causes(error: Exception) -> list[Exception]:
    """Return an error and those that Beam put into it."""
    inner = getattr(error, "exception_details", None)
    return [error, *(cause for cause in (inner or {}).values() if isinstance(cause, Exception))]


def _status(error: Exception) -> int | None:
    """Return the HTTP status that an error of a cloud's library holds."""
    for name in ("code", "status_code"):
        if isinstance(status := getattr(error, name, None), int):
            return int(status)
    return None


class Reader(io.RawIOBase):
    """Read from a file of Beam's, with our errors."""

    def __init__(self, path: str, file: BinaryIO) -> None:
        self._path = path
        self._file = file

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return self._file.seekable()

    def readinto(self, buffer: memoryview) -> int:
        with as_os_errors(self._path):
            data = self._file.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def readall(self) -> bytes:
        return b"".join(iter(lambda: self.read(READ_BYTES), b""))  # the standard library would take 8 KiB at a time

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        with as_os_errors(self._path):
            return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def close(self) -> None:
        if not self.closed:
            super().close()
            with as_os_errors(self._path):
                self._file.close()

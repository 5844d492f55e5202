"""Convert the exceptions of remote file systems to OSError. Beam passes on the exceptions of each cloud's library."""

from __future__ import annotations

import contextlib
import errno
import io
from collections.abc import Iterator
from typing import Any, BinaryIO

READ_BYTES = 1 << 20  # per request; Beam's default of 16 MiB fetches most of the next unit to find the end of a line


class NoFileSystemError(OSError):
    """No file system is installed for the scheme of a path."""


@contextlib.contextmanager
def as_os_errors(path: str) -> Iterator[None]:
    """Convert an exception of a remote file system to the OSError that a local file raises."""
    try:
        yield
    except Exception as error:
        status = next((code for cause in _causes(error) if (code := _status(cause))), None)
        if status == 404:
            raise FileNotFoundError(errno.ENOENT, "not found", path) from error
        if status in (401, 403):
            raise PermissionError(errno.EACCES, f"not allowed ({error})", path) from error
        if isinstance(error, OSError):
            raise
        raise OSError(f"{path}: {type(error).__name__}: {error}") from error


def _causes(error: Exception) -> list[Exception]:
    """Return an error and the errors that Beam stored in it."""
    inner = getattr(error, "exception_details", None)
    return [error, *(cause for cause in (inner or {}).values() if isinstance(cause, Exception))]


def _status(error: Exception) -> int | None:
    """Return the HTTP status in an error of a cloud's library."""
    for name in ("code", "status_code"):
        if isinstance(status := getattr(error, name, None), int):
            return int(status)
    return None


class Reader(io.RawIOBase):
    """A binary file of Beam whose exceptions are OSErrors."""

    def __init__(self, path: str, file: BinaryIO | io.RawIOBase) -> None:
        self._path = path
        self._file = file

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return self._file.seekable()

    def readinto(self, buffer: Any) -> int:
        with as_os_errors(self._path):
            data = self._file.read(len(buffer)) or b""
        buffer[: len(data)] = data
        return len(data)

    def readall(self) -> bytes:
        return b"".join(iter(lambda: self.read(READ_BYTES) or b"", b""))  # the standard library reads 8 KiB at a time

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

"""Read, list and commit files on every file system that Beam supports. Local files do not pass through Beam.

A commit is atomic. On a local or HDFS-like file system, a file is written under a temporary name and renamed. An object
store shows an object only when it is complete, so the file is written in place.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import glob
import os
import uuid
from typing import TYPE_CHECKING, BinaryIO

from transforms.filesystem import remote
from transforms.filesystem.expand import expand
from transforms.filesystem.remote import use_options as use_options

if TYPE_CHECKING:
    import pyarrow as pa

# Errors of file systems without hard links: many network file systems, and many in user space.
_NO_LINKS = (errno.EPERM, errno.EACCES, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EMLINK)


_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


def is_disk_full(error: Exception) -> bool:
    """Return whether an error means that nothing more can be written, so that every further unit would fail."""
    return getattr(error, "errno", None) in _DISK_FULL


@dataclasses.dataclass(frozen=True)
class File:
    """A file in a listing: its path, size, and modification time in milliseconds."""

    path: str
    size_bytes: int
    stamp: int

    @property
    def version(self) -> int:
        """Identify this version of the file: its time in whole seconds, which is what tar, scp and zip keep.

        If the stamp is a hash of the content, the version is that hash.
        """
        return self.stamp if remote.is_stamped_by_content(self.path) else self.stamp // 1000


def is_local(path: str) -> bool:
    """Return whether a path has no scheme, such as `s3://`."""
    return remote.SCHEME.match(path) is None


def join(folder: str, *names: str) -> str:
    """Join names to a folder, local or remote."""
    return os.path.join(folder, *names) if is_local(folder) else "/".join([folder.rstrip("/"), *names])


def absolute(path: str) -> str:
    """Return a local path as an absolute path with `~` expanded, a remote path without the slash at its end."""
    return os.path.abspath(os.path.expanduser(path)) if is_local(path) else path.rstrip("/")


def open_raw(path: str) -> BinaryIO:
    """Open a file for reading, without decompression."""
    return open(path, "rb") if is_local(path) else remote.open_raw(path)


def read_bytes(path: str) -> bytes:
    """Return the content of a file."""
    with open_raw(path) as file:
        return file.read()


def exists(path: str) -> bool:
    """Return whether there is a file or folder of this name."""
    return os.path.exists(path) if is_local(path) else remote.exists(path)


def is_another_file(path: str, other: str) -> bool:
    """Return whether a file exists at `path` that is not the existing file at `other`."""
    if not exists(path):
        return False
    return not os.path.samefile(path, other) if is_local(path) and is_local(other) else path != other


def stat(path: str) -> File:
    """Return the size and modification time of one file.

    Raises:
        FileNotFoundError: The file does not exist.
    """
    if not is_local(path):
        return File(*remote.stat(path))
    status = os.stat(path)
    return File(path, status.st_size, status.st_mtime_ns // 1_000_000)


def match(pattern: str) -> list[File]:
    """Return the files that match a pattern (`*`, `?`, `[…]`, `**`) or lie in a folder, sorted by path.

    Files in subfolders of a folder are not returned.

    Raises:
        OSError: The folder cannot be listed.
    """
    if not is_local(pattern):
        return [File(*description) for description in remote.match(pattern)]
    pattern = absolute(pattern)
    if os.path.isdir(pattern):
        os.listdir(pattern)  # raises an error with the reason; glob returns an empty list instead
        pattern = os.path.join(glob.escape(pattern), "*")
    paths = [pattern] if os.path.isfile(pattern) else expand(pattern)[0]
    return [stat(path) for path in paths if os.path.isfile(path)]


def list_names(folder: str, prefix: str = "") -> list[str]:
    """Return the names of the files directly in a folder that begin with a prefix, unsorted.

    The list is empty if the folder does not exist. Hidden files, such as those of a file manager, are left out.
    """
    if not is_local(folder):
        return remote.list_names(folder, prefix)
    try:
        with os.scandir(folder) as entries:
            return [
                entry.name
                for entry in entries
                if entry.name.startswith(prefix) and not entry.name.startswith(".") and entry.is_file()
            ]
    except (FileNotFoundError, NotADirectoryError):
        return []


def list_folders(folder: str) -> list[str]:
    """Return the names of the folders directly in a folder, sorted; an empty list if the folder does not exist."""
    if not is_local(folder):
        return remote.list_folders(folder)
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.name for entry in entries if entry.is_dir())
    except (FileNotFoundError, NotADirectoryError):
        return []


def remove(path: str) -> None:
    """Remove a file. A file that does not exist is no error."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path) if is_local(path) else remote.remove(path)


def remove_folder(path: str) -> None:
    """Remove an empty local folder; object stores have no folders."""
    if is_local(path):
        with contextlib.suppress(OSError):
            os.rmdir(path)


def commit(
    path: str, content: bytes | pa.Buffer, temporary_folder: str, sync: bool = True, replace: bool = True
) -> None:
    """Write a file atomically and replace an existing file of the same name. A missing folder is created.

    Args:
        sync: Wait until the content is on a local disk (half a millisecond or more), so that a power failure cannot leave a
            name without its content.
        replace: Whether an existing file of this name may have other content. If not, the existing file may be kept.
    """
    if not is_local(path):
        remote.write(path, bytes(content), temporary_folder, replace)
        return
    for attempt in (1, 2):
        temporary = os.path.join(temporary_folder, f"{uuid.uuid4().hex}.tmp")
        try:
            _write(temporary, content, sync)
            os.replace(temporary, path)
            return
        except FileNotFoundError:
            # A folder is missing: this is the first file in it, or a clean-up removed it because this run looked dead.
            if attempt == 2:
                raise
            os.makedirs(temporary_folder, exist_ok=True)
            os.makedirs(os.path.dirname(path), exist_ok=True)


def commit_new(path: str, content: bytes, temporary_folder: str) -> bool:
    """Write a file unless its name exists, and return whether it was written."""
    if not is_local(path):
        if exists(path):
            return False
        remote.write(path, content, temporary_folder, replace=False)
        return True
    os.makedirs(temporary_folder, exist_ok=True)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    temporary = os.path.join(temporary_folder, f"{uuid.uuid4().hex}.tmp")
    _write(temporary, content, sync=True)
    try:
        os.link(temporary, path)  # unlike a rename, this fails if the name exists
        return True
    except FileExistsError:
        return False
    except FileNotFoundError:  # another run wrote the file, started, and removed the temporary folder
        return not os.path.exists(path) and commit_new(path, content, temporary_folder)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if os.path.exists(path):
            return False
        os.replace(temporary, path)  # the best that a file system without links offers
        return True
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)


def _write(path: str, content: bytes | pa.Buffer, sync: bool) -> None:
    with open(path, "wb") as file:
        file.write(content)
        if sync:  # otherwise a power cut after the rename could leave an empty file
            file.flush()
            os.fsync(file.fileno())

"""Read, list and commit files on any file system Beam knows; local ones without detours.

A commit is atomic: on a local or HDFS-like file system a file is written under another name and renamed; an object store
shows an object only once it is whole, so there it is written in place.
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
from transforms.filesystem.remote import use_options as use_options

if TYPE_CHECKING:
    import pyarrow as pa

# What file systems without hard links answer: many that lie over a network or in user space.
_NO_LINKS = (errno.EPERM, errno.EACCES, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EMLINK)


_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


def is_disk_full(error: Exception) -> bool:
    """Whether an error says that nothing more can be written: going on would fail every unit."""
    return getattr(error, "errno", None) in _DISK_FULL


@dataclasses.dataclass(frozen=True)
class File:
    """Stand for a file that was found: its path, size, and modification time in milliseconds."""

    path: str
    size_bytes: int
    stamp: int

    @property
    def version(self) -> int:
        """What tells this version of the file from others: its time in whole seconds, as tar, scp and zip keep it.

        Where the stamp is a hash of the content, it is that hash.
        """
        return self.stamp if remote.is_stamped_by_content(self.path) else self.stamp // 1000


def is_local(path: str) -> bool:
    return remote.SCHEME.match(path) is None


def join(folder: str, *names: str) -> str:
    return os.path.join(folder, *names) if is_local(folder) else "/".join([folder.rstrip("/"), *names])


def absolute(path: str) -> str:
    """Make a local path absolute, `~` resolved; take the slash off the end of a remote one."""
    return os.path.abspath(os.path.expanduser(path)) if is_local(path) else path.rstrip("/")


def open_raw(path: str) -> BinaryIO:
    """Open a file's own bytes for reading, whatever its name says of compression."""
    return open(path, "rb") if is_local(path) else remote.open_raw(path)


def read_bytes(path: str) -> bytes:
    with open_raw(path) as file:
        return file.read()


def exists(path: str) -> bool:
    return os.path.exists(path) if is_local(path) else remote.exists(path)


def is_another_file(path: str, other: str) -> bool:
    """Whether a file is there at `path` and is not the one at `other`, which is there."""
    if not exists(path):
        return False
    return not os.path.samefile(path, other) if is_local(path) and is_local(other) else path != other


def stat(path: str) -> File:
    """Look one file up.

    Raises:
        FileNotFoundError: it is not there.
    """
    if not is_local(path):
        return File(*remote.stat(path))
    found = os.stat(path)
    return File(path, found.st_size, found.st_mtime_ns // 1_000_000)


def match(pattern: str) -> list[File]:
    """Return the files of a pattern (`*`, `?`, `[…]`, `**`), sorted by path; a folder stands for all files directly in it.

    Raises:
        OSError: it cannot be listed.
    """
    if not is_local(pattern):
        return [File(*found) for found in remote.match(pattern)]
    pattern = absolute(pattern)
    if os.path.isdir(pattern):
        os.listdir(pattern)  # says why where it cannot be listed; glob would only find nothing
        pattern = os.path.join(glob.escape(pattern), "*")
    paths = [pattern] if os.path.isfile(pattern) else sorted(glob.glob(pattern, recursive=True))
    return [stat(path) for path in paths if os.path.isfile(path)]


def list_names(folder: str, prefix: str = "") -> list[str]:
    """Return the names of the files directly in a folder that begin with a prefix, unsorted; none if the folder is missing.

    Hidden files are left out.
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
    """Return the names of the folders directly in a folder, sorted."""
    if not is_local(folder):
        return remote.list_folders(folder)
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.name for entry in entries if entry.is_dir())
    except (FileNotFoundError, NotADirectoryError):
        return []


def remove(path: str) -> None:
    """Remove a file that may be gone already."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path) if is_local(path) else remote.remove(path)


def commit(
    path: str, content: bytes | pa.Buffer, temporary_folder: str, sync: bool = True, replace: bool = True
) -> None:
    """Write a file at once, replacing one of the same name; its folder is made where it is missing.

    Args:
        sync: a name never stands without its content after a power cut, either: a local disk is waited for, half a
            millisecond or more.
        replace: whether a file of that name may hold something else; if not, one that is there may stay.
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
            # A folder is missing: the first file there, or a clean-up that took this run for a dead one.
            if attempt == 2:
                raise
            os.makedirs(temporary_folder, exist_ok=True)
            os.makedirs(os.path.dirname(path), exist_ok=True)


def commit_new(path: str, content: bytes, temporary_folder: str) -> bool:
    """Write a file unless there is one of that name; return whether it was written."""
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
        os.link(temporary, path)  # unlike a rename, it fails where the name is taken
        return True
    except FileExistsError:
        return False
    except FileNotFoundError:  # another run made the file, began, and cleaned up
        return not os.path.exists(path) and commit_new(path, content, temporary_folder)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if os.path.exists(path):
            return False
        os.replace(temporary, path)  # without links the rename must do
        return True
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)


def _write(path: str, content: bytes | pa.Buffer, sync: bool) -> None:
    with open(path, "wb") as file:
        file.write(content)
        if sync:  # or a power cut could leave the name that is given next, and no content
            file.flush()
            os.fsync(file.fileno())

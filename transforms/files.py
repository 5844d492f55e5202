"""Read, list and commit files on any file system Beam knows; local ones without detours.

A commit is atomic: on a local or HDFS-like file system a file is written under another name and renamed; an object store
shows an object only once it is whole, so there it is written in place.
"""

from __future__ import annotations

import dataclasses
import glob
import os
import re
import uuid
from typing import BinaryIO

_OBJECT_STORES = ("gs", "s3", "azfs")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")


@dataclasses.dataclass(frozen=True)
class File:
    """Stand for a file that was found: its path, size, and modification time in milliseconds."""

    path: str
    size_bytes: int
    stamp: int


def is_local(path: str) -> bool:
    return _SCHEME.match(path) is None


def join(folder: str, *names: str) -> str:
    return os.path.join(folder, *names) if is_local(folder) else "/".join([folder.rstrip("/"), *names])


def absolute(path: str) -> str:
    """Make a local path absolute, `~` resolved; take the slash off the end of a remote one."""
    return os.path.abspath(os.path.expanduser(path)) if is_local(path) else path.rstrip("/")


def open_raw(path: str) -> BinaryIO:
    """Open a file's own bytes for reading, whatever its name says of compression."""
    if is_local(path):
        return open(path, "rb")
    return _filesystems().open(path, compression_type="uncompressed")


def read_bytes(path: str) -> bytes:
    with open_raw(path) as file:
        return file.read()


def exists(path: str) -> bool:
    if is_local(path):
        return os.path.exists(path)
    try:
        return _filesystems().exists(path)
    except ValueError as error:  # no file system for the scheme is installed
        raise OSError(str(error)) from None


def stat(path: str) -> File:
    """Look one file up.

    Raises:
        FileNotFoundError: it is not there.
    """
    if is_local(path):
        found = os.stat(path)
        return File(path, found.st_size, found.st_mtime_ns // 1_000_000)
    if not (matched := match(path)):
        raise FileNotFoundError(f"{path} is gone")
    return matched[0]


def match(pattern: str) -> list[File]:
    """Return the files of a pattern (`*`, `?`, `[…]`, `**`), sorted by path; a folder stands for all files directly in it.

    Raises:
        OSError: it cannot be listed.
    """
    if is_local(pattern):
        pattern = absolute(pattern)
        if os.path.isdir(pattern):
            os.listdir(pattern)  # says why where it cannot be listed; glob would only find nothing
            pattern = os.path.join(glob.escape(pattern), "*")
        paths = [pattern] if os.path.isfile(pattern) else sorted(glob.glob(pattern, recursive=True))
        return [stat(path) for path in paths if os.path.isfile(path)]
    found = [] if pattern.endswith("/") else _match_remote(pattern)
    if not found and not re.search(r"[*?\[]", pattern):
        found = _match_remote(join(pattern, "*"))
    return sorted(
        (File(f.path, f.size_in_bytes, round((f.last_updated_in_seconds or 0) * 1000)) for f in found), key=_path
    )


def list_names(folder: str) -> list[str]:
    """Return the names of the files directly in a folder, unsorted; none where there is no such folder.

    Hidden ones (a file manager's) are left out.
    """
    if is_local(folder):
        try:
            with os.scandir(folder) as entries:
                return [entry.name for entry in entries if entry.is_file() and not entry.name.startswith(".")]
        except (FileNotFoundError, NotADirectoryError):
            return []
    return [file.path.rsplit("/", 1)[1] for file in _match_remote(join(folder, "*"))]


def list_folders(folder: str) -> list[str]:
    """Return the names of the folders directly in a folder, sorted."""
    if is_local(folder):
        try:
            with os.scandir(folder) as entries:
                return sorted(entry.name for entry in entries if entry.is_dir())
        except (FileNotFoundError, NotADirectoryError):
            return []
    prefix = folder.rstrip("/") + "/"
    found = _match_remote(prefix + "**")
    return sorted({rest.split("/", 1)[0] for f in found if "/" in (rest := f.path[len(prefix) :])})


def commit(path: str, content: bytes, temporary_folder: str) -> None:
    """Write a file at once, replacing one of the same name; its folder is made where it is missing."""
    if not is_local(path):
        _commit_remote(path, content, temporary_folder)
        return
    for attempt in (1, 2):
        temporary = os.path.join(temporary_folder, f"{uuid.uuid4().hex}.tmp")
        try:
            with open(temporary, "wb") as file:
                file.write(content)
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
        _commit_remote(path, content, temporary_folder)
        return True
    os.makedirs(temporary_folder, exist_ok=True)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    temporary = os.path.join(temporary_folder, f"{uuid.uuid4().hex}.tmp")
    with open(temporary, "wb") as file:
        file.write(content)
    try:
        os.link(temporary, path)  # unlike a rename, it fails where the name is taken
        return True
    except FileExistsError:
        return False
    except FileNotFoundError:  # another run made the file, began, and cleaned up
        return not os.path.exists(path) and commit_new(path, content, temporary_folder)
    except PermissionError:  # a file system without links: there the rename must do
        if os.path.exists(path):
            return False
        os.replace(temporary, path)
        return True
    finally:
        if os.path.exists(temporary):
            os.unlink(temporary)


def _commit_remote(path: str, content: bytes, temporary_folder: str) -> None:
    in_place = _SCHEME.match(path)[1] in _OBJECT_STORES
    target = path if in_place else join(temporary_folder, f"{uuid.uuid4().hex}.tmp")
    if not in_place:
        for folder in (temporary_folder, path.rpartition("/")[0]):
            if not exists(folder):
                _filesystems().mkdirs(folder)
    with _filesystems().create(target, compression_type="uncompressed") as file:
        file.write(content)
    if not in_place:
        if exists(path):  # HDFS renames onto nothing; the content of a block is the same whoever wrote it
            _filesystems().delete([path])
        _filesystems().rename([target], [path])


def _match_remote(pattern: str) -> list:
    from apache_beam.io.filesystem import BeamIOError

    try:
        return _filesystems().match([pattern])[0].metadata_list
    except (BeamIOError, ValueError) as error:  # ValueError: no file system for the scheme is installed
        raise OSError(f"cannot list {pattern}: {error}") from error


def _filesystems():
    from apache_beam.io.filesystems import FileSystems  # a second to import: only where a path is not local

    return FileSystems


def _path(file: File) -> str:
    return file.path

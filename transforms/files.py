"""Read, list and commit files on any file system Beam knows; local ones without detours.

A commit is atomic: on a local or HDFS-like file system a file is written under another name and renamed; an object store
shows an object only once it is whole, so there it is written in place.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import functools
import glob
import os
import re
import uuid
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from apache_beam.io.filesystem import FileMetadata
    from apache_beam.options.pipeline_options import PipelineOptions

# What file systems without hard links answer: many that lie over a network or in user space.
_NO_LINKS = (errno.EPERM, errno.EACCES, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EMLINK)
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")


@dataclasses.dataclass(frozen=True)
class File:
    """Stand for a file that was found: its path, size, and modification time in milliseconds."""

    path: str
    size_bytes: int
    stamp: int


def is_local(path: str) -> bool:
    return _SCHEME.match(path) is None


def use_options(options: PipelineOptions) -> None:
    """Give Beam's file systems their options (an endpoint, a host, keys); a pipeline would, but files are looked at before."""
    _filesystems().set_options(options)


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
    from apache_beam.io.filesystem import BeamIOError

    try:
        return _file(_filesystems().get_filesystem(path).metadata(path))  # match would take it for a pattern
    except BeamIOError as error:
        if exists(path):
            raise OSError(f"cannot look {path} up: {error}") from error
        raise FileNotFoundError(f"{path} is gone") from None


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
    if "[" in pattern and exists(pattern):  # a name, not a pattern
        return [stat(pattern)]
    found = [] if pattern.endswith("/") else [part for part in _match_remote(pattern) if not _is_folder(part)]
    if not found and not re.search(r"[*?\[]", pattern):
        found = [part for part in _match_remote(join(pattern, "*")) if not _is_folder(part)]
    return sorted(map(_file, found), key=_path)


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
    return [part.path.rsplit("/", 1)[1] for part in _match_remote(join(folder, "*")) if not _is_folder(part)]


def list_folders(folder: str) -> list[str]:
    """Return the names of the folders directly in a folder, sorted."""
    if is_local(folder):
        try:
            with os.scandir(folder) as entries:
                return sorted(entry.name for entry in entries if entry.is_dir())
        except (FileNotFoundError, NotADirectoryError):
            return []
    prefix = folder.rstrip("/") + "/"
    if _has_folders(prefix):  # listings are of one level, folders among them
        found = [part.path for part in _match_remote(prefix + "*") if _is_folder(part)]
        return sorted(path.rstrip("/").rsplit("/", 1)[1] for path in found)
    found = _match_remote(prefix + "**")
    return sorted({rest.split("/", 1)[0] for f in found if "/" in (rest := f.path[len(prefix) :])})


def commit(path: str, content: bytes, temporary_folder: str, sync: bool = True) -> None:
    """Write a file at once, replacing one of the same name; its folder is made where it is missing.

    With `sync`, a name never stands without its content after a power cut, either: a local disk is waited for, half a
    millisecond or more.
    """
    if not is_local(path):
        _commit_remote(path, content, temporary_folder)
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
        _commit_remote(path, content, temporary_folder)
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


def _write(path: str, content: bytes, sync: bool) -> None:
    with open(path, "wb") as file:
        file.write(content)
        if sync:  # or a power cut could leave the name that is given next, and no content
            file.flush()
            os.fsync(file.fileno())


def _commit_remote(path: str, content: bytes, temporary_folder: str) -> None:
    in_place = not _has_folders(path)
    target = path if in_place else join(temporary_folder, f"{uuid.uuid4().hex}.tmp")
    if not in_place:
        for folder in (temporary_folder, path.rpartition("/")[0]):
            if not exists(folder):
                _make_folder(folder)
    with _filesystems().create(target, compression_type="uncompressed") as file:
        file.write(content)
    if not in_place:
        if exists(path):  # HDFS renames onto nothing; the content of a block is the same whoever wrote it
            _filesystems().delete([path])
        _filesystems().rename([target], [path])


def _make_folder(folder: str) -> None:
    try:
        _filesystems().mkdirs(folder)
    except OSError:  # Beam's own errors are among these
        if not exists(folder):  # another worker may have made it meanwhile
            raise


def _match_remote(pattern: str) -> list[FileMetadata]:
    from apache_beam.io.filesystem import BeamIOError

    try:
        return _filesystems().match([pattern])[0].metadata_list
    except (BeamIOError, ValueError) as error:  # ValueError: no file system for the scheme is installed
        folder = re.split(r"[*?\[]", pattern, maxsplit=1)[0].rpartition("/")[0]
        if isinstance(error, BeamIOError) and _has_folders(pattern) and not exists(folder):
            return []
        raise OSError(f"cannot list {pattern}: {error}") from error


def _has_folders(path: str) -> bool:
    """Whether a remote file system has folders and renames; an object store has neither."""
    return _scheme_has_folders(_SCHEME.match(path)[1])


@functools.cache  # asked for every file of a listing, where a file system would be made each time
def _scheme_has_folders(scheme: str) -> bool:
    return _filesystems().get_filesystem(f"{scheme}://").has_dirs()


def _is_folder(found: FileMetadata) -> bool:
    """Whether what a listing gave is a folder: it has no size, and can be listed itself."""
    if found.size_in_bytes or not _has_folders(found.path):
        return False
    try:
        _match_remote(found.path.rstrip("/") + "/*")
    except OSError:
        return False
    return True


def _file(found: FileMetadata) -> File:
    seconds = found.last_updated_in_seconds or 0
    if not _has_folders(found.path):
        seconds = int(seconds)  # some object stores tell milliseconds in a listing, and whole seconds of one object
    return File(found.path, found.size_in_bytes, round(seconds * 1000))


def _filesystems():
    from apache_beam.io.filesystems import FileSystems  # a second to import: only where a path is not local

    return FileSystems


def _path(file: File) -> str:
    return file.path

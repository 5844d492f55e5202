"""Files on file systems that are not this machine's, through Beam's: any that Beam knows by a path's scheme.

What goes wrong is an OSError, as it is with local files; Beam lets through what each cloud's own library raises.
"""

from __future__ import annotations

import base64
import functools
import io
import re
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, BinaryIO

from transforms.filesystem.remote_errors import READ_BYTES, NoFileSystem, Reader, as_os_errors
from transforms.filesystem.shared_s3 import with_one_client

if TYPE_CHECKING:
    from apache_beam.io.filesystem import FileMetadata, FileSystem
    from apache_beam.options.pipeline_options import PipelineOptions

SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")
# Where the time that is told is that of the description, which a rule that moves old files to cheaper disks changes as
# well: there a hash of the content stands for it, which the file system keeps.
STAMPED_BY_CONTENT = {"gs"}
_LOOKUPS = 16  # at once
_WRITE_AGAIN = 2
_WAIT_SECONDS = 1.0


def use_options(options: PipelineOptions | None) -> None:
    """Give Beam's file systems their options (an endpoint, a host, keys); a pipeline would, but files are looked at before."""
    from apache_beam.io.filesystems import FileSystems

    FileSystems.set_options(options)


def is_stamped_by_content(path: str) -> bool:
    """Whether the stamp of a file is a hash of its content, not a time."""
    return (scheme := SCHEME.match(path)) is not None and scheme[1] in STAMPED_BY_CONTENT


def open_raw(path: str) -> BinaryIO:
    """Open a file's own bytes for reading.

    Raises:
        OSError: it cannot be read, FileNotFoundError where it is not there; reading raises the same.
    """
    with as_os_errors(path):
        file = _system(path).open(path, compression_type="uncompressed")
        raw = file.detach() if isinstance(file, io.BufferedReader) else file
        return io.BufferedReader(Reader(path, raw), READ_BYTES)


def exists(path: str) -> bool:
    with as_os_errors(path):
        return _system(path).exists(path)


def stat(path: str) -> tuple[str, int, int]:
    """Look one file up: its path, size in bytes, and stamp, a time in milliseconds or a number that is of its content.

    Raises:
        FileNotFoundError: it is not there.
    """
    try:
        with as_os_errors(path):
            return _described(_system(path).metadata(path))  # match would take it for a pattern
    except OSError as error:
        if exists(path):
            raise
        raise FileNotFoundError(f"{path} is gone") from error


def match(pattern: str) -> list[tuple[str, int, int]]:
    """Return the files of a pattern as `stat` does, sorted by path; a folder stands for all files directly in it."""
    if "[" in pattern and exists(pattern):  # a name, not a pattern
        return [stat(pattern)]
    found = [] if pattern.endswith("/") else _files(pattern)
    if not found and not re.search(r"[*?\[]", pattern):
        found = _files(pattern.rstrip("/") + "/*")
    if not found or not is_stamped_by_content(pattern):
        return sorted(map(_described, found))
    with ThreadPoolExecutor(_LOOKUPS) as pool:  # each is a request
        return sorted(pool.map(_described, found))


def list_names(folder: str, prefix: str = "") -> list[str]:
    """Return the names of the files directly in a folder that begin with a prefix, unsorted; none if the folder is missing."""
    return [part.path.rsplit("/", 1)[1] for part in _files(f"{folder.rstrip('/')}/{prefix}*")]


def list_folders(folder: str) -> list[str]:
    """Return the names of the folders directly in a folder, sorted."""
    prefix = folder.rstrip("/") + "/"
    if has_folders(prefix):  # listings are of one level, folders among them
        found = [part.path for part in _listed(prefix + "*") if _is_folder(part)]
        return sorted(path.rstrip("/").rsplit("/", 1)[1] for path in found)
    found = _listed(prefix + "**")
    return sorted({rest.split("/", 1)[0] for f in found if "/" in (rest := f.path[len(prefix) :])})


def write(path: str, content: bytes, temporary_folder: str, replace: bool) -> None:
    """Write a file at once; it is tried again where the file system fails for a while.

    Args:
        replace: whether a file of that name may hold something else. It does not matter on object stores, which
            replace at once; on one with folders the name is gone for a moment.
    """
    if not has_folders(path):
        _repeated(_create)(path, content)
        return
    for folder in (temporary_folder, path.rpartition("/")[0]):
        if not exists(folder):
            _make_folder(folder)
    temporary = _repeated(_create_temporary)(temporary_folder, content)
    if replace and exists(path):  # HDFS renames onto nothing
        remove(path)
    try:
        with as_os_errors(path):
            _system(path).rename([temporary], [path])
    except OSError:
        if replace or not exists(path):
            raise
        remove(temporary)  # another worker was first, with the same content


def remove(path: str) -> None:
    with as_os_errors(path):
        _system(path).delete([path])


def has_folders(path: str) -> bool:
    """Whether a file system has folders and renames; an object store has neither."""
    return _scheme_has_folders(SCHEME.match(path)[1])


@functools.cache  # asked for every file of a listing, where a file system would be made each time
def _scheme_has_folders(scheme: str) -> bool:
    with as_os_errors(f"{scheme}://"):
        return _system(f"{scheme}://").has_dirs()


def _create(path: str, content: bytes) -> None:
    with as_os_errors(path), _system(path).create(path, compression_type="uncompressed") as file:
        file.write(content)


def _create_temporary(folder: str, content: bytes) -> str:
    """Write a file under a name of its own, as one that broke off may be left; returns its path."""
    path = f"{folder}/{uuid.uuid4().hex}.tmp"
    _create(path, content)
    return path


def _repeated(write: Callable) -> Callable:
    """Return a function that calls `write`, and calls it again where it failed for a reason that may pass."""
    from apache_beam.utils import retry

    def may_pass(error: Exception) -> bool:
        return isinstance(error, OSError) and not isinstance(error, (FileNotFoundError, PermissionError))

    return retry.with_exponential_backoff(
        num_retries=_WRITE_AGAIN, initial_delay_secs=_WAIT_SECONDS, factor=4, retry_filter=may_pass
    )(write)


def _make_folder(folder: str) -> None:
    try:
        with as_os_errors(folder):
            _system(folder).mkdirs(folder)
    except OSError:
        if not exists(folder):  # another worker may have made it meanwhile
            raise


def _files(pattern: str) -> list[FileMetadata]:
    """List files: neither folders nor the empty objects named `…/` that show folders in a cloud's console."""
    return [part for part in _listed(pattern) if not part.path.endswith("/") and not _is_folder(part)]


def _listed(pattern: str) -> list[FileMetadata]:
    try:
        with as_os_errors(pattern):
            return _system(pattern).match([pattern])[0].metadata_list
    except OSError as error:
        folder = re.split(r"[*?\[]", pattern, maxsplit=1)[0].rpartition("/")[0]
        if not isinstance(error, NoFileSystem) and has_folders(pattern) and not exists(folder):
            return []
        raise OSError(f"cannot list {pattern}: {error}") from error


def _is_folder(found: FileMetadata) -> bool:
    """Whether what a listing gave is a folder: it has no size, and can be listed itself."""
    if found.size_in_bytes or not has_folders(found.path):
        return False
    try:
        _listed(found.path.rstrip("/") + "/*")
    except OSError:
        return False
    return True


def _described(found: FileMetadata) -> tuple[str, int, int]:
    if is_stamped_by_content(found.path):
        with as_os_errors(found.path):
            stamp = int.from_bytes(base64.b64decode(_system(found.path).checksum(found.path)), "big")
        return found.path, found.size_in_bytes, stamp
    seconds = found.last_updated_in_seconds or 0
    if not has_folders(found.path):
        seconds = int(seconds)  # some object stores tell milliseconds in a listing, and whole seconds of one object
    return found.path, found.size_in_bytes, round(seconds * 1000)


def _system(path: str) -> FileSystem:
    from apache_beam.io.filesystem import BeamIOError
    from apache_beam.io.filesystems import FileSystems

    try:
        return with_one_client(FileSystems.get_filesystem(path))
    except BeamIOError:
        raise
    except ValueError as error:
        raise NoFileSystem(str(error)) from None

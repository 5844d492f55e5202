"""Read, list and write files on remote file systems through Beam, which selects one by the scheme of a path.

All functions raise OSError, as local files do. Beam itself passes on the exceptions of each cloud's library.
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

from transforms.filesystem.remote_errors import READ_BYTES, NoFileSystemError, Reader, as_os_errors
from transforms.filesystem.shared_s3 import with_one_client

if TYPE_CHECKING:
    from apache_beam.io.filesystem import FileMetadata, FileSystem
    from apache_beam.options.pipeline_options import PipelineOptions

SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")
# These file systems return the time of a change of the metadata, and a rule that moves old files to cheaper storage
# changes it. The stamp of a file is instead the hash of its content, which the file system stores.
STAMPED_BY_CONTENT = {"gs"}
_LOOKUP_THREADS = 16
_WRITE_RETRIES = 2
_RETRY_WAIT_SECONDS = 1.0


def use_options(options: PipelineOptions | None) -> None:
    """Set the options of Beam's file systems (endpoint, host, keys), which are used before there is a pipeline."""
    from apache_beam.io.filesystems import FileSystems

    FileSystems.set_options(options)


def is_stamped_by_content(path: str) -> bool:
    """Whether the stamp of a file is a hash of its content, not a time."""
    return (scheme := SCHEME.match(path)) is not None and scheme[1] in STAMPED_BY_CONTENT


def open_raw(path: str) -> BinaryIO:
    """Open a file for reading, without decompression.

    Raises:
        FileNotFoundError: The file does not exist.
        OSError: The file cannot be read. Reading from the returned file raises the same errors.
    """
    with as_os_errors(path):
        file = _system(path).open(path, compression_type="uncompressed")
        raw = file.detach() if isinstance(file, io.BufferedReader) else file
        return io.BufferedReader(Reader(path, raw), READ_BYTES)


def exists(path: str) -> bool:
    """Return whether there is a file or folder of this name."""
    with as_os_errors(path):
        return _system(path).exists(path)


def stat(path: str) -> tuple[str, int, int]:
    """Return one file's path, size in bytes, and stamp: its time in milliseconds, or a number computed from its content.

    Raises:
        FileNotFoundError: The file does not exist.
    """
    try:
        with as_os_errors(path):
            return _described(_system(path).metadata(path))  # `match` interprets the path as a pattern
    except OSError as error:
        if exists(path):
            raise
        raise FileNotFoundError(f"{path} is gone") from error


def match(pattern: str) -> list[tuple[str, int, int]]:
    """Return the files that match a pattern as `stat` does, sorted by path. A folder means the files in it."""
    if "[" in pattern and exists(pattern):  # a name, not a pattern
        return [stat(pattern)]
    listing = [] if pattern.endswith("/") else _files(pattern)
    if not listing and not re.search(r"[*?\[]", pattern):
        listing = _files(pattern.rstrip("/") + "/*")
    if not listing or not is_stamped_by_content(pattern):
        return sorted(map(_described, listing))
    with ThreadPoolExecutor(_LOOKUP_THREADS) as pool:  # one request per file
        return sorted(pool.map(_described, listing))


def list_names(folder: str, prefix: str = "") -> list[str]:
    """Return the names of the files directly in a folder that begin with a prefix, unsorted; empty if there is no folder."""
    return [part.path.rsplit("/", 1)[1] for part in _files(f"{folder.rstrip('/')}/{prefix}*")]


def list_folders(folder: str) -> list[str]:
    """Return the names of the folders directly in a folder, sorted; an empty list if the folder does not exist."""
    prefix = folder.rstrip("/") + "/"
    if has_folders(prefix):  # a listing is of one level and contains folders
        folders = [entry.path for entry in _listed(prefix + "*") if _is_folder(entry)]
        return sorted(path.rstrip("/").rsplit("/", 1)[1] for path in folders)
    rests = [entry.path[len(prefix) :] for entry in _listed(prefix + "**")]
    return sorted({rest.split("/", 1)[0] for rest in rests if "/" in rest})


def write(path: str, content: bytes, temporary_folder: str, replace: bool) -> None:
    """Write a file atomically, with retries.

    Args:
        replace: Whether an existing file of this name may have other content. Object stores replace a file atomically.
            On a file system with folders, the name does not exist for a moment.
    """
    if not has_folders(path):
        _with_retries(_create)(path, content)
        return
    for folder in (temporary_folder, path.rpartition("/")[0]):
        if not exists(folder):
            _make_folder(folder)
    temporary = _with_retries(_create_temporary)(temporary_folder, content)
    if replace and exists(path):  # HDFS does not rename to an existing name
        remove(path)
    try:
        with as_os_errors(path):
            _system(path).rename([temporary], [path])
    except OSError:
        if replace or not exists(path):
            raise
        remove(temporary)  # another worker wrote the same content first


def remove(path: str) -> None:
    """Remove a file."""
    with as_os_errors(path):
        _system(path).delete([path])


def has_folders(path: str) -> bool:
    """Return whether a file system has folders and renames. An object store has neither."""
    return _scheme_has_folders(path.partition("://")[0])


@functools.cache  # called for each file of a listing, and creates a file system
def _scheme_has_folders(scheme: str) -> bool:
    with as_os_errors(f"{scheme}://"):
        return _system(f"{scheme}://").has_dirs()


def _create(path: str, content: bytes) -> None:
    with as_os_errors(path), _system(path).create(path, compression_type="uncompressed") as file:
        file.write(content)


def _create_temporary(folder: str, content: bytes) -> str:
    """Write a file under a new name, since a failed attempt can leave a file behind, and return its path."""
    path = f"{folder}/{uuid.uuid4().hex}.tmp"
    _create(path, content)
    return path


def _with_retries(write: Callable) -> Callable:
    """Return a function that calls `write` and retries after errors that may be temporary."""
    from apache_beam.utils import retry

    def is_temporary(error: Exception) -> bool:
        return isinstance(error, OSError) and not isinstance(error, (FileNotFoundError, PermissionError))

    return retry.with_exponential_backoff(
        num_retries=_WRITE_RETRIES, initial_delay_secs=_RETRY_WAIT_SECONDS, factor=4, retry_filter=is_temporary
    )(write)


def _make_folder(folder: str) -> None:
    try:
        with as_os_errors(folder):
            _system(folder).mkdirs(folder)
    except OSError:
        if not exists(folder):  # another worker may have created it
            raise


def _files(pattern: str) -> list[FileMetadata]:
    """List files, without folders and without the empty objects named `…/` that a cloud's console shows as folders."""
    return [entry for entry in _listed(pattern) if not entry.path.endswith("/") and not _is_folder(entry)]


def _listed(pattern: str) -> list[FileMetadata]:
    try:
        with as_os_errors(pattern):
            return _system(pattern).match([pattern])[0].metadata_list
    except OSError as error:
        folder = re.split(r"[*?\[]", pattern, maxsplit=1)[0].rpartition("/")[0]
        if not isinstance(error, NoFileSystemError) and has_folders(pattern) and not exists(folder):
            return []
        raise OSError(f"cannot list {pattern}: {error}") from error


def _is_folder(entry: FileMetadata) -> bool:
    """Return whether an entry of a listing is a folder: its size is 0, and it can be listed."""
    if entry.size_in_bytes or not has_folders(entry.path):
        return False
    try:
        _listed(entry.path.rstrip("/") + "/*")
    except OSError:
        return False
    return True


def _described(entry: FileMetadata) -> tuple[str, int, int]:
    if is_stamped_by_content(entry.path):
        with as_os_errors(entry.path):
            stamp = int.from_bytes(base64.b64decode(_system(entry.path).checksum(entry.path)), "big")
        return entry.path, entry.size_in_bytes, stamp
    seconds = entry.last_updated_in_seconds or 0
    if not has_folders(entry.path):
        seconds = int(seconds)  # some object stores return milliseconds in a listing, and seconds for one object
    return entry.path, entry.size_in_bytes, round(seconds * 1000)


def _system(path: str) -> FileSystem:
    from apache_beam.io.filesystem import BeamIOError
    from apache_beam.io.filesystems import FileSystems

    try:
        return with_one_client(FileSystems.get_filesystem(path))
    except BeamIOError:
        raise
    except ValueError as error:
        raise NoFileSystemError(str(error)) from None

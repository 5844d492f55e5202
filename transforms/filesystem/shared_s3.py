"""Let all files on S3 share one client: Beam makes one for every call, which takes a fifth of a second of processor time."""

from __future__ import annotations

import copy
import functools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from apache_beam.io.filesystem import FileMetadata, FileSystem


def with_one_client(system: FileSystem) -> FileSystem:
    """Return Beam's file system for S3 as one that shares a client with all others of this process; others as they are."""
    if system.scheme() != "s3" or system._options is None:  # without options Beam says what is missing
        return system
    return _shared_class()(system._options)


@functools.cache
def _shared_class() -> type[FileSystem]:
    from apache_beam.io.aws import s3io
    from apache_beam.io.aws.s3filesystem import S3FileSystem
    from apache_beam.io.filesystem import BeamIOError, FileMetadata

    class SharedS3(S3FileSystem):
        @classmethod
        def scheme(cls) -> str:
            return "s3-shared"  # Beam looks through all subclasses for a path's scheme, and wants one

        def _io(self) -> s3io.S3IO:
            # The wrapper remembers the one download it is in; what is dear is the client in it, which threads may share.
            return s3io.S3IO(client=copy.copy(_client(_Options(self._options))))

        def _list(self, dir_or_prefix: str) -> Iterator[FileMetadata]:
            try:
                for path, (size, updated) in self._io().list_files(dir_or_prefix, with_metadata=True):
                    yield FileMetadata(path, size, updated)
            except Exception as error:
                raise BeamIOError("List operation failed", {dir_or_prefix: error}) from error

        def _path_open(self, path, mode, mime_type="application/octet-stream", compression_type="uncompressed"):
            return self._io().open(path, mode, mime_type=mime_type)

        def exists(self, path: str) -> bool:
            return self._io().exists(path)

        def metadata(self, path: str) -> FileMetadata:
            found = self._io()._status(path)
            return FileMetadata(path, found["size"], found["last_updated"])

    return SharedS3


class _Options:
    """Hold Beam's options, or the dict that workers have, equal to itself alone: to read them takes milliseconds."""

    def __init__(self, options: Any) -> None:
        self.options = options

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Options) and self.options is other.options

    def __hash__(self) -> int:
        return id(self.options)


@functools.cache
def _client(options: _Options) -> Any:
    from apache_beam.io.aws.clients.s3 import boto3_client

    return boto3_client.Client(options=options.options)

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
    return system if system.scheme() != "s3" else _shared_class()(system._options)


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
            return s3io.S3IO(client=copy.copy(_client(_s3_options(self._options))))

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


def _s3_options(options: Any) -> frozenset[tuple[str, Any]]:
    """Take what is S3's of Beam's options, or of the dict that workers have."""
    given = options if isinstance(options, dict) else options.get_all_options()
    return frozenset((name, value) for name, value in given.items() if name.startswith("s3_"))


@functools.cache
def _client(options: frozenset[tuple[str, Any]]) -> Any:
    from apache_beam.io.aws.clients.s3 import boto3_client

    return boto3_client.Client(options=dict(options))

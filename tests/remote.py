"""File systems for Beam over a local folder: as object stores are, as HDFS is, as a cloud that fails. All refuse to work
without options, as Beam's own for S3, Azure and HDFS do."""

from __future__ import annotations

import base64
import io
import os
import shutil
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from apache_beam.io.filesystem import BeamIOError, FileMetadata, FileSystem
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.options.value_provider import RuntimeValueProvider


class Options(PipelineOptions):
    """Say where the files lie: `--remote_root DIR`."""

    @classmethod
    def _add_argparse_args(cls, parser) -> None:
        parser.add_argument("--remote_root")


def forget_options() -> None:
    """Bring Beam's file systems back to where they are in a new process."""
    FileSystems.set_options(None)
    RuntimeValueProvider.runtime_options = None  # of a pipeline that has run


class _Remote(FileSystem):
    @classmethod
    def scheme(cls) -> str:  # Beam asks every subclass
        return "neither"

    def __init__(self, pipeline_options: PipelineOptions | None) -> None:
        if pipeline_options is None:
            raise ValueError("pipeline_options is not set")
        super().__init__(pipeline_options)
        self._root = Path(pipeline_options.view_as(Options).remote_root)

    def _local(self, path: str) -> Path:
        return self._root / path.removeprefix(f"{self.scheme()}://")

    def _metadata(self, local: Path) -> FileMetadata:
        found = local.stat()
        path = f"{self.scheme()}://{local.relative_to(self._root)}"
        return FileMetadata(path, 0 if local.is_dir() else found.st_size, found.st_mtime)

    def join(self, basepath: str, *paths: str) -> str:
        return "/".join([basepath.rstrip("/"), *paths])

    def split(self, path: str) -> tuple[str, str]:
        return tuple(path.rsplit("/", 1))

    def open(self, path, mime_type="application/octet-stream", compression_type="auto"):
        return self._local(path).open("rb")

    def exists(self, path: str) -> bool:
        return self._local(path).exists()

    def size(self, path: str) -> int:
        return self.metadata(path).size_in_bytes

    def last_updated(self, path: str) -> float:
        return self.metadata(path).last_updated_in_seconds

    def checksum(self, path: str) -> str:
        return base64.b64encode(zlib.crc32(self._local(path).read_bytes()).to_bytes(4, "big")).decode()

    def metadata(self, path: str) -> FileMetadata:
        if not self._local(path).is_file():
            raise BeamIOError(f"no file {path}")
        return self._metadata(self._local(path))

    def copy(self, source_file_names, destination_file_names) -> None:
        raise NotImplementedError

    def delete(self, paths) -> None:
        for path in paths:
            local = self._local(path)
            shutil.rmtree(local) if local.is_dir() else local.unlink()


class Objects(_Remote):
    """Keep objects: no folders, none to make, none to rename; a listing goes down to the leaves."""

    @classmethod
    def scheme(cls) -> str:
        return "objects"

    def has_dirs(self) -> bool:
        return False

    def exists(self, path: str) -> bool:
        return self._local(path).is_file()

    def metadata(self, path: str) -> FileMetadata:
        found = super().metadata(
            path
        )  # in whole seconds, while a listing tells more: so do stores that speak S3's protocol
        return FileMetadata(path, found.size_in_bytes, int(found.last_updated_in_seconds))

    def mkdirs(self, path: str) -> None:
        raise AssertionError("an object store has no folders to make")

    def rename(self, source_file_names, destination_file_names) -> None:
        raise AssertionError("an object store copies where it renames")

    def create(self, path, mime_type="application/octet-stream", compression_type="auto"):
        self._local(path).parent.mkdir(parents=True, exist_ok=True)
        return self._local(path).open("wb")

    def _list(self, dir_or_prefix: str) -> Iterator[FileMetadata]:
        for folder, _, names in os.walk(self._root):
            for name in names:
                found = self._metadata(Path(folder, name))
                if found.path.startswith(dir_or_prefix):
                    yield found


class Folders(_Remote):
    """Keep folders as HDFS does: a listing is one folder's, which must be there; nothing is renamed onto another."""

    @classmethod
    def scheme(cls) -> str:
        return "folders"

    def has_dirs(self) -> bool:
        return True

    def mkdirs(self, path: str) -> None:
        if self._local(path).exists():
            raise BeamIOError(f"Path already exists: {path}")
        self._local(path).mkdir(parents=True)

    def rename(self, source_file_names, destination_file_names) -> None:
        for source, destination in zip(source_file_names, destination_file_names):
            if self._local(destination).exists():
                raise BeamIOError(f"{destination} exists")
            self._local(source).rename(self._local(destination))

    def create(self, path, mime_type="application/octet-stream", compression_type="auto"):
        return self._local(path).open("xb")

    def _list(self, dir_or_prefix: str) -> Iterator[FileMetadata]:
        local = self._local(dir_or_prefix)
        if not local.is_dir():
            raise BeamIOError("List operation failed", {dir_or_prefix: FileNotFoundError()})
        yield from (self._metadata(entry) for entry in local.iterdir())


class CloudError(Exception):
    """Fail as clouds' own libraries do: no OSError, with the status of HTTP."""

    def __init__(self, code: int) -> None:
        super().__init__(f"status {code}")
        self.code = code


class Cloud(Objects):
    """Keep objects, and fail as a cloud does: `failing` says with which status, and how often before it works again."""

    failing: ClassVar[dict[str, list[int]]] = {}

    @classmethod
    def scheme(cls) -> str:
        return "cloud"

    def _fail(self, what: str) -> None:
        if self.failing.get(what):
            raise CloudError(self.failing[what].pop(0))

    def exists(self, path: str) -> bool:
        self._fail("exists")
        return super().exists(path)

    def metadata(self, path: str) -> FileMetadata:
        if not self._local(path).is_file():
            raise BeamIOError("Metadata operation failed", {path: CloudError(404)})
        return super().metadata(path)

    def create(self, path, mime_type="application/octet-stream", compression_type="auto"):
        self._fail("create")
        return super().create(path)

    def open(self, path, mime_type="application/octet-stream", compression_type="auto"):
        self._fail("open")
        if not self._local(path).is_file():
            raise CloudError(404)
        return _Failing(super().open(path), self)


class _Failing(io.BytesIO):
    def __init__(self, file, system: Cloud) -> None:
        with file:
            super().__init__(file.read())
        self._system = system

    def read(self, size: int = -1) -> bytes:
        self._system._fail("read")
        return super().read(size)

"""Write the folder of a model, an encoder or a head, so that a half-written folder is never taken for a model."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path


@dataclasses.dataclass(frozen=True)
class ModelFolder:
    """A kind of folder that holds one model in a few files.

    Attributes:
        what: the kind in words, for messages, such as "a head's folder".
        files: every file that such a folder may have. The last one is the description: without it a folder is no model.
        error: the exception that is raised.
    """

    what: str
    files: tuple[str, ...]
    error: type[Exception]

    def write(self, folder: Path, files: Mapping[str, bytes]) -> None:
        """Write a model's files, by name; replace an existing model, refuse anything else.

        All files are written under temporary names before the first one is renamed, the description last. A full disk
        leaves the folder as it was. A kill between the renames leaves no description if the model is new; if it replaces
        another one, the files no longer match the fingerprint in the description. In each case the same call succeeds
        afterwards. No folder is renamed: it may be a mount point, or its parent may not be writable.

        Raises:
            Exception: `error`: the folder is not free, or cannot be written.
        """
        self.check_free(folder)
        existed = folder.exists()
        temporaries = {name: folder / _temporary(name) for name in self.files if name in files}
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for name, path in temporaries.items():
                with path.open("wb") as file:
                    file.write(files[name])
                    file.flush()
                    os.fsync(file.fileno())
            for name, path in temporaries.items():
                path.replace(folder / name)
            for name in set(self.files) - files.keys():
                (folder / name).unlink(missing_ok=True)  # of the model that was replaced
        except OSError as error:
            for path in temporaries.values():
                with contextlib.suppress(OSError):
                    path.unlink(missing_ok=True)
            if not existed:
                with contextlib.suppress(OSError):  # it is not empty
                    folder.rmdir()
            raise self.error(f"{folder} cannot be written: {error.strerror}") from None

    def check_free(self, folder: Path, overwrite: bool = True) -> None:
        """Check that a model may be written to `folder`: it is absent, empty, or holds a model of this kind.

        A folder with the model's files but without a description is free as well: a killed write left them.

        Args:
            overwrite: whether a model in `folder` may be replaced.

        Raises:
            Exception: `error`: the folder holds something else, is a file, or cannot be written.
        """
        try:
            if folder.exists() and not folder.is_dir():
                raise self.error(f"{folder} is a file and is not {self.what}; choose another path")
            if not overwrite and (folder / self.files[-1]).is_file():
                raise self.error(
                    f"{folder} is {self.what} already; choose another folder, or replace it with --overwrite"
                )
            if folder.is_dir() and not (folder / self.files[-1]).is_file():
                own = {*self.files, *map(_temporary, self.files)}
                if any(path.name not in own for path in folder.iterdir()):
                    raise self.error(f"{folder} holds other files and is not {self.what}; choose another folder")
        except OSError as error:
            raise self.error(f"{folder} cannot be written: {error.strerror}") from None
        check_writable(folder, self.error)


def check_writable(folder: Path, error: type[Exception]) -> None:
    """Check that files can be created in `folder`, or `folder` itself.

    Raises:
        Exception: `error`: `folder` is a file, or it or the parent it would be created in is not writable.
    """
    try:
        if folder.exists() and not folder.is_dir():
            raise error(f"{folder} is a file; choose a folder")
        existing = next(parent for parent in (folder, *folder.resolve().parents) if parent.exists())
    except OSError as failure:
        raise error(f"{folder} cannot be written: {failure.strerror}") from None
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        raise error(f"{folder} cannot be written: {existing} is not a folder that one may write to")


def _temporary(name: str) -> str:
    return f".{name}.tmp"

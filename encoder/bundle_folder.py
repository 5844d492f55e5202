"""Write a bundle's folder so that nothing half written is taken for a bundle."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from encoder.base import EncoderError

DESCRIPTION_FILE = "encoder.json"
PARAMETERS_FILE = "parameters.safetensors"
ADAPTER_FILE = "adapter.safetensors"
# The description comes last: without it a folder is no bundle.
FILES = (PARAMETERS_FILE, ADAPTER_FILE, DESCRIPTION_FILE)


def write(folder: Path, files: dict[str, bytes]) -> None:
    """Write a bundle's files, by name; an existing bundle there is replaced, anything else is refused.

    All of them lie there under other names before the first one gets its own: a full disk leaves the folder as it was, a kill
    while a new bundle gets its names leaves none, and one while a bundle is replaced leaves what reading refuses. In each
    case the same call writes it again.

    Raises:
        EncoderError: the folder is not free, or cannot be written.
    """
    check_free(folder)
    was_there = folder.exists()
    temporaries = {name: folder / _temporary(name) for name in FILES if name in files}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, path in temporaries.items():
            with path.open("wb") as file:
                file.write(files[name])
                file.flush()
                os.fsync(file.fileno())
        for name, path in temporaries.items():
            path.replace(folder / name)
        for name in set(FILES) - files.keys():
            (folder / name).unlink(missing_ok=True)  # of the bundle that was replaced
    except OSError as error:
        for path in temporaries.values():
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
        if not was_there:
            with contextlib.suppress(OSError):  # as it still holds something
                folder.rmdir()
        raise EncoderError(f"{folder} cannot be written: {error.strerror}") from None


def check_free(folder: Path) -> None:
    """Raise EncoderError where `folder` holds something else than a bundle, is a file, or cannot be made.

    A bundle's files without a description are free as well: a killed write left them.
    """
    check_writable(folder)
    try:
        if folder.is_dir() and not (folder / DESCRIPTION_FILE).exists():
            left = {*FILES, *map(_temporary, FILES)}
            if any(path.name not in left for path in folder.iterdir()):
                raise EncoderError(f"{folder} holds other files and no {DESCRIPTION_FILE}; choose an empty folder")
    except OSError as error:
        raise EncoderError(f"{folder} cannot be written: {error.strerror}") from None


def check_writable(folder: Path) -> None:
    """Raise EncoderError where `folder` is a file, may not be written to, or cannot be made."""
    try:
        if folder.exists() and not folder.is_dir():
            raise EncoderError(f"{folder} is a file; choose a folder")
        there = next(parent for parent in (folder, *folder.resolve().parents) if parent.exists())
    except OSError as error:
        raise EncoderError(f"{folder} cannot be written: {error.strerror}") from None
    if not there.is_dir() or not os.access(there, os.W_OK):
        raise EncoderError(f"{folder} cannot be written: {there} is not a folder that one may write to")


def _temporary(name: str) -> str:
    return f".{name}.tmp"

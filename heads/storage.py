"""Reads and writes a head's folder: head.json for people, weights.safetensors for arrays.

Knows files only; what the fields mean is in head.py. Nothing here can run code from a file.
"""

from __future__ import annotations

import json
import os
import shutil
import uuid
from pathlib import Path
from typing import Any

import numpy as np

from heads.errors import HeadError

FORMAT = 1


def write_folder(folder: Path, description: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    """Writes both files beside `folder`, then renames them into place.

    An earlier head there is replaced; any other folder or file there raises HeadError.
    """
    folder = folder.resolve()  # "." has no name of its own
    check_free(folder)
    name = f".{folder.name}.{uuid.uuid4().hex[:8]}.tmp"
    beside = folder.with_name(name)
    fresh = beside if os.access(folder.parent, os.W_OK) or not folder.exists() else folder / name
    try:
        fresh.mkdir(parents=True)
    except OSError as error:
        raise HeadError(f"{folder} cannot be written: {error.strerror}") from None
    try:
        for name, content in folder_files(description, arrays).items():
            (fresh / name).write_bytes(content)
        if folder.exists():
            _replace(folder, fresh)
        else:
            fresh.rename(folder)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def folder_files(description: dict[str, Any], arrays: dict[str, np.ndarray]) -> dict[str, bytes]:
    """Return the files of a head's folder by name; the description comes last."""
    from safetensors.numpy import save

    text = json.dumps({"format": FORMAT, **description}, indent=2, ensure_ascii=False) + "\n"
    return {"weights.safetensors": save(arrays), "head.json": text.encode()}


def _replace(folder: Path, fresh: Path) -> None:
    """Put a fresh head where one is, or where an empty folder is."""
    old = fresh.with_suffix(".old")
    try:
        folder.rename(old)
    except OSError:  # a mount point, or a folder in one that may not be written to: file by file, what names them last
        for name in ("weights.safetensors", "head.json"):
            temporary = folder / f".{name}.tmp"
            shutil.copyfile(fresh / name, temporary)
            temporary.replace(folder / name)
        return
    fresh.rename(folder)
    shutil.rmtree(old)


def check_free(folder: Path) -> None:
    """Raises HeadError where `folder` holds something else than a head, or cannot be made."""
    try:
        is_free = not folder.exists() or (folder.is_dir() and not any(folder.iterdir()))
        if not is_free and not (folder / "head.json").is_file():
            raise HeadError(f"{folder} exists and is not a head's folder; choose another one")
        there = next(parent for parent in (folder, *folder.resolve().parents) if parent.exists())
    except OSError as error:
        raise HeadError(f"{folder} cannot be written: {error.strerror}") from None
    if not there.is_dir() or not os.access(there, os.W_OK):
        raise HeadError(f"{folder} cannot be written: {there} is not a folder that one may write to")


def read_folder(folder: Path, fields: set[str]) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Reads what `write_folder` wrote; gives head.json's fields and the arrays by name.

    HeadError for a folder without a head, a newer format, a file that cannot be read, or a
    head.json that lacks one of `fields`.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        description = json.loads((folder / "head.json").read_text(encoding="utf-8"))
    except OSError as error:
        raise HeadError(f"no head in {folder}: cannot read head.json ({error.strerror})") from error
    except ValueError as error:
        raise HeadError(f"{folder / 'head.json'} is damaged: {error}") from error
    if not isinstance(description, dict) or not isinstance(description.get("format"), int):
        raise HeadError(f"{folder / 'head.json'} is not a head: it names no format")
    if description["format"] > FORMAT:
        raise HeadError(
            f"the head in {folder} has format {description['format']}, but this version of "
            f"encode-once reads formats up to {FORMAT}; upgrade encode-once"
        )
    missing = sorted(fields - description.keys())
    if missing:
        raise HeadError(f"{folder / 'head.json'} is damaged: it lacks {', '.join(missing)}")
    try:
        arrays = load((folder / "weights.safetensors").read_bytes())
    except (OSError, SafetensorError) as error:
        raise HeadError(f"cannot read {folder / 'weights.safetensors'}: {error}") from error
    return description, arrays

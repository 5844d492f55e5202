"""Read and write the folder of a head: head.json for people, weights.safetensors for arrays.

Knows files only; head.py knows what the fields mean. Nothing here can run code from a file.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from encoder.model_folder import ModelFolder
from heads.errors import HeadError

FORMAT = 1
DESCRIPTION_FILE = "head.json"
WEIGHTS_FILE = "weights.safetensors"
HEAD_FOLDER = ModelFolder("a head's folder", (WEIGHTS_FILE, DESCRIPTION_FILE), HeadError)


def head_files(description: dict[str, Any], arrays: dict[str, np.ndarray]) -> dict[str, bytes]:
    """Return the files of a head by name, the description last."""
    from safetensors.numpy import save

    text = json.dumps({"format": FORMAT, **description}, indent=2, ensure_ascii=False) + "\n"
    return {WEIGHTS_FILE: save(arrays), DESCRIPTION_FILE: text.encode()}


def read_folder(folder: Path, fields: set[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read the files of a head.

    Args:
        folder: the folder that holds them.
        fields: what head.json must hold.

    Returns:
        the content of head.json, and the arrays (NumPy) by name.

    Raises:
        HeadError: the folder holds no head, its format is newer, a file cannot be read, or a field is missing.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        description = json.loads((folder / DESCRIPTION_FILE).read_text(encoding="utf-8"))
    except OSError as error:
        raise HeadError(f"no head in {folder}: cannot read {DESCRIPTION_FILE} ({error.strerror})") from error
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
        arrays = load((folder / WEIGHTS_FILE).read_bytes())
    except (OSError, SafetensorError) as error:
        raise HeadError(f"cannot read {folder / 'weights.safetensors'}: {error}") from error
    return description, arrays

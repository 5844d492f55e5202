"""Write and read the checkpoint of a training: one safetensors file, with what is no tensor as JSON in its header."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open

from encoder.base import EncoderError

CHECKPOINT_FILE = "checkpoint.safetensors"


def write(folder: Path, tensors: dict[str, torch.Tensor], state: dict[str, Any]) -> None:
    """Replace the checkpoint in `folder`. One file, renamed into place: a killed or failing write leaves the one before.

    Raises:
        EncoderError: it cannot be written.
    """
    content = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    # Not save_file: its errors do not say that a disk is full.
    written = safetensors.torch.save(content, metadata={"state": json.dumps(state)})
    temporary = folder / f".{CHECKPOINT_FILE}.tmp"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(written)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(folder / CHECKPOINT_FILE)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        kept = "the one before is kept" if exists(folder) else "there was none before"
        raise EncoderError(
            f"checkpoint {folder / CHECKPOINT_FILE} cannot be written: {error.strerror}; {kept}"
        ) from None


def exists(folder: Path) -> bool:
    """Whether `folder` holds a checkpoint."""
    return (folder / CHECKPOINT_FILE).exists()


def read(folder: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]] | None:
    """Read the checkpoint in `folder`: its tensors, on the CPU, and its state; None where there is none.

    Raises:
        EncoderError: it is damaged.
    """
    if not exists(folder):
        return None
    path = folder / CHECKPOINT_FILE
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, json.loads(file.metadata()["state"])  # noqa: SIM118
    except (SafetensorError, KeyError, TypeError, ValueError, OSError) as error:
        raise EncoderError(f"checkpoint {path} is damaged ({error}); remove {folder} to begin again") from None


def remove(folder: Path) -> None:
    """Remove the checkpoint and its folder, where they are."""
    for name in (CHECKPOINT_FILE, f".{CHECKPOINT_FILE}.tmp"):
        (folder / name).unlink(missing_ok=True)
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()

"""Write and read the checkpoint of a training: one safetensors file; state other than tensors is JSON in its header."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from encoder.base import EncoderError

CHECKPOINT_FILE = "checkpoint.safetensors"
TEMPORARY_FOLDER = ".new"


def write(folder: Path, tensors: dict[str, torch.Tensor], state: dict[str, Any]) -> None:
    """Write the checkpoint in `folder`; a killed or failing write leaves the previous one.

    Raises:
        EncoderError: it cannot be written.
    """
    content = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    temporary = (
        folder / TEMPORARY_FOLDER
    )  # safetensors may write under a name of its own: the folder is removed with it
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        save_file(content, temporary / CHECKPOINT_FILE, metadata={"state": json.dumps(state)})
        with (temporary / CHECKPOINT_FILE).open("rb") as file:
            os.fsync(file.fileno())
        (temporary / CHECKPOINT_FILE).replace(folder / CHECKPOINT_FILE)
    except (OSError, SafetensorError) as error:
        previous = "the previous one is kept" if exists(folder) else "there is no previous one"
        raise EncoderError(f"checkpoint {folder / CHECKPOINT_FILE} cannot be written ({error}); {previous}") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def exists(folder: Path) -> bool:
    """Whether `folder` holds a checkpoint."""
    return (folder / CHECKPOINT_FILE).exists()


def read(folder: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]] | None:
    """Read the checkpoint in `folder`: its tensors, on the CPU, and its state; None if there is none.

    Raises:
        EncoderError: it is damaged.
    """
    if not exists(folder):
        return None
    with _opened(folder) as file:
        return {name: file.get_tensor(name) for name in file.keys()}, json.loads(file.metadata()["state"])  # noqa: SIM118


@contextlib.contextmanager
def _opened(folder: Path) -> Iterator[Any]:
    """Open the checkpoint in `folder`; raise EncoderError if it is damaged."""
    path = folder / CHECKPOINT_FILE
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except (SafetensorError, KeyError, TypeError, ValueError, OSError) as error:
        raise EncoderError(f"checkpoint {path} is damaged ({error}); remove {folder} to start again") from None


def check(folder: Path, run_id: str) -> None:
    """Raise EncoderError if `folder` holds a checkpoint that is damaged or belongs to a training with another `run_id`."""
    if not exists(folder):
        return
    with _opened(folder) as file:
        state = json.loads(file.metadata()["state"])
        is_this_training, step = state["run_id"] == run_id, state["step"]
    if not is_this_training:
        raise EncoderError(
            f"{folder} holds the checkpoint of a training with other rows or options, at step {step}; "
            "run the command that started it to continue, or remove that folder to start again"
        )


def remove(folder: Path) -> None:
    """Remove the checkpoint, if there is one, and its folder, if it is empty then."""
    shutil.rmtree(folder / TEMPORARY_FOLDER, ignore_errors=True)
    (folder / CHECKPOINT_FILE).unlink(missing_ok=True)
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()

"""Write and read the checkpoint of a training: one safetensors file, with what is no tensor as JSON in its header."""

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
FRESH_FOLDER = ".new"


def write(folder: Path, tensors: dict[str, torch.Tensor], state: dict[str, Any]) -> None:
    """Replace the checkpoint in `folder`. One file, renamed into place: a killed or failing write leaves the one before.

    Raises:
        EncoderError: it cannot be written.
    """
    content = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    fresh = folder / FRESH_FOLDER  # a killed write leaves its file under a name of its own, which goes with this folder
    try:
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(parents=True)
        save_file(content, fresh / CHECKPOINT_FILE, metadata={"state": json.dumps(state)})
        with (fresh / CHECKPOINT_FILE).open("rb") as file:
            os.fsync(file.fileno())
        (fresh / CHECKPOINT_FILE).replace(folder / CHECKPOINT_FILE)
    except (OSError, SafetensorError) as error:
        kept = "the one before is kept" if exists(folder) else "there was none before"
        raise EncoderError(f"checkpoint {folder / CHECKPOINT_FILE} cannot be written ({error}); {kept}") from None
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


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
    with _opened(folder) as file:
        return {name: file.get_tensor(name) for name in file.keys()}, json.loads(file.metadata()["state"])  # noqa: SIM118


@contextlib.contextmanager
def _opened(folder: Path) -> Iterator[Any]:
    """Open the checkpoint in `folder`, and say what to do where it is damaged."""
    path = folder / CHECKPOINT_FILE
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except (SafetensorError, KeyError, TypeError, ValueError, OSError) as error:
        raise EncoderError(f"checkpoint {path} is damaged ({error}); remove {folder} to begin again") from None


def check(folder: Path, run_id: str) -> None:
    """Raise EncoderError where `folder` holds a checkpoint that is damaged or of a training with another `run_id`."""
    if not exists(folder):
        return
    with _opened(folder) as file:
        state = json.loads(file.metadata()["state"])
        of_this, step = state["run_id"] == run_id, state["step"]
    if not of_this:
        raise EncoderError(
            f"{folder} holds the checkpoint of a training with other rows or options, at step {step}; "
            "give the command it was started with to go on, or remove that folder to begin again"
        )


def remove(folder: Path) -> None:
    """Remove the checkpoint and its folder, where they are."""
    shutil.rmtree(folder / FRESH_FOLDER, ignore_errors=True)
    (folder / CHECKPOINT_FILE).unlink(missing_ok=True)
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()

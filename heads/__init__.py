"""Turns codes into labels: small linear heads over packed bits.

Knows NumPy arrays of codes and the folders of heads; knows no texts, no file formats of a corpus,
no store and no Beam. Importing it, loading a head and scoring with one need NumPy and safetensors
only; torch is imported where heads are fitted.
"""

from __future__ import annotations

import os
from pathlib import Path

from heads import checks, evaluate, storage
from heads.bank import HeadBank
from heads.errors import HeadError
from heads.fit import fit, fit_features
from heads.head import Head

__all__ = ["Head", "HeadBank", "HeadError", "bundled", "check_new", "evaluate", "fit", "fit_features", "load"]

BUNDLED_FOLDER = Path(__file__).parent / "bundled"


def bundled() -> list[str]:
    """Lists the names of the heads that come with the package, sorted."""
    return sorted(folder.parent.name for folder in BUNDLED_FOLDER.glob(f"*/{storage.DESCRIPTION_FILE}"))


def check_new(task: str, folder: str | os.PathLike[str]) -> None:
    """Raises HeadError where a head of this task's name could not be saved in `folder`, before it is fitted."""
    checks.check_task(task)
    storage.HEAD_FOLDER.check_free(Path(folder))


def load(head: str | os.PathLike[str]) -> Head:
    """Loads a head by a bundled task's name or from a folder that `Head.save` wrote.

    A plain name means the bundled head. Where a head folder of the same name lies in the working
    directory too, HeadError asks to write `./name`; HeadError for anything else lists the names.
    """
    head = os.path.expanduser(head) if isinstance(head, str) else head
    is_folder = (Path(head) / storage.DESCRIPTION_FILE).is_file()
    if isinstance(head, str) and head in bundled():
        if is_folder:
            raise HeadError(
                f"{head!r} is both a bundled head and a folder here; write './{head}' for the "
                f"folder, or '{BUNDLED_FOLDER / head}' for the bundled one"
            )
        return Head.read(BUNDLED_FOLDER / head)
    if is_folder:
        return Head.read(head)
    raise HeadError(
        f"unknown head {str(head)!r}: neither a folder with a head.json nor a bundled head; "
        f"bundled are: {', '.join(bundled()) or '(none)'}"
    )

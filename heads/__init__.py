"""Turn codes into labels: small linear heads over packed bits.

Works on NumPy arrays of codes and on the folders of heads. Knows no texts, no file formats of a corpus, no store and no
Beam. Importing it, loading a head and scoring need NumPy and safetensors only; fitting imports torch.
"""

from __future__ import annotations

import os
from pathlib import Path

from heads import checks, evaluate, storage
from heads.bank import HeadBank
from heads.errors import HeadError
from heads.fit import L2_GRID, fit, fit_features
from heads.head import Head

__all__ = [
    "L2_GRID",
    "Head",
    "HeadBank",
    "HeadError",
    "bundled",
    "check_new",
    "evaluate",
    "fit",
    "fit_features",
    "load",
]

BUNDLED_FOLDER = Path(__file__).parent / "bundled"


def bundled() -> list[str]:
    """Return the names of the heads that come with the package, sorted."""
    return sorted(folder.parent.name for folder in BUNDLED_FOLDER.glob(f"*/{storage.DESCRIPTION_FILE}"))


def check_new(task: str, folder: str | os.PathLike[str], overwrite: bool = True) -> None:
    """Check, before a head is fitted, that a head named `task` could be saved in `folder`.

    Args:
        overwrite: whether a head in `folder` may be replaced.

    Raises:
        HeadError: the name is invalid, or the folder holds something else or cannot be written.
    """
    checks.check_task(task)
    storage.HEAD_FOLDER.check_free(Path(folder), overwrite)


def load(head: str | os.PathLike[str]) -> Head:
    """Load a head.

    Args:
        head: the name of a bundled head, or a folder that `Head.save` wrote. A plain name means the bundled head.

    Raises:
        HeadError: the name is unknown, or both a bundled head and a folder in the working directory have it.
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

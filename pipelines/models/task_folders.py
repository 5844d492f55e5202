"""Read folders of labelled tasks: `info.json`, `train.parquet`, `validation.parquet`. A test split is never read."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from encoder.choices import LabelKind
from encoder.training.tasks import Rows, Task
from heads.errors import HeadError
from heads.labels import to_targets
from pipelines.models.labelled import DataError, check_classes, read_columns, read_labelled

SPLITS = ("train", "validation")
_FEW_VALUES = 20
_log = logging.getLogger(__name__)
_KINDS: dict[str, LabelKind] = {"single": "single", "multi": "multi", "multilabel": "multi", "regression": "regression"}


def find_folders(names: Sequence[str]) -> list[Path]:
    """Check that task folders exist, are complete, and are named once each. The name of a folder is the name of its task.

    Raises:
        DataError: a folder cannot be used; the message names it and says why.
    """
    folders: dict[str, Path] = {}
    for name in names:
        folder = Path(name).resolve()
        if not folder.is_dir():
            raise DataError(f"--tasks {name} is not a folder")
        if not (folder / "info.json").is_file():
            inside = sorted(path.parent.name for path in folder.glob("*/info.json"))
            hint = f"; name the task folders in it: {', '.join(inside[:3])}, …" if inside else ""
            raise DataError(f"{name} holds no info.json and is not a task's folder{hint}")
        for split in SPLITS:
            if not (folder / f"{split}.parquet").is_file():
                raise DataError(f"{name} holds no {split}.parquet; a task needs a training and a validation split")
        if not folder.name.isprintable():  # as bytes that are no UTF-8 are not
            raise DataError(f"the task folder {name!a} has a name that cannot be written; rename it")
        if folder.name in folders:
            other = folders[folder.name]
            where = "" if other == folder else f" ({other} and {folder}); rename one of the folders"
            raise DataError(f"task {folder.name!r} is named twice{where}")
        folders[folder.name] = folder
    return list(folders.values())


def read_task(folder: Path, text_field: str = "text", label_field: str = "label") -> Task:
    """Read one task. Its kind and classes are those in `info.json`, or are inferred from the labels.

    Rows without text are skipped with a warning, as annotate rejects them.

    Raises:
        DataError: a split cannot be read, `info.json` does not list a label, only validation rows have a label, or there
            is one class only.
    """
    kind, listed = read_info(folder, label_field)
    splits = {s: read_labelled(str(folder / f"{s}.parquet"), text_field, label_field, kind) for s in SPLITS}
    if listed and kind != "regression":
        for split, (_, labels) in splits.items():
            _check_listed(folder, split, labels, listed, kind)
    try:
        found = check_classes(splits, kind)
        classes = () if kind == "regression" else tuple(listed or found or ())
        rows = {s: Rows(texts, to_targets(labels, kind, classes).values) for s, (texts, labels) in splits.items()}
    except (DataError, HeadError) as error:
        raise DataError(f"task {folder.name}: {error}") from None
    return Task(folder.name, kind, classes, rows["train"], rows["validation"])


def read_info(folder: Path, label_field: str = "label") -> tuple[LabelKind, list[str]]:
    """Read `info.json`: the kind of the task, inferred from its training labels if it is missing, and the listed labels.

    Raises:
        DataError: it cannot be read, has an unknown kind, or lists a label twice.
    """
    try:
        info = json.loads((folder / "info.json").read_text(encoding="utf-8"))
        listed = [str(label).strip() for label in info.get("labels") or ()]
        kind = info.get("kind")
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise DataError(f"{folder / 'info.json'} cannot be read: {error}") from None
    if kind is not None and not (isinstance(kind, str) and kind in _KINDS):
        raise DataError(f"{folder / 'info.json'} says kind {kind!r}; choose from {', '.join(_KINDS)}")
    if len(set(listed)) < len(listed):
        raise DataError(f"{folder / 'info.json'} lists a label twice")
    return _KINDS[kind] if kind else _guess_kind(folder / "train.parquet", label_field, bool(listed)), listed


def _guess_kind(path: Path, label_field: str, has_classes: bool) -> LabelKind:
    (labels,) = read_columns(str(path), [label_field])
    first: Any = next((label for label in labels if label is not None), None)
    if isinstance(first, (list, tuple, np.ndarray)):
        return "multi"
    is_number = isinstance(first, (int, float)) and not isinstance(first, bool)
    if not is_number or has_classes:
        return "single"
    values = set(labels) - {None}
    if len(values) <= _FEW_VALUES and all(float(value).is_integer() for value in values):
        _log.warning(
            "%s: %d distinct whole numbers are read as a regression; if they are classes, list them under labels in info.json",
            path.parent.name,
            len(values),
        )
    return "regression"


def _check_listed(folder: Path, split: str, labels: list, listed: list[str], kind: str) -> None:
    found = {name for row in labels for name in ([row] if kind == "single" else row)}
    if unknown := sorted(found - set(listed)):
        more = f" and {len(unknown) - 3} more" if len(unknown) > 3 else ""
        raise DataError(
            f"task {folder.name}: {split}.parquet has labels that info.json does not list: "
            f"{', '.join(map(repr, unknown[:3]))}{more}"
        )

"""Write folders of labelled tasks for the tiny model."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tests.conftest import random_texts


def label_of(text: str, kind: str):
    held = [word for word in ("film", "plot", "actor") if word in text.split()]
    return {"single": "some" if held else "none", "multi": held, "regression": float(len(held))}[kind]


def write_task(folder: Path, of: str = "single", train: int = 90, seed: int = 0, **info) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number, (split, count) in enumerate({"train": train, "validation": 40}.items()):
        texts = random_texts(count, seed=100 * seed + number, longest=8)
        write_split(folder, split, texts, [label_of(text, of) for text in texts])
    labels = {"single": ["none", "some"], "multi": ["actor", "film", "plot"], "regression": None}[of]
    (folder / "info.json").write_text(json.dumps({"labels": labels} | info))
    return folder


def write_split(folder: Path, split: str, texts: list, labels: list) -> None:
    pq.write_table(pa.table({"text": texts, "label": labels}), folder / f"{split}.parquet")

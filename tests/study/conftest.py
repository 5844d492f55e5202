from __future__ import annotations

import json
import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from study.settings import Settings
from tests.conftest import random_texts

LABELS = {"sst2": ("bad", "good"), "trec": ("long", "short", "film"), "reuters_topics": ("good", "film", "the")}


def write_task(folder: Path, kind: str, labels: tuple[str, ...], seed: int) -> None:
    """Write a task whose labels are words of its texts, with some noise."""
    folder.mkdir(parents=True)
    rng = random.Random(seed)
    for number, (split, rows) in enumerate({"train": 150, "validation": 60, "test": 60}.items()):
        texts = random_texts(rows, seed * 10 + number, longest=12)
        if kind == "multi":
            found = [[label for label in labels if label in text.split()] for text in texts]
            column = pa.array(found, pa.list_(pa.string()))
        else:
            found = [next((label for label in labels if label in text.split()), rng.choice(labels)) for text in texts]
            column = pa.array(found)
        pq.write_table(pa.table({"text": texts, "label": column}), folder / f"{split}.parquet")
    info = {"labels": labels} | ({"kind": "multilabel"} if kind == "multi" else {})
    (folder / "info.json").write_text(json.dumps(info))


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory) -> Path:
    """Return a folder of three small tasks named after real ones, one of them multi-label, and unlabelled texts."""
    folder = tmp_path_factory.mktemp("data")
    for seed, (name, labels) in enumerate(LABELS.items()):
        write_task(folder / name, "multi" if name == "reuters_topics" else "single", labels, seed)
    pq.write_table(pa.table({"text": random_texts(100, 77)}), folder / "gutenberg_paragraphs.parquet")
    return folder


@pytest.fixture
def tiny_settings(tiny_data, tiny_base, tmp_path) -> Settings:
    settings = Settings(tiny_data, tmp_path / "work", tuple(LABELS), base=str(tiny_base), device="cpu").quick()
    return settings

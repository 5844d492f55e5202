"""Annotate the example corpus with the bundled encoder and heads, then show some documents with their labels.

    make demo            (or: python examples/demo.py [STORE])

Shows how to use the project as a library: run the pipeline with `pipelines.annotate.run`, read the store with pyarrow.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pyarrow.parquet as pq

import heads
from pipelines import annotate
from pipelines.command_line.cli import guard
from pipelines.report import Summary
from transforms.layout import labels_folder

CORPUS = Path(__file__).parent / "corpus"
DOCUMENTS_PER_SHARD = 4
TEXT_WIDTH = 44
COLUMN_WIDTH = 11


def main() -> Summary:
    store = Path(sys.argv[1] if len(sys.argv) > 1 else "demo-store").resolve()
    print(f"annotating {CORPUS} into {store}\n", flush=True)
    summary = annotate.run(["--input", f"{CORPUS}/*", "--id_field", "id", "--store", str(store)])
    print()
    print(table(read_texts(), read_labels(store)))
    print(f"\nthe store: {store}")
    print("run the demo again: it does not repeat finished work")
    print(f"read labels with pandas: pandas.read_parquet('{store}/labels/task=topic')")
    return summary


def read_texts() -> dict[str, list[tuple[str, str]]]:
    """Read the corpus as the pipeline does; return (id, text) of the valid rows by shard."""
    # Imported here because Beam warns about missing extras on import, and `guard` has configured logging only now.
    from transforms.blocks import BlockLimits
    from transforms.match import match_shards
    from transforms.options import ReadOptions
    from transforms.plan import cut_shard
    from transforms.read import read_unit
    from transforms.unit import Unit

    options = ReadOptions(id_field="id")
    texts: dict[str, list[tuple[str, str]]] = {}
    for shard in match_shards([str(CORPUS)], str(CORPUS), options):
        for index, (start, stop, _) in enumerate(cut_shard(shard, 1 << 30)):
            unit = Unit.of(shard, index, 1, start, stop)
            for block in read_unit(unit, options, BlockLimits()):
                rows = zip(block.table["id"].to_pylist(), block.table["text"].to_pylist())
                texts.setdefault(shard.relative_path, []).extend(rows)
    return texts


def read_labels(store: Path) -> dict[str, dict[str, str]]:
    """Read all labels of a store; return them by task and document id."""
    labels = {}
    for task in heads.bundled():
        head = heads.load(task).fingerprint
        rows = pq.read_table(store / labels_folder(task, head), partitioning=None).to_pylist()
        labels[task] = {row["id"]: row["label"] if "label" in row else ", ".join(row["labels"]) or "-" for row in rows}
    return labels


def table(texts: dict[str, list[tuple[str, str]]], labels: dict[str, dict[str, str]]) -> str:
    """Return a text table of a few documents of every shard, one per line, with one column per task."""
    tasks = list(labels)
    lines = ["  ".join(["document".ljust(TEXT_WIDTH), *(task[:COLUMN_WIDTH].ljust(COLUMN_WIDTH) for task in tasks)])]
    lines.append("  ".join(["-" * TEXT_WIDTH, *("-" * COLUMN_WIDTH for _ in tasks)]))
    for rows in texts.values():
        for id_, text in rows[:: max(1, len(rows) // DOCUMENTS_PER_SHARD)][:DOCUMENTS_PER_SHARD]:
            cells = [fit(text, TEXT_WIDTH), *(fit(labels[task].get(id_, "?"), COLUMN_WIDTH) for task in tasks)]
            lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def fit(text: str, width: int) -> str:
    """Truncate or pad a text to `width` characters, on one line."""
    text = " ".join(text.split())
    return (text if len(text) <= width else text[: width - 1] + "…").ljust(width)


if __name__ == "__main__":
    sys.exit(guard(main, "demo"))

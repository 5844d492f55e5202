"""Label blocks of codes: the DoFns around `heads`; one pass over the codes, then one PTransform a task."""

from __future__ import annotations

import dataclasses
import functools
import logging
from collections.abc import Iterator

import apache_beam as beam
import numpy as np
import pyarrow as pa

from heads import Head, HeadBank
from transforms.blocks import ReadOptions
from transforms.encode import METRICS, CodeBlock, EncodeOptions, EncodeText, WriteCodes
from transforms.layout import labels_folder, labels_schema, with_metadata
from transforms.plan import Unit
from transforms.read import ReadText, block_name, report_failure
from transforms.store import Store

# Bits times classes times rows. torch's import takes two seconds, its kernel saves 8 µs a row of 2,304 bits and 69 classes.
WORK_WITHOUT_TORCH = 40e9
_log = logging.getLogger(__name__)


@dataclasses.dataclass
class LabelBlock:
    """Carry one task's labels of one block: id and labels, same rows in the same order as the codes."""

    unit: Unit
    index: int
    last: bool
    table: pa.Table


def labels_table(head: Head, ids: pa.ChunkedArray, logits: np.ndarray) -> pa.Table:
    """Label n documents by one head's logits (n, classes) float32, laid out as the store keeps labels."""
    schema = _labels_schema(head.task, head.fingerprint, head.encoder_fingerprint, head.kind)
    names = pa.array(head.labels, pa.string())
    if head.kind == "single":
        index, score = head.predict_from(logits)
        columns = [pa.DictionaryArray.from_arrays(pa.array(index, pa.int32()), names), pa.array(score, pa.float32())]
    elif head.kind == "multi":
        offsets, index, score = head.predict_from(logits)
        offsets = pa.array(offsets, pa.int32())
        columns = [
            pa.ListArray.from_arrays(offsets, names.take(pa.array(index, pa.int32()))),
            pa.ListArray.from_arrays(offsets, pa.array(score, pa.float32())),
        ]
    else:
        columns = [pa.array(head.predict_from(logits), pa.float32())]
    return pa.Table.from_arrays([ids, *columns], schema=schema)


@functools.cache
def _labels_schema(task: str, head: str, encoder: str, kind: str) -> pa.Schema:
    return with_metadata(labels_schema(kind), {"task": task, "head": head, "encoder": encoder, "kind": kind})


class ScoreCodes(beam.PTransform):
    """Score `CodeBlock` elements by all heads in one pass over their codes; they go on with `logits`.

    `LabelCodes` does without it, at twice the time: each head then reads the codes by itself.
    """

    def __init__(self, heads: list[Head], rows: int | None = None) -> None:
        """Take the heads, and how many documents will come, at most, where that is known: for a few, torch is not imported."""
        super().__init__()
        self.heads = heads
        self.rows = rows

    def expand(self, blocks):
        weights = sum(head.weights.size for head in self.heads)
        few = self.rows is not None and self.rows * weights < WORK_WITHOUT_TORCH
        return blocks | beam.ParDo(_ScoreCodes(self.heads, with_torch=not few))


class _ScoreCodes(beam.DoFn):
    def __init__(self, heads: list[Head], with_torch: bool) -> None:
        self.heads = heads
        self.with_torch = with_torch

    def setup(self) -> None:
        if self.with_torch:
            import torch  # noqa: F401  heads take its kernel where it is imported
        self.banks: dict[tuple[str, ...], HeadBank] = {}

    def process(self, block: CodeBlock) -> Iterator[CodeBlock]:
        heads = [head for head in self.heads if head.task in block.unit.tasks]
        tasks = tuple(head.task for head in heads)
        if tasks not in self.banks:
            self.banks[tasks] = HeadBank(heads)
        try:
            logits = self.banks[tasks].logits(block.bits)
        except Exception:  # each head then meets it alone, and is reported by its name
            _log.debug("block %d of %s cannot be scored together", block.index, block.unit.path, exc_info=True)
            logits = []
        yield dataclasses.replace(block, logits=dict(zip(tasks, logits)))


class LabelCodes(beam.PTransform):
    """Label `CodeBlock` elements for one task, where its labels are missing, into `LabelBlock` elements.

    A head that throws fails its unit for its task alone: it is recorded in the run's folder and the rest goes on.
    """

    def __init__(self, store: Store, head: Head) -> None:
        super().__init__()
        self.store = store
        self.head = head

    def expand(self, blocks):
        return blocks | beam.ParDo(_LabelCodes(self.store, self.head))


class _LabelCodes(beam.DoFn):
    def __init__(self, store: Store, head: Head) -> None:
        self.store = store
        self.head = head

    def process(self, block: CodeBlock) -> Iterator[LabelBlock]:
        if self.head.task not in block.unit.tasks:
            return
        if block.unit.coded_blocks is None and block.rejects is None:  # its codes were there: its labels may be, too
            name = block_name(block.unit, block.index, block.last)
            if self.store.has_block(labels_folder(self.head.task, self.head.fingerprint), name):
                return
        try:
            logits = block.logits.get(self.head.task)
            table = labels_table(
                self.head, block.table["id"], self.head.logits(block.bits) if logits is None else logits
            )
        except Exception as error:  # whatever one head throws, the others go on
            report_failure(self.store, block.unit, f"label-{self.head.task}", error)
            return
        yield LabelBlock(block.unit, block.index, block.last, table)


class WriteLabels(beam.PTransform):
    """Commit one task's `LabelBlock` elements and count their labels."""

    def __init__(self, store: Store, head: Head) -> None:
        super().__init__()
        self.store = store
        self.head = head

    def expand(self, blocks):
        return blocks | beam.ParDo(_WriteLabels(self.store, self.head.task, self.head.fingerprint))


class _WriteLabels(beam.DoFn):
    def __init__(self, store: Store, task: str, fingerprint: str) -> None:
        self.store = store
        self.task = task
        self.folder = labels_folder(task, fingerprint)
        self.documents = beam.metrics.Metrics.counter(METRICS, f"labelled/{task}")

    def process(self, block: LabelBlock) -> None:
        self.store.write_block(self.folder, block_name(block.unit, block.index, block.last), block.table)
        self.documents.inc(block.table.num_rows)
        for label, count in label_counts(block.table).items():
            beam.metrics.Metrics.counter(METRICS, f"label/{self.task}/{label}").inc(count)


def label_counts(labels: pa.Table) -> dict[str, int]:
    """Count the labels of a labels table by their name; none for regression."""
    if "label" in labels.column_names:
        column = labels["label"].combine_chunks()
        counts = np.bincount(column.indices, minlength=len(column.dictionary))
        return {name: int(n) for name, n in zip(column.dictionary.to_pylist(), counts) if n}
    if "labels" in labels.column_names:
        counted = labels["labels"].combine_chunks().flatten().value_counts()
        return {entry["values"]: entry["counts"] for entry in counted.to_pylist()}
    return {}


class EncodeAndLabel(beam.PTransform):
    """Read, encode, write and label `Unit` elements whose text must be read: one fused stage.

    An accelerator hint belongs to all of it: a transform with a hint of its own is a stage of its own, and text and codes
    would then be held at its borders.
    """

    def __init__(
        self, store: Store, reading: ReadOptions, fingerprint: str, encoding: EncodeOptions, heads: list[Head]
    ) -> None:
        super().__init__()
        self.store = store
        self.reading = reading
        self.fingerprint = fingerprint
        self.encoding = encoding
        self.heads = heads

    def expand(self, units):
        codes = (
            units
            | "ReadText" >> ReadText(self.store, self.reading)
            | "EncodeText" >> EncodeText(self.store, self.fingerprint, self.encoding)
            | "WriteCodes" >> WriteCodes(self.store, self.fingerprint)
        )
        codes | "LabelAndWrite" >> LabelAndWrite(self.store, self.heads)
        return codes


class LabelAndWrite(beam.PTransform):
    """Label `CodeBlock` elements by every head, task by task side by side, and commit the labels; `rows` as `ScoreCodes`."""

    def __init__(self, store: Store, heads: list[Head], rows: int | None = None) -> None:
        super().__init__()
        self.store = store
        self.heads = heads
        self.rows = rows

    def expand(self, blocks):
        scored = blocks | "ScoreCodes" >> ScoreCodes(self.heads, self.rows)
        for head in self.heads:
            labels = scored | f"Label[{head.task}]" >> LabelCodes(self.store, head)
            labels | f"Write[{head.task}]" >> WriteLabels(self.store, head)
        return None

"""Label files of codes: one pass over the codes for all heads, one file of labels per head."""

from __future__ import annotations

import functools
import logging
from collections import Counter
from collections.abc import Iterator, Sequence

import apache_beam as beam
import numpy as np
import pyarrow as pa
from apache_beam.utils.shared import Shared

from heads import Head, HeadBank
from heads.calibrate import MultiLabels, SingleLabels
from transforms.codes_file import code_bits
from transforms.encode import METRICS
from transforms.filesystem.files import is_disk_full
from transforms.layout import codes_folder, labels_folder, labels_schema, read_metadata, with_metadata
from transforms.models import HeadName, load_stored_head
from transforms.read import report_failure
from transforms.store import Store
from transforms.tables import ROW_GROUP_ROWS, DamagedFileError, StoredTable, TableWriter
from transforms.unit import CodesFile

# Bits times classes times rows. The import of torch takes two seconds; its kernel saves microseconds a row.
WORK_WITHOUT_TORCH = 40e9
MAX_LOGITS_BYTES = 64 << 20  # of all heads together: bounds the rows that are scored at a time
MAX_COUNTED_LABELS = 1000  # a head with more labels reports no counts: each is a metric of the job
_log = logging.getLogger(__name__)


def labels_table(head: Head, rows: pa.Table, logits: np.ndarray) -> pa.Table:
    """Label n rows (columns id and position) by one head's logits (n, classes) float32, in the store's schema."""
    schema = _labels_schema(head.task, head.fingerprint, head.encoder_fingerprint, head.kind)
    names = pa.array(head.labels, pa.string())
    labels = head.predict_from(logits)
    columns: list[pa.Array]
    if isinstance(labels, SingleLabels):
        index = pa.array(labels.label_index, pa.int32())
        columns = [pa.DictionaryArray.from_arrays(index, names), pa.array(labels.score, pa.float32())]
    elif isinstance(labels, MultiLabels):
        offsets = pa.array(labels.offsets, pa.int32())
        columns = [
            pa.ListArray.from_arrays(offsets, names.take(pa.array(labels.label_index, pa.int32()))),
            pa.ListArray.from_arrays(offsets, pa.array(labels.scores, pa.float32())),
        ]
    else:
        columns = [pa.array(labels, pa.float32())]
    in_domain = pa.nulls(len(logits), pa.float32())
    return pa.Table.from_arrays([rows["id"], rows["position"], *columns, in_domain], schema=schema)


@functools.cache
def _labels_schema(task: str, head: str, encoder: str, kind: str) -> pa.Schema:
    return with_metadata(labels_schema(kind), {"task": task, "head": head, "encoder": encoder, "kind": kind})


def label_counts(labels: pa.Table) -> Counter[str]:
    """Count the labels of a table of labels by name; none for regression."""
    if "label" in labels.column_names:
        column = labels["label"].combine_chunks()
        counts = np.bincount(column.indices.drop_null(), minlength=len(column.dictionary))
        return Counter({name: int(n) for name, n in zip(column.dictionary.to_pylist(), counts) if n})
    if "labels" in labels.column_names:
        counted = labels["labels"].combine_chunks().flatten().value_counts()
        return Counter({entry["values"]: entry["counts"] for entry in counted.to_pylist()})
    return Counter()


class LabelAndWrite(beam.PTransform):
    """Label `CodesFile` elements by every head, and commit one file of labels per head under the same name.

    All heads read the codes in one pass: unpacking the bits takes longer than the products of one head. If a
    head fails on a file, the failure is recorded in the run's folder and the other heads continue.
    """

    def __init__(self, store: Store, encoder: str, heads: Sequence[HeadName], with_torch: bool = True) -> None:
        """Label with heads of the store; few documents are labelled sooner without torch."""
        super().__init__()
        self.store = store
        self.encoder = encoder
        self.heads = tuple(heads)
        self.with_torch = with_torch

    def expand(self, files: beam.PCollection) -> beam.PCollection:
        return files | beam.ParDo(_LabelAndWrite(self.store, self.encoder, self.heads, self.with_torch))


class _LabelAndWrite(beam.DoFn):
    def __init__(self, store: Store, encoder: str, heads: tuple[HeadName, ...], with_torch: bool) -> None:
        self.store = store
        self.encoder = encoder
        self.heads = heads
        self.with_torch = with_torch
        self.shared = Shared()

    def setup(self) -> None:
        if self.with_torch:
            import torch  # noqa: F401  heads take its kernel where it is imported
        names = " ".join(head.fingerprint for head in self.heads)
        self.labeller = self.shared.acquire(
            lambda: Labeller([load_stored_head(self.store, head.fingerprint) for head in self.heads]), tag=names
        )

    def process(self, file: CodesFile) -> None:
        where = (file.name.shard, file.name.unit, file.path)
        try:
            self._label(file)
        except (OSError, ValueError) as error:  # pyarrow's errors are among these
            if is_disk_full(error):
                raise
            report_failure(self.store, *where, "label", error)

    def _label(self, file: CodesFile) -> None:
        wanted = [head for head in self.heads if head.task in file.tasks]
        missing = [head.task for head in wanted if not self.store.has(labels_folder(*head), file.name)]
        if not missing:
            return
        folder = codes_folder(self.encoder)
        try:
            codes = self.store.open(folder, file.name)
            if (found := read_metadata(codes.schema)["encoder"]) != self.encoder:
                raise ValueError(
                    f"{folder}/{file.name} holds codes of encoder {found[:12]}, not of {self.encoder[:12]}"
                )
            labelled = self.labeller.label(codes, missing)
        except DamagedFileError as error:
            cure = "delete it; annotate recreates it"
            raise OSError(f"{folder}/{file.name} is damaged ({error}); {cure}") from None
        for head, labels in labelled.items():
            if labels.failure is not None:
                step = f"label-{head.task}"
                report_failure(self.store, file.name.shard, file.name.unit, file.path, step, labels.failure)
                continue
            self.store.commit(labels_folder(head.task, head.fingerprint), file.name, labels.writer.finish())
            beam.metrics.Metrics.counter(METRICS, f"labelled/{head.task}").inc(labels.writer.rows)
            for label, count in labels.counts.items():
                beam.metrics.Metrics.counter(METRICS, f"label/{head.task}/{label}").inc(count)


class Labels:
    """The labels of one file of codes by one head.

    Attributes:
        writer: the file of labels.
        counts: rows by label.
        failure: the error of the head; the writer is then not committed.
    """

    def __init__(self, head: Head) -> None:
        self.writer = TableWriter(_labels_schema(head.task, head.fingerprint, head.encoder_fingerprint, head.kind))
        self.counts: Counter[str] = Counter()
        self.failure: Exception | None = None


class Labeller:
    """Heads that label files of codes, loaded once per process."""

    def __init__(self, heads: Sequence[Head]) -> None:
        self._heads = heads
        self._banks: dict[tuple[str, ...], HeadBank] = {}

    def label(self, codes: StoredTable, tasks: Sequence[str]) -> dict[Head, Labels]:
        """Label all rows of a file for some tasks."""
        heads = [head for head in self._heads if head.task in tasks]
        labelled = {head: Labels(head) for head in heads}
        classes = sum(len(head.weights) for head in heads)
        rows = max(1024, min(ROW_GROUP_ROWS, MAX_LOGITS_BYTES // (4 * classes)))
        for group in codes.row_groups(["id", "position", "code"], rows):
            bits = code_bits(group["code"])
            for head, logits in self._logits(heads, bits):
                labels = labelled[head]
                if labels.failure is not None:
                    continue
                try:
                    table = labels_table(head, group, head.logits(bits) if logits is None else logits)
                except Exception as error:  # whatever one head raises, the others go on
                    labels.failure = error
                    continue
                labels.writer.append(table)
                if len(head.labels) <= MAX_COUNTED_LABELS:
                    labels.counts += label_counts(table)
        return labelled

    def _logits(self, heads: Sequence[Head], bits: np.ndarray) -> Iterator[tuple[Head, np.ndarray | None]]:
        """Score all heads in one pass; None for each if that fails, and each is then scored alone."""
        tasks = tuple(head.task for head in heads)
        if tasks not in self._banks:
            self._banks[tasks] = HeadBank(heads)
        try:
            logits: Sequence[np.ndarray | None] = self._banks[tasks].logits(bits)
        except Exception:
            _log.debug("codes cannot be scored by all heads together", exc_info=True)
            logits = [None] * len(heads)
        yield from zip(heads, logits)


def with_torch(heads: Sequence[Head], rows: int | None) -> bool:
    """Return whether scoring so many rows justifies the import of torch; None: the number is not known."""
    weights = sum(head.weights.size for head in heads)
    return rows is None or rows * weights >= WORK_WITHOUT_TORCH

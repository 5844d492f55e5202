"""Estimate the time and the size of a run: encode and label a sample of its documents for a few seconds."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import random
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

import encoder
from encoder import EncoderError
from pipelines.report import format_bytes
from transforms.blocks import REJECT_SCHEMA, TEXT_SCHEMA, BlockLimits, TextBlock, UnitError
from transforms.codes_file import codes_table, part_table
from transforms.layout import FileName, codes_folder, codes_schema
from transforms.options import ReadOptions
from transforms.plan import Plan, rows_to_label
from transforms.read import read_unit
from transforms.readers.formats import detect
from transforms.tables import StoredTable, write_table
from transforms.unit import Unit

if TYPE_CHECKING:
    from pipelines.command_line.options import AnnotateOptions
    from pipelines.prepare import Job

ENCODE_SECONDS = 4.0
READ_SECONDS = 2.0
MAX_UNITS = 12  # that are opened, at most UNITS_PER_FORMAT of each format
UNITS_PER_FORMAT = 3
MAX_TEXTS = 8192
FIRST_CHUNK = 64  # texts; a device that is faster gets larger ones
WARM_UP_TEXTS = 16
_LIMITS = BlockLimits(rows=1024)


@dataclasses.dataclass(frozen=True)
class Estimate:
    """What a run will take, at the speed of this machine alone.

    Attributes:
        documents: documents to encode, from the bytes of a sample of units.
        documents_to_label: documents to label whose codes are stored; the number is exact.
        measured: documents that were encoded to find the rate.
        measured_seconds: the time that took.
        start_seconds: the time it took to load the encoder.
        documents_per_second: encoded and labelled by all heads; None if nothing is to encode.
        labelled_per_second: documents labelled by all heads; None without heads.
        seconds: time of the whole run.
        code_bytes: size of the files of codes.
        label_bytes: size of the files of labels, by task.
    """

    documents: int
    documents_to_label: int
    measured: int
    measured_seconds: float
    start_seconds: float
    documents_per_second: float | None
    labelled_per_second: float | None
    seconds: float
    code_bytes: int
    label_bytes: dict[str, int]

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


class NotMeasuredError(Exception):
    """Nothing can be measured here; the message says why."""


def estimate(job: Job, options: AnnotateOptions) -> Estimate:
    """Encode and label a sample of a job's documents and compute what the whole job takes.

    Raises:
        NotMeasuredError: no document can be read, or the encoder cannot be loaded on this machine.
    """
    documents = measured = code_bytes = 0
    start_seconds = measured_seconds = 0.0
    rate: float | None = None
    if job.plan.to_encode:
        sample, documents = sample_documents(job.plan, options.reading)
        table, start_seconds, measured_seconds = _encode(job, options, sample)
        measured = table.num_rows
        files = len(job.plan.to_encode)
        code_bytes = _size(table, documents, max(files, documents // job.store.rules.file_rows(job.bundle.bits)))
        rate = measured / measured_seconds
    else:
        table = _stored_codes(job)
        files = 0
    documents_to_label = rows_to_label(job.plan.to_label)
    labels, label_seconds = _label(job, table)
    labelled_per_second = table.num_rows / label_seconds if labels else None
    label_bytes = {}
    for task, made in labels.items():
        units = [unit for unit in job.plan.to_label if task in unit.tasks]
        label_bytes[task] = _size(made, documents + rows_to_label(units), files + len(units))
    seconds = start_seconds
    if labelled_per_second is not None:
        seconds += (documents + documents_to_label) / labelled_per_second
        rate = rate and 1 / (1 / rate + 1 / labelled_per_second)
    if measured:
        seconds += documents * measured_seconds / measured
    return Estimate(
        documents=documents,
        documents_to_label=documents_to_label,
        measured=measured,
        measured_seconds=measured_seconds,
        start_seconds=start_seconds,
        documents_per_second=rate,
        labelled_per_second=labelled_per_second,
        seconds=seconds,
        code_bytes=code_bytes,
        label_bytes=label_bytes,
    )


def sample_documents(plan: Plan, reading: ReadOptions) -> tuple[pa.Table, int]:
    """Read the beginning of some units of each format: up to `MAX_TEXTS` rows in the schema of texts.

    Returns:
        The rows, of each format as many as its share of the documents; and about how many documents all units have.

    Raises:
        NotMeasuredError: no unit has a document.
    """
    by_format: dict[Any, list[Unit]] = collections.defaultdict(list)
    for unit in plan.to_encode:
        by_format[detect(unit.path, reading.format, reading.encoding)].append(unit)
    tables, counts = [], []
    per_format = max(1, min(UNITS_PER_FORMAT, MAX_UNITS // len(by_format)))
    for units in by_format.values():
        format_bytes = sum(plan.unit_bytes[unit.shard, unit.index] for unit in units)
        table, source_bytes = _read_some(_spread(units, per_format), reading, READ_SECONDS / len(by_format))
        if table.num_rows:
            tables.append(table)
            counts.append(table.num_rows * max(1.0, format_bytes / max(source_bytes, 1)))
    if not tables:
        raise NotMeasuredError("none of the first rows of the units that were opened is a document")
    rng = random.Random(0)
    chosen = []
    for table, count in zip(tables, counts):
        wanted = max(1, round(MAX_TEXTS * count / sum(counts)))
        rows = sorted(rng.sample(range(table.num_rows), min(wanted, table.num_rows)))
        chosen.append(table.take(rows))
    return pa.concat_tables(chosen), round(sum(counts))


def _spread(units: Sequence[Unit], count: int) -> list[Unit]:
    """Return up to `count` units from the first to the last."""
    if len(units) <= count:
        return list(units)
    return [units[index * (len(units) - 1) // max(count - 1, 1)] for index in range(count)]


def _read_some(units: Sequence[Unit], reading: ReadOptions, seconds: float) -> tuple[pa.Table, int]:
    """Read units from their beginnings for some time: their documents, and the bytes that these took."""
    tables, source_bytes = [TEXT_SCHEMA.empty_table()], 0
    for unit in units:
        started = time.monotonic()
        with contextlib.suppress(UnitError, OSError):  # reported by the run
            for block in read_unit(unit, reading, _LIMITS):
                tables.append(block.table)
                source_bytes += block.source_bytes
                if time.monotonic() - started > seconds / len(units):
                    break
    return pa.concat_tables(tables), source_bytes


def _encode(job: Job, options: AnnotateOptions, sample: pa.Table) -> tuple[pa.Table, float, float]:
    """Encode rows of a sample for `ENCODE_SECONDS`: a table of codes, the time to load, and the time to encode."""
    started = time.monotonic()
    encoding = options.encoding
    try:
        if encoding.threads:
            import torch

            torch.set_num_threads(encoding.threads)
        model = encoder.load(job.bundle, encoding.device, encoding.precision, encoding.batch_tokens)
    except EncoderError as error:
        raise NotMeasuredError(str(error)) from error
    order = np.random.default_rng(0).permutation(sample.num_rows)  # those that are encoded in time stand for all
    texts = sample["text"].take(pa.array(order)).to_pylist()
    model.encode(texts[:WARM_UP_TEXTS])  # the first batch is slower
    start_seconds = time.monotonic() - started
    parts, done, chunk = [], 0, FIRST_CHUNK
    started = time.perf_counter()
    seconds = 0.0
    while done < len(texts) and seconds < ENCODE_SECONDS:
        chunk_started = seconds
        parts.append(part_table(model.encode(texts[done : done + chunk])))
        done = min(done + chunk, len(texts))
        seconds = time.perf_counter() - started
        if seconds - chunk_started < ENCODE_SECONDS / 8:
            chunk *= 2
    encoded = sample.take(pa.array(order[:done]))
    block = TextBlock(encoded, REJECT_SCHEMA.empty_table(), 0, True, done, 0)
    table = codes_table(block, pa.concat_tables(parts))
    in_order = pa.array(np.argsort(order[:done]))  # neighbours have similar ids, which makes files smaller
    return table.take(in_order), start_seconds, seconds


def _stored_codes(job: Job) -> pa.Table:
    """Read the first codes to label."""
    folder = codes_folder(job.bundle.fingerprint)
    for unit in job.plan.to_label:
        for name in map(FileName.parsed, unit.files or ()):
            if name.rows:
                with contextlib.suppress(OSError, ValueError):  # reported by the run
                    return next(iter(job.store.open(folder, name).row_groups(codes_schema(job.bundle.bits).names)))
    raise NotMeasuredError("no stored codes can be read")


def _label(job: Job, codes: pa.Table) -> tuple[dict[str, pa.Table], float]:
    """Label a table of codes by all heads of a job: tables of labels by task, and the time."""
    from transforms.label import Labeller  # imports Beam

    tasks = [head.task for head in job.heads]
    if not tasks:
        return {}, 0.0
    labeller, stored = Labeller(job.heads), StoredTable(write_table(codes))
    labeller.label(stored, tasks)  # the first time prepares the weights
    started = time.perf_counter()
    labelled = labeller.label(stored, tasks)
    made = {
        head.task: StoredTable(labels.writer.finish()).read() for head, labels in labelled.items() if not labels.failure
    }
    return made, time.perf_counter() - started


def _size(table: pa.Table, rows: int, files: int) -> int:
    """Return about how many bytes `files` files of so many rows like those of a table have."""
    if not rows:
        return 0
    first_bytes = write_table(table.slice(0, 1)).size  # nearly all of it describes the file
    row_bytes = (write_table(table).size - first_bytes) / max(table.num_rows - 1, 1)
    return round(files * first_bytes + (rows - files) * row_bytes)


def format_estimate(found: Estimate) -> str:
    """Lay an estimate out for people."""
    lines = []
    if found.measured:
        lines.append(
            f"estimate, from {found.measured:,} documents that were encoded here in {found.measured_seconds:.1f} s"
        )
        lines.append(f"  documents to encode   about {_rounded(found.documents):,}")
    else:
        lines.append("estimate, from stored codes that were labelled here")
    if found.documents_to_label:
        lines.append(f"  documents to label    {found.documents_to_label:,}")
    rates = []
    if found.documents_per_second is not None:
        rates.append(f"{found.documents_per_second:,.0f} documents/s, after {found.start_seconds:.0f} s to start")
    elif found.labelled_per_second is not None:
        rates.append(f"{_rounded(round(found.labelled_per_second)):,} documents/s")
    lines.append(f"  time on this machine  about {format_duration(found.seconds)}" + "".join(f"  ({r})" for r in rates))
    if found.measured:
        lines.append(f"  codes                 about {format_bytes(found.code_bytes)}")
    if found.label_bytes:
        lines.append(f"  labels                about {format_bytes(sum(found.label_bytes.values()))}")
        lines += [f"    {task:<20}about {format_bytes(size)}" for task, size in found.label_bytes.items()]
    return "\n".join(lines)


def _rounded(count: int) -> int:
    """Round to three digits: an estimate is no better."""
    return int(float(f"{count:.3g}"))


def format_duration(seconds: float) -> str:
    """Format a duration for people: "40 s", "12 min", "5 h 20 min", "3 days 4 h"."""
    if seconds < 100:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    if minutes < 100:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min"
    return f"{hours // 24:,} days {hours % 24} h"

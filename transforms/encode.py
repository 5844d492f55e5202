"""Encode units of text into files of codes: the DoFn around `encoder`."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import logging
import threading
import time
from collections.abc import Callable, Iterator

import apache_beam as beam
import pyarrow as pa
import pyarrow.compute as pc
from apache_beam.utils.shared import Shared

import encoder
from transforms.blocks import TextBlock
from transforms.codes_file import CodesFileWriter, part_table, read_part, write_part
from transforms.encoded import Encoded, note_encoded
from transforms.filesystem.files import is_disk_full
from transforms.layout import FileName, UnitFiles, codes_folder, parts_folder
from transforms.machine import NOT_INSTALLED, package_version, usable_cores
from transforms.models import describe_stored_encoder
from transforms.options import EncodeOptions, ReadOptions
from transforms.read import ContentHash, block_limits, read_unit, report_failure
from transforms.store import Store, StoreError
from transforms.unit import CodesFile, Unit

METRICS = "encode_once"
_log = logging.getLogger(__name__)


def load_stored_encoder(store: Store, fingerprint: str, options: EncodeOptions) -> encoder.Encoder:
    """Load an encoder of a store; its base model must be available on this machine."""
    bundle = describe_stored_encoder(store.root, fingerprint)
    if options.base_id is not None:
        bundle = dataclasses.replace(bundle, base_id=options.base_id)
    return encoder.load(bundle, options.device, options.precision, options.batch_tokens)


class EncodeUnits(beam.PTransform):
    """Read, encode and commit `Unit` elements, with one model per process; yield a `CodesFile` for each committed file.

    Text and codes stay inside one call, so memory is that of one file, however the runner fuses stages. A resume, a retry
    and another run skip files that exist.
    """

    def __init__(self, store: Store, reading: ReadOptions, fingerprint: str, options: EncodeOptions) -> None:
        super().__init__()
        self.store = store
        self.reading = reading
        self.fingerprint = fingerprint
        self.options = options

    def expand(self, units: beam.PCollection) -> beam.PCollection:
        return units | beam.ParDo(_EncodeUnits(self.store, self.reading, self.fingerprint, self.options))


class _EncodeUnits(beam.DoFn):
    def __init__(self, store: Store, reading: ReadOptions, fingerprint: str, options: EncodeOptions) -> None:
        self.store = store
        self.reading = reading
        self.fingerprint = fingerprint
        self.options = options
        self.shared = Shared()
        count = beam.metrics.Metrics.counter
        self.documents = count(METRICS, "documents")
        self.tokens = count(METRICS, "tokens")
        self.padded_tokens = count(METRICS, "padded_tokens")
        self.truncated = count(METRICS, "truncated")
        self.encode_milliseconds = count(METRICS, "encode_milliseconds")
        self.resumed_rows = count(METRICS, "resumed_rows")
        self.resumed_rejected = count(METRICS, "resumed_rejected")
        self.models_loaded = count(METRICS, "models_loaded")

    def setup(self) -> None:
        versions = (package_version(), self.options.version)
        if NOT_INSTALLED not in versions and "" not in versions and versions[0] != versions[1]:
            raise RuntimeError(f"this worker has encode-once {versions[0]}, the run was started with {versions[1]}")
        if self.options.threads:
            import torch

            torch.set_num_threads(self.options.threads)
        self.loads = 0  # not counted yet: there is no bundle during setup
        self.encoder = self.shared.acquire(self._load, tag=self.fingerprint)

    def _load(self) -> encoder.Encoder:
        self.loads += 1
        return load_stored_encoder(self.store, self.fingerprint, self.options)

    def process(self, unit: Unit) -> Iterator[CodesFile]:
        self.models_loaded.inc(self.loads)
        self.loads = 0
        try:
            yield from self._files(unit)
        except (OSError, StoreError) as error:  # of the store: the unit stays incomplete and a later run completes it
            if is_disk_full(error):
                raise
            report_failure(self.store, unit.shard, unit.index, unit.path, "encode", error)

    def _files(self, unit: Unit) -> Iterator[CodesFile]:
        files = self.store.unit_files(codes_folder(self.fingerprint), unit.shard, unit.index, unit.count)
        names = files.in_order() if files.complete else self._encode(unit, files)
        for name in names:
            yield CodesFile(name, unit.tasks, unit.path)
        if files.complete:  # by another run or an earlier attempt, since the run was planned
            self._count_resumed(files.rows + files.rejects, files.rejects)

    def _encode(self, unit: Unit, there: UnitFiles) -> Iterator[FileName]:
        """Write the missing files of a unit, one after the other; yield the names of all."""
        parts = self.store.unit_parts(parts_folder(self.fingerprint), unit.shard, unit.index, unit.count)
        content = ContentHash.of_unit(unit, self.reading)
        writer: CodesFileWriter | None = None
        index = rows_there = 0
        encoded = Encoded()
        for block in self._read(unit):
            before = encoded
            encoded = Encoded(before.source_bytes + block.source_bytes, before.documents + block.table.num_rows)
            block_hash = content.add(block)
            if writer is None and not rows_there and (name := there.files.get(index)):
                rows_there = name.rows_read
                self._count_resumed(rows_there, name.rejects)
                index += 1
                yield name
            if rows_there:
                if block.rows_read > rows_there:
                    raise StoreError(
                        f"a file of {unit.shard} in {codes_folder(self.fingerprint)} ends within block {block.index} of unit "
                        f"{unit.index}; remove the files of this shard; annotate recreates them"
                    )
                rows_there -= block.rows_read
                continue
            if writer is None:
                writer = CodesFileWriter(self.store, self.fingerprint, self.encoder.bits, unit, index)
            part = None
            if block.index in parts:
                part = read_part(self.store, self.fingerprint, parts[block.index], block, block_hash)
            if part is not None:
                self._count_resumed(block.rows_read, block.rejects.num_rows)
            else:
                seconds, part = self._encode_block(block, functools.partial(_note_part, unit, before, block))
                if seconds >= self.options.part_seconds and not writer.ends_with(block):
                    parts[block.index] = write_part(self.store, self.fingerprint, unit, block, block_hash, part)
            note_encoded(unit.shard, unit.index, encoded)
            ends = writer.ends_with(block)
            writer.append(block, part)
            if ends:
                done = [name for block_index, name in parts.items() if block_index <= block.index]
                name, rejects = writer.commit(content.hexdigest(), block.last, done)
                for reason in rejects["reason"].value_counts().to_pylist():
                    beam.metrics.Metrics.counter(METRICS, f"rejected/{reason['values']}").inc(reason["counts"])
                writer, index = None, index + 1
                yield name
        note_encoded(unit.shard, unit.index, None)

    def _read(self, unit: Unit) -> Iterator[TextBlock]:
        """Yield the blocks of a unit. If it cannot be read to its end, record the failure and stop before its last block."""
        try:
            yield from read_unit(unit, self.reading, block_limits(self.store.rules))
        except Exception as error:  # whatever a damaged shard makes a library raise, the other units go on
            report_failure(self.store, unit.shard, unit.index, unit.path, "read", error)

    def _encode_block(self, block: TextBlock, report: Callable[[int], None]) -> tuple[float, pa.Table]:
        """Encode a block; return the seconds it took, and the codes in the schema of a part.

        Args:
            report: gets the number of the block's texts that are encoded, while it is encoded.
        """
        with _encode_semaphore(self.encoder.device.type):
            started = time.perf_counter()
            codes = self.encoder.encode(block.table["text"].to_pylist(), report)
        seconds = time.perf_counter() - started
        part = part_table(codes)
        self.encode_milliseconds.inc(round(seconds * 1000))
        self.documents.inc(len(codes))
        self.tokens.inc(int(codes.n_tokens.sum()))
        self.padded_tokens.inc(codes.padded_tokens)
        self.truncated.inc(pc.sum(pc.or_(part["truncated"], block.table["truncated"])).as_py() or 0)
        return seconds, part

    def _count_resumed(self, rows: int, rejects: int) -> None:
        self.resumed_rows.inc(rows)
        self.resumed_rejected.inc(rejects)


def _note_part(unit: Unit, before: Encoded, block: TextBlock, texts: int) -> None:
    """Note that so many texts of a block are encoded, after what is encoded of its unit before it."""
    source_bytes = block.source_bytes * texts // max(block.table.num_rows, 1)
    note_encoded(unit.shard, unit.index, Encoded(before.source_bytes + source_bytes, before.documents + texts))


@functools.cache
def _encode_semaphore(device: str) -> contextlib.AbstractContextManager:
    """Return the semaphore that limits how many blocks one process encodes at once to its cores / threads.

    Clusters give a process several bundles at once. Each encoding uses the torch threads of the whole process, or the
    whole accelerator, so encoding one block after the other is as fast and needs the memory of one.
    """
    import torch

    return threading.BoundedSemaphore(max(1, usable_cores() // torch.get_num_threads()) if device == "cpu" else 1)

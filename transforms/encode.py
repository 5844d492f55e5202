"""Encode blocks of text into blocks of codes: the DoFn around `encoder`, and the store's side of it."""

from __future__ import annotations

import dataclasses
import functools
import logging
import threading
import time
from collections.abc import Iterator

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from apache_beam.utils.shared import Shared

import encoder
from transforms.blocks import TextBlock
from transforms.layout import (
    BIT_ORDER,
    BlockName,
    codes_folder,
    codes_schema,
    read_metadata,
    rejects_folder,
    with_metadata,
)
from transforms.machine import NOT_INSTALLED, installed, usable_cores
from transforms.options import EncodeOptions
from transforms.plan import Unit
from transforms.read import block_name, report_failure
from transforms.store import DamagedBlock, Store, describe_stored_encoder

METRICS = "encode_once"
_log = logging.getLogger(__name__)


@dataclasses.dataclass
class CodeBlock:
    """Carry the codes of one block.

    Attributes:
        unit: the unit it is of.
        index: which block of the unit.
        last: whether it ends the unit.
        table: id, code, n_tokens, truncated, with the store's metadata.
        rejects: rows that could not be used; None where the block was read from the store.
        logits: (n, classes) float32 by task, of the heads that scored it so far.
    """

    unit: Unit
    index: int
    last: bool
    table: pa.Table
    rejects: pa.Table | None = None
    logits: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)

    @property
    def bits(self) -> np.ndarray:
        """View the codes as (n, bits // 8) uint8 without copying."""
        return code_bits(self.table["code"])


def code_bits(column: pa.ChunkedArray) -> np.ndarray:
    """View a column of codes as (n, bits // 8) uint8, without copying where it is one chunk."""
    width = column.type.byte_width
    array = column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)
    if len(array) == 0:
        return np.empty((0, width), np.uint8)
    flat = np.frombuffer(array.buffers()[1], np.uint8)
    return flat[array.offset * width : (array.offset + len(array)) * width].reshape(-1, width)


def codes_table(codes: encoder.Codes, ids: pa.Array, cut: np.ndarray, metadata: dict) -> pa.Table:
    """Lay codes out as the store keeps them; `cut` (n,) bool marks texts that were cut before the encoder."""
    width = codes.bits.shape[1]
    code = pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(width), len(codes), [None, pa.py_buffer(np.ascontiguousarray(codes.bits))]
    )
    columns = [ids, code, pa.array(codes.n_tokens, pa.int32()), pa.array(codes.truncated | cut, pa.bool_())]
    return pa.Table.from_arrays(columns, schema=with_metadata(codes_schema(width * 8), metadata))


def load_stored_encoder(store: Store, fingerprint: str, options: EncodeOptions) -> encoder.Encoder:
    """Load the encoder that lies in a store; its base model must be found here."""
    bundle = describe_stored_encoder(store.root, fingerprint[:12])
    if options.base_id is not None:
        bundle = dataclasses.replace(bundle, base_id=options.base_id)
    return encoder.load(bundle, options.device, options.precision, options.batch_tokens)


class EncodeText(beam.PTransform):
    """Encode (`Unit`, `TextBlock`) pairs into `CodeBlock` elements with one model a process.

    A block whose codes are stored already (by a run that was killed, or by a retry) is read back, not encoded again.
    """

    def __init__(self, store: Store, fingerprint: str, options: EncodeOptions) -> None:
        super().__init__()
        self.store = store
        self.fingerprint = fingerprint
        self.options = options

    def expand(self, blocks):
        return blocks | beam.ParDo(_EncodeText(self.store, self.fingerprint, self.options))


class _EncodeText(beam.DoFn):
    def __init__(self, store: Store, fingerprint: str, options: EncodeOptions) -> None:
        self.store = store
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

    def _stored(self, folder: str, name: BlockName) -> pa.Table | None:
        """Read a block that is there; None where it is not, or is damaged: then it is removed and encoded again."""
        if not self.store.has_block(folder, name):
            return None
        try:
            return self.store.read_block(folder, name)
        except FileNotFoundError:  # removed meanwhile
            return None
        except DamagedBlock as error:
            _log.warning("%s/%s is damaged and is encoded again: %s", folder, name, error)
            self.store.remove_block(folder, name)
            return None

    def setup(self) -> None:
        if NOT_INSTALLED not in (found := installed(), self.options.version) and self.options.version not in (
            "",
            found,
        ):
            raise RuntimeError(f"this worker has encode-once {found}, the run was started with {self.options.version}")
        if self.options.threads:
            import torch

            torch.set_num_threads(self.options.threads)
        self.encoder = self.shared.acquire(
            lambda: load_stored_encoder(self.store, self.fingerprint, self.options), tag=self.fingerprint
        )

    def process(self, element: tuple[Unit, TextBlock]) -> Iterator[CodeBlock]:
        unit, block = element
        name = block_name(unit, block.index, block.last)
        folder = codes_folder(self.fingerprint)
        try:
            stored = self._stored(folder, name)
        except OSError as error:  # it is there and cannot be read now: the unit stays incomplete, a later run goes on
            report_failure(self.store, unit, "encode", error)
            return
        if stored is not None:
            self.resumed_rows.inc(block.rows_read)
            self.resumed_rejected.inc(block.rejects.num_rows)
            yield CodeBlock(unit, block.index, block.last, stored)
            return
        with _turns(self.encoder.device.type):
            started = time.perf_counter()
            codes = self.encoder.encode(block.table["text"].to_pylist())
        self.encode_milliseconds.inc(round((time.perf_counter() - started) * 1000))
        cut = block.table["truncated"].to_numpy()
        metadata = {
            "encoder": self.fingerprint,
            "bits": self.encoder.bits,
            "bit_order": BIT_ORDER,
            "shard": {"path": unit.relative_path, "size_bytes": unit.size_bytes, "stamp": unit.stamp},
            "rows_read": block.rows_read,
            "rows_rejected": block.rejects.num_rows,
            "text_bytes": pc.sum(pc.binary_length(block.table["text"])).as_py() or 0,
        }
        table = codes_table(codes, block.table["id"].combine_chunks(), cut, metadata)
        self.documents.inc(len(codes))
        self.tokens.inc(int(codes.n_tokens.sum()))
        self.padded_tokens.inc(codes.padded_tokens)
        self.truncated.inc(int((codes.truncated | cut).sum()))
        yield CodeBlock(unit, block.index, block.last, table, block.rejects)


@functools.cache
def _turns(device: str) -> threading.BoundedSemaphore:
    """Return what lets as many blocks be encoded at once, in one process, as there are cores for their threads.

    Clusters give a process as many bundles as it has slots. Each encoding takes the torch threads of the whole process, or
    the whole accelerator, so one after the other is as fast, and takes the memory of one.
    """
    import torch

    return threading.BoundedSemaphore(max(1, usable_cores() // torch.get_num_threads()) if device == "cpu" else 1)


class WriteCodes(beam.PTransform):
    """Commit `CodeBlock` elements, rejects before codes, and pass them on once they are committed."""

    def __init__(self, store: Store, fingerprint: str) -> None:
        super().__init__()
        self.store = store
        self.fingerprint = fingerprint

    def expand(self, blocks):
        return blocks | beam.ParDo(_WriteCodes(self.store, self.fingerprint))


class _WriteCodes(beam.DoFn):
    def __init__(self, store: Store, fingerprint: str) -> None:
        self.store = store
        self.fingerprint = fingerprint

    def process(self, block: CodeBlock) -> Iterator[CodeBlock]:
        if block.rejects is not None:
            if block.rejects.num_rows:
                name = block_name(block.unit, block.index, last=False)
                self.store.write_block(rejects_folder(self.fingerprint), name, block.rejects)
                for reason in block.rejects["reason"].value_counts().to_pylist():
                    beam.metrics.Metrics.counter(METRICS, f"rejected/{reason['values']}").inc(reason["counts"])
            name = block_name(block.unit, block.index, block.last)
            self.store.write_block(codes_folder(self.fingerprint), name, block.table)
        yield block


class ReadCodes(beam.PTransform):
    """Read the stored codes of `Unit` elements into `CodeBlock` elements."""

    def __init__(self, store: Store, fingerprint: str) -> None:
        super().__init__()
        self.store = store
        self.fingerprint = fingerprint

    def expand(self, units):
        return units | beam.ParDo(_ReadCodes(self.store, self.fingerprint))


class _ReadCodes(beam.DoFn):
    def __init__(self, store: Store, fingerprint: str) -> None:
        self.store = store
        self.fingerprint = fingerprint

    def process(self, unit: Unit) -> Iterator[CodeBlock]:
        folder = codes_folder(self.fingerprint)
        try:
            for index in range(unit.coded_blocks):
                last = index == unit.coded_blocks - 1
                name = block_name(unit, index, last)
                try:
                    table = self.store.read_block(folder, name)
                except DamagedBlock as error:
                    raise OSError(
                        f"{folder}/{name} is damaged ({error}); delete it, and annotate makes it again"
                    ) from None
                if (found := read_metadata(table.schema)["encoder"]) != self.fingerprint:
                    raise ValueError(f"codes are of encoder {found[:12]}, not of {self.fingerprint[:12]}")
                yield CodeBlock(unit, index, last, table)
        except (OSError, ValueError) as error:  # pyarrow's errors are among these
            report_failure(self.store, unit, "read-codes", error)

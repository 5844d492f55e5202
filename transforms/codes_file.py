"""Convert encoded blocks to the tables that the store keeps, and commit them file by file."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

import encoder
from transforms.blocks import REJECT_SCHEMA, TextBlock
from transforms.layout import (
    BIT_ORDER,
    FileName,
    PartName,
    codes_folder,
    codes_schema,
    part_schema,
    parts_folder,
    read_metadata,
    rejects_folder,
    with_metadata,
)
from transforms.store import Store
from transforms.tables import DamagedFileError, TableWriter, write_table
from transforms.unit import Unit

CONTENT_HASH = "encode_once.content"  # in the footer: hash of the unit's rows up to the end of the file
_BLOCK_HASH = "block"


def code_bits(column: pa.ChunkedArray) -> np.ndarray:
    """View a column of codes as (n, bits // 8) uint8, without copying where it is one chunk."""
    width = column.type.byte_width
    array = column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)
    if len(array) == 0:
        return np.empty((0, width), np.uint8)
    flat = np.frombuffer(array.buffers()[1], np.uint8)
    return flat[array.offset * width : (array.offset + len(array)) * width].reshape(-1, width)


def part_table(codes: encoder.Codes) -> pa.Table:
    """Convert the codes of n texts to a table in the schema of a part."""
    width = codes.bits.shape[1]
    bits = pa.py_buffer(np.ascontiguousarray(codes.bits))
    code = pa.FixedSizeBinaryArray.from_buffers(pa.binary(width), len(codes), [None, bits])
    columns = [code, pa.array(codes.n_tokens, pa.int32()), pa.array(codes.truncated, pa.bool_())]
    return pa.Table.from_arrays(columns, schema=part_schema(width * 8))


def codes_table(block: TextBlock, part: pa.Table) -> pa.Table:
    """Join the rows of a block with their codes, in the schema of codes."""
    texts = block.table
    columns = {
        "id": texts["id"],
        "position": texts["position"],
        "code": part["code"],
        "n_tokens": part["n_tokens"],
        "text_bytes": pc.binary_length(texts["text"]),
        "truncated": pc.or_(part["truncated"], texts["truncated"]),
    }
    return pa.Table.from_arrays(
        list(columns.values()), schema=codes_schema(part.schema.field("code").type.byte_width * 8)
    )


class CodesFileWriter:
    """Collect the blocks of one file of codes of a unit; then commit it.

    Rejects are committed before the codes and parts are removed after them. So a committed file means that all its rows
    are accounted for, and no row is lost at any time.
    """

    def __init__(self, store: Store, encoder_fingerprint: str, bits: int, unit: Unit, index: int) -> None:
        self.rows = 0
        self._store = store
        self._encoder = encoder_fingerprint
        self._unit = unit
        self._index = index
        self._max_rows = store.rules.file_rows(bits)
        metadata = {
            "encoder": encoder_fingerprint,
            "bits": bits,
            "bit_order": BIT_ORDER,
            "shard": unit.id_path,
        }
        self._schema = with_metadata(codes_schema(bits), metadata)
        self._writer = TableWriter(self._schema)
        self._rejects: list[pa.Table] = []

    def ends_with(self, block: TextBlock) -> bool:
        """Whether the file is closed after a block: it reaches the maximum rows, or the unit ends."""
        return block.last or self.rows + block.table.num_rows >= self._max_rows

    def append(self, block: TextBlock, part: pa.Table) -> None:
        """Add the next block and its codes."""
        self._writer.append(codes_table(block, part).replace_schema_metadata(self._schema.metadata))
        self.rows += block.table.num_rows
        self._rejects.append(block.rejects)

    def commit(self, content_hash: str, last: bool, parts: Iterable[PartName]) -> tuple[FileName, pa.Table]:
        """Commit the rejects and the codes, then remove the parts of its blocks; return the name and the rejects."""
        rejects = pa.concat_tables([REJECT_SCHEMA.empty_table(), *self._rejects])
        unit = self._unit
        name = FileName(unit.shard, unit.index, unit.count, self._index, self.rows, rejects.num_rows, last)
        if rejects.num_rows:
            self._store.commit(rejects_folder(self._encoder), name, write_table(rejects))
        self._store.commit(codes_folder(self._encoder), name, self._writer.finish({CONTENT_HASH: content_hash}))
        for part in parts:
            self._store.remove(parts_folder(self._encoder), part)
        return name, rejects


def write_part(
    store: Store, encoder_fingerprint: str, unit: Unit, block: TextBlock, block_hash: str, part: pa.Table
) -> PartName:
    """Save the codes of one block of a file that is not closed yet; return the part's name."""
    rejects = block.rejects.num_rows
    name = PartName(unit.shard, unit.index, unit.count, block.index, part.num_rows, rejects, block.source_bytes)
    table = part.replace_schema_metadata(with_metadata(part.schema, {_BLOCK_HASH: block_hash}).metadata)
    store.commit(parts_folder(encoder_fingerprint), name, write_table(table))
    return name


def read_part(
    store: Store, encoder_fingerprint: str, name: PartName, block: TextBlock, block_hash: str
) -> pa.Table | None:
    """Read the codes of a block from its part; None where the part is gone, damaged, or of other rows."""
    try:
        table = store.read(parts_folder(encoder_fingerprint), name)
        if read_metadata(table.schema)[_BLOCK_HASH] == block_hash and table.num_rows == block.table.num_rows:
            return table.replace_schema_metadata(None)
    except (FileNotFoundError, DamagedFileError, KeyError, ValueError):
        pass
    store.remove(parts_folder(encoder_fingerprint), name)
    return None

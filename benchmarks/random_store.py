"""Write a store of random codes with the functions of the store, to measure `label` at any size."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa

import encoder
from transforms.blocks import REJECT_SCHEMA, TEXT_SCHEMA, TextBlock
from transforms.codes_file import CodesFileWriter, part_table
from transforms.layout import shard_key
from transforms.store import open_or_create_store
from transforms.unit import Unit

BLOCKS_PER_UNIT = 16  # about as many as in a unit of 16 MiB of short texts
BYTES_PER_DOCUMENT = 192  # the ids end in byte offsets; this gives them a realistic length


def write(folder: Path, documents: int, bundle: encoder.Bundle, block_rows: int = 4096, seed: int = 0) -> Path:
    """Write the codes of `documents` documents of one text shard, as `encode` writes them; return the folder.

    The bits are random, so the labels are distributed more evenly than those of real texts. Like real codes, the random
    ones hardly compress.
    """
    shutil.rmtree(folder, ignore_errors=True)
    created = open_or_create_store(str(folder), str(folder), {"block_rows": block_rows}, "encode-once benchmarks")
    store = dataclasses.replace(created, run_id="random")
    blocks = [min(block_rows, documents - start) for start in range(0, documents, block_rows)]
    units = -(-len(blocks) // BLOCKS_PER_UNIT)
    key = shard_key("random.txt", documents * BYTES_PER_DOCUMENT, 0, {})
    rng = np.random.default_rng(seed)
    writer, file = None, 0
    for number, rows in enumerate(blocks):
        unit_index, index = divmod(number, BLOCKS_PER_UNIT)
        unit = Unit(key, unit_index, units, (), path="random.txt", id_path="random.txt")
        block = _text_block(number * block_rows, rows, index, index == BLOCKS_PER_UNIT - 1 or number == len(blocks) - 1)
        codes = encoder.Codes(
            bits=rng.integers(0, 256, (rows, bundle.bits // 8), np.uint8),
            n_tokens=rng.integers(5, 100, rows, np.int32),
            truncated=np.zeros(rows, bool),
            padded_tokens=0,
        )
        file = 0 if index == 0 else file
        writer = writer or CodesFileWriter(store, bundle.fingerprint, bundle.bits, unit, file)
        ends = writer.ends_with(block)
        writer.append(block, part_table(codes))
        if ends:
            writer.commit("random", block.last, ())
            writer, file = None, file + 1
    shutil.rmtree(store.run_folder)
    return folder


def _text_block(first: int, rows: int, index: int, last: bool) -> TextBlock:
    positions = np.arange(first, first + rows, dtype=np.int64) * BYTES_PER_DOCUMENT
    columns = {
        "id": pa.array([f"random.txt@{position}" for position in positions.tolist()]),
        "text": pa.repeat("x" * (BYTES_PER_DOCUMENT - 1), rows),
        "truncated": pa.repeat(False, rows),
        "position": pa.array(positions),
    }
    table = pa.table([columns[name] for name in TEXT_SCHEMA.names], schema=TEXT_SCHEMA)
    return TextBlock(table, REJECT_SCHEMA.empty_table(), index, last, rows, rows * BYTES_PER_DOCUMENT)

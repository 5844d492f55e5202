"""Write a store of random codes through the store's own functions, so that `label` can be measured at any size."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa

import encoder
from transforms.encode import BIT_ORDER, codes_table
from transforms.layout import BlockName, codes_folder, shard_key
from transforms.store import open_or_create_store

BLOCKS_PER_UNIT = 16  # about what 16 MiB of short texts give
BYTES_PER_DOCUMENT = 192  # so that ids, which end in byte offsets, look as they do


def write(folder: Path, documents: int, bundle: encoder.Bundle, block_rows: int = 4096, seed: int = 0) -> Path:
    """Write codes of `documents` documents of one text shard, as `encode` would leave them; returns the folder.

    The bits are random: labels come out more evenly than of real texts, and codes do not compress, as real ones hardly do.
    """
    shutil.rmtree(folder, ignore_errors=True)
    new_store = open_or_create_store(str(folder), str(folder), {"block_rows": block_rows}, "encode-once benchmarks")
    store = dataclasses.replace(new_store, run_id="random")
    blocks = [min(block_rows, documents - start) for start in range(0, documents, block_rows)]
    units = -(-len(blocks) // BLOCKS_PER_UNIT)
    path, size_bytes = "random.txt", documents * BYTES_PER_DOCUMENT
    shard = {"path": path, "size_bytes": size_bytes, "stamp": 0}
    key = shard_key(path, size_bytes, "0", {})
    common = {"encoder": bundle.fingerprint, "bits": bundle.bits, "bit_order": BIT_ORDER, "shard": shard}
    rng = np.random.default_rng(seed)
    for number, rows in enumerate(blocks):
        unit, index = divmod(number, BLOCKS_PER_UNIT)
        last = index == BLOCKS_PER_UNIT - 1 or number == len(blocks) - 1
        codes = encoder.Codes(
            bits=rng.integers(0, 256, (rows, bundle.bits // 8), np.uint8),
            n_tokens=rng.integers(5, 100, rows, np.int32),
            truncated=np.zeros(rows, bool),
            padded_tokens=0,
        )
        first = number * block_rows
        ids = pa.array([f"random.txt@{i * BYTES_PER_DOCUMENT}" for i in range(first, first + rows)])
        metadata = common | {"rows_read": rows, "rows_rejected": 0, "text_bytes": rows * (BYTES_PER_DOCUMENT - 1)}
        table = codes_table(codes, ids, np.zeros(rows, bool), metadata)
        store.write_block(codes_folder(bundle.fingerprint), BlockName(key, unit, units, index, last), table)
    shutil.rmtree(store.run_folder)
    return folder

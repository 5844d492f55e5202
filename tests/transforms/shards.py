"""Make shards of every format for the tests of transforms, and read them back."""

import bz2
import csv
import gzip
import io
import json
import lzma

import pyarrow as pa
import pyarrow.parquet as pq

from transforms.blocks import REJECT_REASONS, REJECT_SCHEMA, TEXT_SCHEMA, BlockLimits
from transforms.options import ReadOptions
from transforms.readers.formats import detect
from transforms.readers.records import read_blocks

TEXTS = [f"document {index} über {'wort ' * (index % 7)}" for index in range(300)]


def zstd(data):
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(data)
    return sink.getvalue().to_pybytes()


COMPRESS = {"": bytes, ".gz": gzip.compress, ".zst": zstd, ".bz2": bz2.compress, ".xz": lzma.compress}


def as_csv(rows, delimiter=","):
    sink = io.StringIO(newline="")
    writer = csv.DictWriter(sink, fieldnames=["id", "text"], delimiter=delimiter)
    writer.writeheader()
    writer.writerows(rows)
    return sink.getvalue().encode()


def as_parquet(rows, **options):
    sink = io.BytesIO()
    pq.write_table(rows if isinstance(rows, pa.Table) else pa.Table.from_pylist(rows), sink, **options)
    return sink.getvalue()


def as_jsonl(rows):
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


ENCODE = {
    ".txt": lambda rows: b"".join(row["text"].encode() + b"\n" for row in rows),
    ".jsonl": as_jsonl,
    ".csv": as_csv,
    ".tsv": lambda rows: as_csv(rows, "\t"),
    ".parquet": lambda rows: as_parquet(rows, row_group_size=70),
}
ROWS = [{"id": f"row-{index}", "text": text} for index, text in enumerate(TEXTS)]
TEXT_FORMATS = [ending for ending in ENCODE if ending != ".parquet"]


def read(data, name="a.txt", unit_range=None, options=None, limits=None, **keywords):
    if unit_range is None:
        unit_range = (0, pq.ParquetFile(io.BytesIO(data)).num_row_groups) if ".parquet" in name else (0, len(data))
    options = options or ReadOptions()
    shard_format = detect(name, options.format, options.encoding)
    blocks = list(
        read_blocks(
            lambda: io.BytesIO(data),
            f"/data/{name}",
            name,
            shard_format,
            unit_range,
            options,
            limits or BlockLimits(),
            **keywords,
        )
    )
    for index, block in enumerate(blocks):
        assert block.table.schema == TEXT_SCHEMA
        assert block.rejects.schema == REJECT_SCHEMA
        assert block.rows_read == block.table.num_rows + block.rejects.num_rows
        assert (block.index, block.last) == (index, index == len(blocks) - 1)
        assert set(block.rejects["reason"].to_pylist()) <= set(REJECT_REASONS)
    return blocks


def column(blocks, name):
    return [value for block in blocks for value in block.table[name].to_pylist()]


def rejects(blocks):
    return [(row["position"], row["id"], row["reason"]) for block in blocks for row in block.rejects.to_pylist()]

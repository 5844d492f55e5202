"""Other tools read codes and labels by their Hive folders as they stand."""

from __future__ import annotations

import numpy as np
import pyarrow.dataset as ds
import pytest

import encoder
import heads
from tests.conftest import optional, write_corpus


@pytest.fixture
def store(annotate_tiny, tmp_path):
    write_corpus(tmp_path / "in")
    annotate_tiny("--id_field", "id", "--block_rows", "16")
    return tmp_path / "store"


def test_duckdb_joins_labels_to_codes(store, tiny_heads):
    duckdb = optional("duckdb")
    head = heads.load(tiny_heads["mood"])
    rows = duckdb.sql(
        f"""
        SELECT l.task, l.head, l.label, count(*) AS n, min(octet_length(c.code)) AS bytes
        FROM read_parquet('{store}/labels/task=mood/**/*.parquet', hive_partitioning = true) l
        JOIN read_parquet('{store}/codes/**/*.parquet', hive_partitioning = true) c USING (id)
        GROUP BY ALL
        """
    ).fetchall()
    assert sum(row[3] for row in rows) == 320
    assert {row[:2] for row in rows} == {("mood", f"h{head.fingerprint[:12]}")}
    assert {row[4] for row in rows} == {8}


def test_duckdb_reads_lists_of_labels(store):
    duckdb = optional("duckdb")
    query = f"SELECT count(*) FROM (SELECT unnest(labels) AS l FROM '{store}/labels/task=themes/**/*.parquet')"
    assert duckdb.sql(query).fetchall()[0][0] > 0


def test_pandas_reads_codes_and_labels(store, tiny_bundle):
    pandas = optional("pandas")
    codes = pandas.read_parquet(store / "codes")
    labels = pandas.read_parquet(store / "labels" / "task=mood")
    assert len(codes) == len(labels) == 320
    short = encoder.describe(str(tiny_bundle)).fingerprint[:12]
    assert set(codes["encoder"].astype(str)) == {f"e{short}"}
    assert str(labels["label"].dtype) == "category"
    unpacked = np.unpackbits(np.frombuffer(b"".join(codes["code"]), np.uint8).reshape(320, 8), axis=1)
    assert 0.3 < unpacked.mean() < 0.7
    assert pandas.merge(codes, labels, on="id").shape[0] == 320


def test_pyarrow_reads_labels_of_all_tasks_by_partition(store):
    moods = ds.dataset(store / "labels", partitioning="hive").to_table(filter=ds.field("task") == "mood")
    assert moods.num_rows == 320

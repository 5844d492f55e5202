"""Claims about reading whole units: every row once, in its block or among its rejects."""

import io
import json
import random
import subprocess
import sys

import pytest

from tests.transforms.shards import COMPRESS, ENCODE, ROWS, TEXT_FORMATS, TEXTS, as_parquet, column, read, rejects
from transforms.blocks import TEXT_SCHEMA, BlockLimits, UnitError
from transforms.options import ReadOptions
from transforms.readers.formats import byte_ranges, detect
from transforms.readers.records import read_blocks, unit_ranges


@pytest.mark.parametrize("chunk_bytes", [64, 1 << 20])
@pytest.mark.parametrize("compression", COMPRESS)
@pytest.mark.parametrize("ending", TEXT_FORMATS)
def test_every_format_and_compression_gives_the_same_texts(ending, compression, chunk_bytes):
    data = COMPRESS[compression](ENCODE[ending](ROWS))
    name = f"a{ending}{compression}"
    blocks = read(data, name, limits=BlockLimits(rows=40), chunk_bytes=chunk_bytes)
    assert column(blocks, "text") == TEXTS
    assert sum(block.source_bytes for block in blocks) == len(data)
    assert rejects(blocks) == []
    if compression or ending in (".csv", ".tsv"):
        assert column(blocks, "id") == [f"{name}#{row}" for row in range(len(TEXTS))]


@pytest.mark.parametrize("ending", [ending for ending in ENCODE if ending != ".txt"])
def test_id_field_gives_the_ids(ending):
    blocks = read(ENCODE[ending](ROWS), f"a{ending}", options=ReadOptions(id_field="id"))
    assert column(blocks, "id") == [row["id"] for row in ROWS]
    assert column(blocks, "text") == TEXTS


@pytest.mark.parametrize("ending", [".txt", ".jsonl"])
def test_ids_of_splittable_text_are_byte_offsets(ending):
    data = ENCODE[ending](ROWS)
    for row_id, text in zip(*(column(read(data, f"a{ending}"), name) for name in ("id", "text"))):
        path, offset = row_id.split("@")
        line = data[int(offset) :].split(b"\n")[0].decode()
        assert path == f"a{ending}"
        assert text == (line if ending == ".txt" else json.loads(line)["text"])


@pytest.mark.parametrize("ending", ENCODE)
def test_kept_rows_carry_the_position_their_id_is_made_of(ending):
    rows = [{"id": str(row), "text": text if row % 5 else " "} for row, text in enumerate(TEXTS)]
    blocks = read(ENCODE[ending](rows), f"a{ending}", limits=BlockLimits(rows=70))
    mark = "@" if ending in (".txt", ".jsonl") else "#"
    positions = column(blocks, "position")
    assert [f"a{ending}{mark}{position}" for position in positions] == column(blocks, "id")
    assert sorted(positions + [position for position, *_ in rejects(blocks)])[:2] == [0, positions[0]]
    assert len(positions) == len(TEXTS) * 4 / 5


@pytest.mark.parametrize("unit_bytes", [1, 30, 1000, 10**6])
@pytest.mark.parametrize("ending", [".txt", ".jsonl"])
def test_byte_ranges_give_the_whole_shard_once_in_order(ending, unit_bytes):
    data = ENCODE[ending](ROWS)[:1500]
    whole = read(data, f"a{ending}")
    blocks = [read(data, f"a{ending}", unit) for unit in byte_ranges(len(data), unit_bytes)]
    for name in TEXT_SCHEMA.names:
        assert [value for unit in blocks for value in column(unit, name)] == column(whole, name)
    assert [row for unit in blocks for row in rejects(unit)] == rejects(whole)
    assert sum(block.source_bytes for unit in blocks for block in unit) == len(data)


@pytest.mark.parametrize("ending", ENCODE)
def test_long_text_is_truncated_between_characters(ending):
    rows = [{"id": "1", "text": "short"}, {"id": "2", "text": "é" * 20}, {"id": "3", "text": "é" * 5}]
    blocks = read(ENCODE[ending](rows), f"a{ending}", options=ReadOptions(max_text_bytes=11))
    assert column(blocks, "text") == ["short", "é" * 5, "é" * 5]
    assert column(blocks, "truncated") == [False, True, False]


@pytest.mark.parametrize("ending", ENCODE)
@pytest.mark.parametrize("limits", [BlockLimits(rows=7), BlockLimits(text_bytes=99), BlockLimits(5, 130)])
def test_blocks_follow_from_content_and_limits_alone(ending, limits):
    data = ENCODE[ending](ROWS[:120])
    whole = read(data, f"a{ending}", limits=limits)
    for chunk_bytes in (1, 50, 777):
        other = read(data, f"a{ending}", limits=limits, chunk_bytes=chunk_bytes)
        assert [block.table for block in other] == [block.table for block in whole]
        if ending not in (".csv", ".tsv"):  # there, source_bytes are as fine as the reads are
            assert other == whole
    assert column(whole, "text") == TEXTS[:120]


@pytest.mark.parametrize("compression", COMPRESS)
@pytest.mark.parametrize("ending", TEXT_FORMATS)
def test_shard_without_rows_is_one_empty_block(ending, compression):
    content = b"id,text\n" if ending == ".csv" else b"id\ttext\n" if ending == ".tsv" else b""
    data = COMPRESS[compression](content)
    (block,) = read(data, f"a{ending}{compression}")
    assert (block.rows_read, block.last, block.index, block.source_bytes) == (0, True, 0, len(data))


@pytest.mark.parametrize("compression", [".gz", ".zst", ".bz2", ".xz"])
@pytest.mark.parametrize("ending", TEXT_FORMATS)
def test_truncated_shard_fails_after_the_blocks_before(ending, compression):
    rows = [{"id": "1", "text": random.Random(row).randbytes(30).hex()} for row in range(8000)]
    data = COMPRESS[compression](ENCODE[ending](rows))[:-100]
    name, options, limits = f"a{ending}{compression}", ReadOptions(), BlockLimits(rows=100)
    blocks = read_blocks(
        lambda: io.BytesIO(data), f"/data/{name}", name, detect(name), (0, 0), options, limits, chunk_bytes=1 << 12
    )
    texts = []

    def take_all():
        for block in blocks:
            assert not block.last
            texts.extend(block.table["text"].to_pylist())

    with pytest.raises(UnitError, match=f"/data/{name}: .* ends early") as raised:
        take_all()
    assert raised.value.reason == "truncated_stream"
    assert texts == [row["text"] for row in rows[: len(texts)]]


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".parquet"])
@pytest.mark.parametrize("options", [ReadOptions(text_field="body"), ReadOptions(id_field="body")])
def test_missing_column_names_those_there_are(ending, options):
    with pytest.raises(UnitError, match=r"no column 'body'; its columns are id, text") as raised:
        read(ENCODE[ending](ROWS[:3]), f"a{ending}", options=options)
    assert raised.value.reason == "missing_column"


@pytest.mark.parametrize(
    ("error", "reason"),
    [(FileNotFoundError(2, "gone"), "vanished_shard"), (PermissionError(13, "no"), "unreadable_shard")],
)
def test_shard_that_cannot_be_opened_fails_its_unit(error, reason):
    def open_raw():
        raise error

    with pytest.raises(UnitError, match=r"/data/a\.txt") as raised:
        list(read_blocks(open_raw, "/data/a.txt", "a.txt", detect("a.txt"), (0, 9), ReadOptions(), BlockLimits()))
    assert raised.value.reason == reason


@pytest.mark.parametrize(("data", "unit_range"), [(b"short\n", (3, 99)), (as_parquet(ROWS[:3]), (0, 5))])
def test_shard_smaller_than_planned_fails_its_unit(data, unit_range):
    name = "a.txt" if data.startswith(b"short") else "a.parquet"
    with pytest.raises(UnitError, match="plan it again") as raised:
        read(data, name, unit_range)
    assert raised.value.reason == "changed_shard"


PEAK_OF_ONE_LINE = """
import resource, sys
from transforms.blocks import BlockLimits
from transforms.options import ReadOptions
from transforms.readers.formats import detect
from transforms.readers.records import read_blocks

path = sys.argv[1]
def peak_mb():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20 if sys.platform == "darwin" else 1 << 10)
before = peak_mb()
options, limits = ReadOptions(), BlockLimits()
blocks = read_blocks(lambda: open(path, "rb"), path, "a", detect(path), (0, 96 << 20), options, limits)
rows = [block.rows_read for block in blocks]
assert rows == [1], rows
print(peak_mb() - before)
"""


@pytest.mark.parametrize(("name", "most_mb"), [("a.txt", 24), ("a.jsonl", 90)])
def test_single_line_of_96_mb_takes_little_memory(tmp_path, name, most_mb):
    path = tmp_path / name
    with path.open("wb") as file:
        for _ in range(96):
            file.write(b"x" * (1 << 20))
    run = subprocess.run(
        [sys.executable, "-c", PEAK_OF_ONE_LINE, str(path)], capture_output=True, text=True, check=True
    )
    assert float(run.stdout) < most_mb


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("a.txt", ReadOptions(), [(0, 100, 100), (100, 200, 100), (200, 250, 50)]),
        ("notes", ReadOptions(), [(0, 100, 100), (100, 200, 100), (200, 250, 50)]),
        ("a.txt", ReadOptions(encoding="utf-16"), [(0, 250, 250)]),
        ("a.csv", ReadOptions(), [(0, 250, 250)]),
        ("a.jsonl.gz", ReadOptions(), [(0, 250, 250)]),
    ],
)
def test_units_of_shards_that_need_not_be_opened(name, options, expected):
    def open_raw():
        pytest.fail("the shard was opened")

    assert unit_ranges(open_raw, detect(name, options.format, options.encoding), 250, 100) == expected


@pytest.mark.parametrize("compression", ["", ".gz"])
def test_units_of_parquet_follow_from_its_footer(compression):
    data = as_parquet(ROWS, row_group_size=100)
    shard_format = detect(f"a.parquet{compression}")
    if compression:
        with pytest.raises(UnitError, match="Parquet inside gzip cannot be read"):
            unit_ranges(lambda: io.BytesIO(data), shard_format, len(data), 1)
    else:
        ranges = unit_ranges(lambda: io.BytesIO(data), shard_format, len(data), 1)
        assert [(start, stop) for start, stop, _ in ranges] == [(0, 1), (1, 2), (2, 3)]


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".csv.gz", ".jsonl.gz", ".txt.zst"])
def test_blocks_of_a_shard_that_is_read_at_once_share_its_bytes(ending):
    rows = [{"id": str(row), "text": random.Random(row).randbytes(30).hex()} for row in range(6000)]
    kind, compression = f".{ending.split('.')[1]}", f".{ending.split('.')[2]}" if ending.count(".") > 1 else ""
    data = COMPRESS[compression](ENCODE[kind](rows))
    blocks = read(data, f"a{ending}", limits=BlockLimits(rows=1000))
    shares = [block.source_bytes / len(data) for block in blocks]
    assert len(shares) == 6
    assert sum(block.source_bytes for block in blocks) == len(data)
    assert max(shares) < 0.3

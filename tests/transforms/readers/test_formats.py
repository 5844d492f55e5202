"""Claims about formats, compressed streams and ranges."""

import bz2
import gzip
import io
import itertools
import lzma
import random

import pytest

from tests.transforms.shards import zstd
from transforms.blocks import UnitError
from transforms.readers.formats import Format, byte_ranges, detect, open_compressed

TEXT = random.Random(0).randbytes(5000) + b"a line that repeats\n" * 5000
COMPRESS = {"gzip": gzip.compress, "zstd": zstd, "bz2": bz2.compress, "xz": lzma.compress}
each_compression = pytest.mark.parametrize("compression", COMPRESS)


def decompress(data, compression, read_bytes=1 << 20):
    file = open_compressed(io.BytesIO(data), compression)
    return b"".join(iter(lambda: file.read(read_bytes), b""))


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("a.txt", Format("text", None, True)),
        ("a.TXT", Format("text", None, True)),
        ("a.md", Format("text", None, True)),
        ("notes", Format("text", None, True)),
        ("a.weird", Format("text", None, True)),
        ("gs://b/x.y/a.jsonl", Format("jsonl", None, True)),
        ("a.ndjson", Format("jsonl", None, True)),
        ("a.json", Format("jsonl", None, True)),
        ("a.csv", Format("csv", None, False)),
        ("a.tsv", Format("tsv", None, False)),
        ("a.parquet", Format("parquet", None, True)),
        ("a.pq", Format("parquet", None, True)),
        ("a.txt.gz", Format("text", "gzip", False)),
        ("a.jsonl.zst", Format("jsonl", "zstd", False)),
        ("a.csv.bz2", Format("csv", "bz2", False)),
        ("a.log.xz", Format("text", "xz", False)),
        ("a.gz", Format("text", "gzip", False)),
    ],
)
def test_name_tells_format(path, expected):
    assert detect(path) == expected


def test_named_format_overrides_the_ending_but_not_the_compression():
    assert detect("a.txt", "jsonl") == Format("jsonl", None, True)
    assert detect("a.dat.gz", "csv") == Format("csv", "gzip", False)


@each_compression
@pytest.mark.parametrize("read_bytes", [7001, 1 << 20])
def test_stream_gives_what_was_compressed(compression, read_bytes):
    assert decompress(COMPRESS[compression](TEXT), compression, read_bytes) == TEXT


@each_compression
def test_concatenated_members_are_all_read(compression):
    members = [b"one\n", b"", TEXT, b"four"]
    data = b"".join(COMPRESS[compression](member) for member in members)
    assert decompress(data, compression) == b"".join(members)


@pytest.mark.parametrize("compression", ["gzip", "bz2", "xz"])
def test_zeros_behind_members_are_padding(compression):
    compress = COMPRESS[compression]
    data = compress(b"one\n") + bytes(8) + compress(b"two\n") + bytes(4)
    assert decompress(data, compression) == b"one\ntwo\n"


@each_compression
@pytest.mark.parametrize("before", [b"", b"a whole member\n"])
def test_every_truncation_raises(compression, before):
    whole = COMPRESS[compression](TEXT)
    prefix = COMPRESS[compression](before) if before else b""
    spots = {1, 2, 3, 4, 5, 6, 10, 20, *range(30, len(whole), len(whole) // 40), *range(len(whole) - 12, len(whole))}
    if not before:
        spots.add(0)
    for spot in sorted(spots):
        with pytest.raises(UnitError) as raised:
            decompress(prefix + whole[:spot], compression)
        assert raised.value.reason == "truncated_stream" or spot < 10, (spot, str(raised.value))


@each_compression
@pytest.mark.parametrize("damage", ["not compressed", "garbage behind", "flipped bytes"])
def test_corrupt_stream_raises(compression, damage):
    whole = COMPRESS[compression](random.Random(1).randbytes(9000))
    middle = len(whole) // 2
    data = {
        "not compressed": b"plain text\n" * 50,
        "garbage behind": whole + b"plain text\n" * 50,
        "flipped bytes": b"\xff" * 40 + whole[40:],
    }[damage]
    assert middle > 40
    with pytest.raises(UnitError, match="corrupt") as raised:
        decompress(data, compression)
    assert raised.value.reason == "corrupt_stream"


@each_compression
def test_unreadable_file_is_not_called_corrupt(compression):
    class Broken(io.BytesIO):
        def read(self, *_):
            raise PermissionError(13, "no")

    with pytest.raises(PermissionError):
        open_compressed(Broken(b"x"), compression).read(10)


@each_compression
def test_reading_leaves_the_raw_file_open(compression):
    raw = io.BytesIO(COMPRESS[compression](TEXT))
    file = open_compressed(raw, compression)
    file.read()
    del file
    assert not raw.closed


@pytest.mark.parametrize("unit_bytes", [1, 7, 100, 1000])
@pytest.mark.parametrize("size", [0, 1, 6, 7, 10, 11, 150, 151, 999])
def test_byte_ranges_cover_the_file_once(size, unit_bytes):
    ranges = byte_ranges(size, unit_bytes)
    assert ranges[0][0] == 0
    assert ranges[-1][1] == size
    assert all(stop == start for (_, stop), (start, _) in itertools.pairwise(ranges))
    assert all(stop - start == unit_bytes for start, stop in ranges[:-1])
    if len(ranges) > 1:
        assert unit_bytes / 2 <= ranges[-1][1] - ranges[-1][0] <= 1.5 * unit_bytes


def test_empty_file_is_one_unit():
    assert byte_ranges(0, 100) == [(0, 0)]


def test_byte_ranges_of_nothing_are_refused():
    with pytest.raises(ValueError, match="unit_bytes is 0 but must be 1 or more"):
        byte_ranges(10, 0)

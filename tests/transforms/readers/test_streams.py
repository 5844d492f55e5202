"""Claims about compressed streams, and about text in other encodings."""

import bz2
import gzip
import io
import lzma
import random
import subprocess
import sys

import pytest

from tests.transforms.shards import column, read, rejects, zstd
from transforms.blocks import UnitError
from transforms.options import ReadOptions
from transforms.readers.streams import open_compressed, open_transcoded, read_beginning

TEXT = random.Random(0).randbytes(5000) + b"a line that repeats\n" * 5000
COMPRESS = {"gzip": gzip.compress, "zstd": zstd, "bz2": bz2.compress, "xz": lzma.compress}
each_compression = pytest.mark.parametrize("compression", COMPRESS)


def decompress(data, compression, read_bytes=1 << 20):
    file = open_compressed(io.BytesIO(data), compression)
    return b"".join(iter(lambda: file.read(read_bytes), b""))


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


WINDOW_OF_2_GIB = 21 << 3  # the exponent above 2^10, in the window descriptor of a frame


def zstd_with_long_window(data):
    """Compress as `zstd --long=31` does with a stream: the frame states a window of 2 GiB and no content size."""
    from backports import zstd as module

    compressor = module.ZstdCompressor()
    frame = bytearray(compressor.compress(data, compressor.FLUSH_BLOCK) + compressor.flush())
    assert frame[4] & 0xE0 == 0  # no content size and no single segment: the next byte describes the window
    frame[5] = WINDOW_OF_2_GIB
    return bytes(frame)


PEAK_OF_A_LONG_WINDOW = """
import io, resource, sys
from transforms.readers.streams import open_compressed

def peak_mb():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20 if sys.platform == "darwin" else 1 << 10)
before = peak_mb()
file = open_compressed(io.BytesIO(sys.stdin.buffer.read()), "zstd")
size = sum(map(len, iter(lambda: file.read(1 << 20), b"")))
print(size, peak_mb() - before)
"""


def test_zstd_window_of_2_gib_takes_the_memory_of_its_content():
    data = zstd_with_long_window(b"a line that repeats\n" * 500_000)
    command = [sys.executable, "-c", PEAK_OF_A_LONG_WINDOW]
    size, extra_mb = subprocess.run(command, input=data, capture_output=True, check=True).stdout.split()
    assert int(size) == 10_000_000
    assert float(extra_mb) < 60


def test_text_is_read_from_zstd_with_a_window_of_2_gib():
    blocks = read(zstd_with_long_window(b"one\ntwo\n"), "a.txt.zst")
    assert column(blocks, "text") == ["one", "two"]


def test_decompression_of_zeros_keeps_to_the_size_that_is_asked_for():
    file = open_compressed(io.BytesIO(zstd(bytes(1 << 26))), "zstd")
    assert len(file.read(10)) == 10
    assert len(file.read1(1 << 30)) <= 1 << 20


ENCODED = "Köln kostet 5 Mark\nein € mehr\n"


@pytest.mark.parametrize("read_bytes", [1, 3, 1 << 16])
@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "utf-16", "utf-16-le", "utf-32", "shift_jis", "gb18030"])
def test_transcoded_file_is_utf8(encoding, read_bytes):
    text = "Kana カナ 漢字\n" * 9000 if encoding in ("shift_jis", "gb18030") else "Köln, Ærø\n" * 9000
    file = open_transcoded(io.BytesIO(text.encode(encoding)), encoding)
    assert b"".join(iter(lambda: file.read(read_bytes), b"")).decode("utf-8-sig") == text


@pytest.mark.parametrize("ending", [".txt", ".txt.gz"])
@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "cp1252"])
def test_shard_in_another_encoding_is_read(encoding, ending):
    data = ENCODED.encode(encoding)
    data = gzip.compress(data) if ending.endswith(".gz") else data
    blocks = read(data, f"a{ending}", options=ReadOptions(encoding=encoding))
    assert column(blocks, "text") == ENCODED.splitlines()
    assert column(blocks, "position") == [0, 1]
    assert sum(block.source_bytes for block in blocks) == len(data)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.csv", "id,text\r\n1,Köln\r\n"),
        ("a.tsv", "id\ttext\n1\tKöln\n"),
        ("a.jsonl", '{"id": 1, "text": "Köln"}\n'),
    ],
)
def test_every_text_format_may_be_in_another_encoding(name, data):
    blocks = read(data.encode("utf-16"), name, options=ReadOptions(encoding="utf-16", id_field="id"))
    assert (column(blocks, "id"), column(blocks, "text")) == (["1"], ["Köln"])


@pytest.mark.parametrize(
    ("data", "encoding"), [(b"good\nbad \x81\ngood\n", "cp1252"), (b"good\nbad \xe9\ngood\n", "ascii")]
)
def test_bytes_that_are_not_in_the_encoding_are_rejected(data, encoding):
    blocks = read(data, "a.txt", options=ReadOptions(encoding=encoding))
    assert column(blocks, "text") == ["good", "good"]
    assert rejects(blocks) == [(1, "a.txt#1", "invalid_utf8")]


def test_lone_surrogate_in_utf_16_is_rejected():
    data = "good\n".encode("utf-16-le") + b"\x00\xd8" + "bad\ngood\n".encode("utf-16-le")
    blocks = read(data, "a.txt", options=ReadOptions(encoding="utf-16-le"))
    assert column(blocks, "text") == ["good", "good"]
    assert [reason for *_, reason in rejects(blocks)] == ["invalid_utf8"]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
def test_file_with_another_byte_order_mark_names_its_encoding(encoding):
    with pytest.raises(
        UnitError, match=f"the file is {encoding.upper()}, not UTF-8; read it with --encoding {encoding}"
    ):
        read("text\n".encode(encoding), "a.txt")


@pytest.mark.parametrize("seekable", [True, False])
def test_reading_the_beginning_loses_nothing(seekable):
    class Stream(io.BytesIO):
        def seekable(self):
            return seekable

    beginning, file = read_beginning(Stream(b"0123456789"), 4)
    assert beginning == b"0123"
    assert b"".join(iter(lambda: file.read(3), b"")) == b"0123456789"

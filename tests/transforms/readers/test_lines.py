"""Claims about splitting bytes into lines."""

import io
import itertools
import random
import tracemalloc

import pytest

from transforms.blocks import UnitError
from transforms.readers.lines import iter_line_batches


def lines(data, start=0, end=None, max_line_bytes=1000, chunk_bytes=1 << 20):
    """Return (offset, content, truncated) of each line."""
    batches = iter_line_batches(io.BytesIO(data), start, end, max_line_bytes=max_line_bytes, chunk_bytes=chunk_bytes)
    return [
        (int(offset), value, bool(truncated))
        for batch in batches
        for offset, value, truncated in zip(batch.offsets, batch.values().to_pylist(), batch.truncated)
    ]


def reference_lines(data, max_line_bytes=1000):
    """Do the same in a few plain lines."""
    result, offset = [], 0
    for raw in data.split(b"\n"):
        content = raw.removeprefix(b"\xef\xbb\xbf") if offset == 0 else raw
        content = content.removesuffix(b"\r")
        too_long = len(content) > max_line_bytes
        if too_long:
            stop = max_line_bytes
            for _ in range(3):
                if stop > 0 and content[stop] & 0xC0 == 0x80:
                    stop -= 1
            content = content[:stop]
        result.append((offset, content, too_long))
        offset += len(raw) + 1
    if data.endswith(b"\n") or data in (b"", b"\xef\xbb\xbf"):
        result.pop()
    return result


def random_data(rng):
    pieces = [
        b"",
        b"a",
        b"\r",
        b"\r\n",
        b"\n",
        b"\n\n",
        "é".encode(),
        "漢字".encode(),
        "🙂".encode() * 3,
        b"\xff",
        b"xy" * 9,
    ]
    bom = b"\xef\xbb\xbf" if rng.random() < 0.3 else b""
    return bom + b"".join(rng.choices(pieces, k=rng.randint(0, 40)))


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", []),
        (b"\n", [b""]),
        (b"a", [b"a"]),
        (b"a\n", [b"a"]),
        (b"a\n\nb", [b"a", b"", b"b"]),
        (b"a\r\nb\r\n", [b"a", b"b"]),
        (b"a\r\r\n\r\n", [b"a\r", b""]),
        (b"a\rb\n", [b"a\rb"]),
        (b"\xef\xbb\xbfa\n\xef\xbb\xbfb", [b"a", b"\xef\xbb\xbfb"]),
        (b"\xef\xbb\xbf", []),
        (b"\xef\xbb\xbf\n", [b""]),
        (b"a\x0bb\x0cc\xc2\x85d\xe2\x80\xa8e", [b"a\x0bb\x0cc\xc2\x85d\xe2\x80\xa8e"]),
    ],
)
def test_lines_end_with_newline_and_one_carriage_return(data, expected):
    assert [content for _, content, _ in lines(data)] == expected


@pytest.mark.parametrize("seed", range(150))
def test_any_split_and_any_chunk_size_gives_each_line_once(seed):
    rng = random.Random(seed)
    data = random_data(rng)
    max_line_bytes = rng.choice([1, 2, 5, 1000])
    expected = reference_lines(data, max_line_bytes)
    borders = sorted({0, len(data), *(rng.randint(0, len(data)) for _ in range(rng.randint(0, 8)))})
    ranges = list(itertools.pairwise(borders)) or [(0, 0)]
    found = [
        line
        for start, end in ranges
        for line in lines(data, start, end, max_line_bytes, chunk_bytes=rng.choice([1, 2, 3, 7, 1 << 20]))
    ]
    assert found == expected
    assert lines(data, max_line_bytes=max_line_bytes, chunk_bytes=rng.randint(1, 9)) == expected


def test_every_border_gives_each_line_once():
    data = b"\xef\xbb\xbfone\r\n\ntwo\nthree"
    for border in range(len(data) + 1):
        assert lines(data, 0, border) + lines(data, border, len(data)) == reference_lines(data)


@pytest.mark.parametrize("chunk_bytes", [1, 4, 1 << 20])
@pytest.mark.parametrize(
    ("line", "limit", "kept", "is_truncated"),
    [
        (b"abcd", 4, b"abcd", False),
        (b"abcd\r", 4, b"abcd", False),
        (b"abcde", 4, b"abcd", True),
        ("aé".encode(), 2, b"a", True),
        ("漢字".encode(), 5, "漢".encode(), True),
        ("漢字".encode(), 6, "漢字".encode(), False),
        ("🙂🙂".encode(), 7, "🙂".encode(), True),
        ("🙂".encode(), 3, b"", True),
    ],
)
def test_long_line_is_truncated_between_characters(line, limit, kept, is_truncated, chunk_bytes):
    found = lines(b"x\n" + line + b"\ny\n", max_line_bytes=limit, chunk_bytes=chunk_bytes)
    assert [(content, truncated) for _, content, truncated in found] == [
        (b"x", False),
        (kept, is_truncated),
        (b"y", False),
    ]


class Endless(io.RawIOBase):
    """Hold one line of `size` bytes, then a short one, made while it is read."""

    def __init__(self, size):
        self.left = [b"x" * (1 << 16)] * (size >> 16) + [b"\nlast\n"]

    def read(self, size=-1):
        taken, self.left = self.left[: max(1, size >> 16)], self.left[max(1, size >> 16) :]
        return b"".join(taken)


def test_line_of_256_mb_takes_little_memory():
    tracemalloc.start()
    batches = iter_line_batches(Endless(256 << 20), max_line_bytes=1 << 20)
    found = [
        (len(value), bool(truncated))
        for batch in batches
        for value, truncated in zip(batch.values().to_pylist(), batch.truncated)
    ]
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found == [(1 << 20, True), (4, False)]
    assert peak_bytes < 12 << 20


def test_shard_shorter_than_planned_raises():
    with pytest.raises(UnitError, match=r"has 5 bytes, but its unit ends at 9; plan it again") as raised:
        lines(b"ab\ncd", 2, 9)
    assert raised.value.reason == "changed_shard"

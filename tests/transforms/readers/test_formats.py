"""Claims about formats and ranges."""

import itertools

import pytest

from transforms.readers.formats import Format, byte_ranges, detect, group_ranges, why_not_data


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("a.txt", Format("text", None, True)),
        ("a.TXT", Format("text", None, True)),
        ("a.md", Format("text", None, True)),
        ("notes", Format("unknown", None, True)),
        ("a.weird", Format("unknown", None, True)),
        ("gs://b/x.y/a.jsonl", Format("jsonl", None, True)),
        ("a.ndjson", Format("jsonl", None, True)),
        ("a.json", Format("jsonl", None, True)),
        ("a.csv", Format("csv", None, False)),
        ("a.tsv", Format("tsv", None, False)),
        ("a.parquet", Format("parquet", None, True)),
        ("a.pq", Format("parquet", None, True)),
        ("data-00000-of-00001.arrow", Format("arrow", None, True)),
        ("a.feather", Format("arrow", None, True)),
        ("a.txt.gz", Format("text", "gzip", False)),
        ("a.jsonl.zst", Format("jsonl", "zstd", False)),
        ("a.csv.bz2", Format("csv", "bz2", False)),
        ("a.log.xz", Format("text", "xz", False)),
        ("a.gz", Format("unknown", "gzip", False)),
    ],
)
def test_name_tells_format(path, expected):
    assert detect(path) == expected


@pytest.mark.parametrize("format", ["text", "jsonl"])
def test_text_in_another_encoding_is_not_splittable(format):
    assert detect("a.dat", format, "utf-16") == Format(format, None, False)
    assert detect("a.parquet", encoding="utf-16").splittable


@pytest.mark.parametrize("name", ["a.jsonl.lz4", "a.csv.br", "a.txt.Z", "a.snappy", "a.lzma"])
@pytest.mark.parametrize("format", ["auto", "jsonl"])
def test_unsupported_compression_is_refused_whatever_the_format(name, format):
    with pytest.raises(ValueError, match=r"compression that is not supported .*; supported are \.gz, \.zst"):
        detect(name, format)


@pytest.mark.parametrize("name", ["a.zip", "a.html", "a.docx", "a.warc.gz", "a.mp4", "a.bin"])
def test_foreign_formats_are_refused_unless_a_format_is_named(name):
    with pytest.raises(ValueError, match="is not text"):
        detect(name)
    assert detect(name, "text").kind == "text"


@pytest.mark.parametrize("name", ["a.jsonl.tmp", "a.csv.part", "a.crdownload", "a.partial", "a.txt~", "a.txt.swp"])
def test_partial_downloads_are_refused_unless_a_format_is_named(name):
    with pytest.raises(ValueError, match="partial download or a temporary file"):
        detect(name)
    assert detect(name, "text").kind == "text"
    assert why_not_data(f"corpus/{name}") == "partial download or temporary file"


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("corpus/README.md", "documentation"),
        ("gs://bucket/x/LICENSE", "documentation"),
        ("corpus/changelog.txt", "documentation"),
        ("corpus/.a.txt", "hidden file"),
        ("corpus/_SUCCESS", "hidden file"),
        ("corpus/a.jsonl.md5", "checksum"),
        ("corpus/dataset_info.json", "metadata of a dataset"),
        ("corpus/readme.jsonl", None),
        ("README.md/a.txt", None),
        ("corpus/a.md", None),
        ("corpus/data", None),
    ],
)
def test_what_is_obviously_no_data_is_named(path, reason):
    assert why_not_data(path) == reason


def test_named_format_overrides_the_ending_but_not_the_compression():
    assert detect("a.txt", "jsonl") == Format("jsonl", None, True)
    assert detect("a.dat.gz", "csv") == Format("csv", "gzip", False)


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


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([], [(0, 0, 0)]),
        ([5], [(0, 1, 5)]),
        ([5, 5, 5], [(0, 2, 10), (2, 3, 5)]),
        ([5, 5, 4], [(0, 3, 14)]),
        ([30, 1, 9, 3], [(0, 1, 30), (1, 4, 13)]),
    ],
)
def test_ranges_of_groups_end_with_the_group_that_fills_them(sizes, expected):
    assert group_ranges(sizes, 10) == expected

"""Claims about options of reading, from the command line to the codes."""

import pyarrow.dataset as ds
import pytest


def ids(store):
    return sorted(ds.dataset(store / "codes", format="parquet").to_table(columns=["id"])["id"].to_pylist())


@pytest.mark.parametrize(
    ("name", "data", "options", "expected"),
    [
        (
            "a.jsonl",
            b'{"title": "T", "data": {"text": "a"}}\n{"n": 1}\n',
            ["--text_field", "title", "data.text"],
            (1, 1),
        ),
        ("a.tsv", b'id\ttext\n1\t"Well," she said\n2\t6" nails\n', [], (2, 0)),
        ("a.tsv", b'id\ttext\n1\t"Well," she said\n2\t6" nails\n', ["--quoting", "minimal"], (1, 1)),
        ("a.csv", b"id;text\n1;a, b\n", ["--delimiter", ";"], (1, 0)),
        ("a.csv", b"id\ttext\n1\ta, b\n", ["--delimiter", r"\t"], (1, 0)),
        ("a.txt", "Köln\nBonn\n".encode("utf-16"), ["--encoding", "utf-16"], (2, 0)),
        ("data", b'{"text": "a"}\n', [], (1, 0)),
    ],
)
def test_option_decides_what_is_read(annotate_tiny, tmp_path, name, data, options, expected):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / name).write_bytes(data)
    summary = annotate_tiny(*options, heads=[])
    assert (summary.documents, len(ids(tmp_path / "store"))) == (expected[0], expected[0])
    assert sum(summary.rejected.values()) == expected[1]
    assert annotate_tiny(*options, heads=[]).documents == 0

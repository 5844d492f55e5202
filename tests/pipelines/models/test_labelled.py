"""Labelled rows from files of every format: what is read, what is left out, what is refused."""

from __future__ import annotations

import bz2
import gzip
import lzma

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.models.labelled import DataError, read_labelled, read_texts, sample_texts

PACKERS = {
    "": bytes,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": pa.Codec("zstd").compress,
}


@pytest.mark.parametrize("packed", PACKERS)
@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("name", ["rows.jsonl", "rows.csv", "rows.tsv"])
def test_labelled_rows_come_from_any_format(tmp_path, name, mark, packed):
    content = {
        "rows.jsonl": '{"text": "a", "label": "x"}\n{"text": " ", "label": "x"}\n{"text": "b", "label": "y"}\n',
        "rows.csv": 'text,label\na,x\n" ",x\nb,y\n',
        "rows.tsv": "text\tlabel\na\tx\n \tx\nb\ty\n",
    }[name]
    path = tmp_path / f"{name}{packed}"
    path.write_bytes(PACKERS[packed]((mark + content).encode()))
    assert read_labelled(str(path), "text", "label", "single") == (["a", "b"], ["x", "y"])


@pytest.mark.parametrize("packed", PACKERS)
def test_a_text_file_holds_texts_whatever_the_field_is_called(tmp_path, packed):
    path = tmp_path / f"texts.txt{packed}"
    path.write_bytes(PACKERS[packed]("\ufeffone\r\n\ntwo\n".encode()))
    assert read_texts(str(path), "body") == ["one", "two"]
    with pytest.raises(DataError, match="is plain text and has no field 'mood'"):
        read_labelled(str(path), "body", "mood", "single")


def test_columns_nobody_asked_for_are_not_looked_at(tmp_path):
    (tmp_path / "rows.csv").write_text("text,label,,\na,x,,\nb,y,,\n")
    table = pa.Table.from_arrays(
        [pa.array(part) for part in ("ab", "xy", "pq", "rs")], ["text", "label", "more", "more"]
    )
    pq.write_table(table, tmp_path / "rows.parquet")
    for name in ("rows.csv", "rows.parquet"):
        assert read_labelled(str(tmp_path / name), "text", "label", "single") == (["a", "b"], ["x", "y"])
    with pytest.raises(DataError, match="has more than one field 'more'"):
        read_labelled(str(tmp_path / "rows.parquet"), "text", "more", "single")


def test_half_an_emoji_is_left_out_as_annotate_leaves_it_out(tmp_path, caplog):
    (tmp_path / "rows.jsonl").write_text('{"text": "good \\ud83d", "label": "x"}\n{"text": "b", "label": "y"}\n')
    assert read_labelled(str(tmp_path / "rows.jsonl"), "text", "label", "single") == (["b"], ["y"])
    assert "1 of 2 rows have no usable text and are skipped" in caplog.text
    assert read_texts(str(tmp_path / "rows.jsonl"), "text") == ["b"]


def test_texts_that_are_not_utf8_are_left_out(tmp_path, caplog):
    (tmp_path / "texts.txt").write_bytes(b"one\ncaf\xe9\n\ntwo\n")
    (tmp_path / "texts.jsonl").write_bytes(b'{"text": "caf\xe9"}\n{"text": "two"}\n{"text": null}\n')
    assert read_texts(str(tmp_path / "texts.txt"), "text") == ["one", "two"]
    assert "texts.txt: 1 of 3 texts are not UTF-8 and are skipped" in caplog.text
    assert read_texts(str(tmp_path / "texts.jsonl"), "text") == ["two"]


def test_an_archive_holds_no_rows(tmp_path):
    (tmp_path / "rows.zip").write_bytes(b"PK")
    with pytest.raises(DataError, match=r"rows.zip cannot be read: .* is not text \(.zip\)"):
        read_labelled(str(tmp_path / "rows.zip"), "text", "label", "single")


@pytest.mark.parametrize(("line", "said"), [("{", "line 2 is not JSON"), ("3", "line 2 is not a JSON object")])
def test_a_damaged_line_is_named(tmp_path, line, said):
    (tmp_path / "rows.jsonl").write_text('{"text": "a", "label": "x"}\n' + line + "\n")
    with pytest.raises(DataError, match=said):
        read_labelled(str(tmp_path / "rows.jsonl"), "text", "label", "single")


def test_a_damaged_stream_is_said(tmp_path):
    (tmp_path / "rows.jsonl.gz").write_bytes(gzip.compress(b'{"text": "a", "label": "x"}\n' * 1000)[:-20])
    with pytest.raises(DataError, match=r"rows\.jsonl\.gz cannot be read: the gzip stream ends early"):
        read_labelled(str(tmp_path / "rows.jsonl.gz"), "text", "label", "single")


def test_multi_labels_in_a_csv_are_split_at_commas(tmp_path):
    (tmp_path / "rows.csv").write_text('text,label\na,"x, y"\nb,\n')
    assert read_labelled(str(tmp_path / "rows.csv"), "text", "label", "multi")[1] == [["x", "y"], []]


@pytest.mark.parametrize("kind", ["single", "regression"])
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("rows.csv", "text,label\na,1\nb,\n"),
        ("rows.tsv", "text\tlabel\na\t1\nb\t  \n"),
        ("rows.jsonl", '{"text": "a", "label": 1}\n{"text": "b", "label": null}\n'),
        ("rows.jsonl", '{"text": "a", "label": 1}\n{"text": "b", "label": NaN}\n'),
        ("rows.jsonl", '{"text": "a", "label": 1}\n{"text": "b"}\n'),
    ],
)
def test_a_row_without_a_label_is_an_error_and_no_class_of_its_own(tmp_path, name, content, kind):
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match="row 1 has no label in field 'label'"):
        read_labelled(str(tmp_path / name), "text", "label", kind)


@pytest.mark.parametrize(
    ("label", "kind"),
    [('"nan"', "regression"), ('"inf"', "regression"), ('"x \\ud83d"', "single"), ('["\\ud83d"]', "multi")],
)
def test_what_no_head_can_be_fitted_on_is_an_error(tmp_path, label, kind):
    (tmp_path / "rows.jsonl").write_text(f'{{"text": "a", "label": {label}}}\n')
    with pytest.raises(DataError, match=f"is not a label of kind {kind}"):
        read_labelled(str(tmp_path / "rows.jsonl"), "text", "label", kind)


def test_blank_labels_among_several_are_none(tmp_path):
    (tmp_path / "rows.jsonl").write_text('{"text": "a", "label": ["x", "", " "]}\n{"text": "b", "label": []}\n')
    assert read_labelled(str(tmp_path / "rows.jsonl"), "text", "label", "multi")[1] == [["x"], []]


def test_a_null_among_several_labels_is_an_error(tmp_path):
    (tmp_path / "rows.jsonl").write_text('{"text": "a", "label": ["x", null]}\n')
    with pytest.raises(DataError, match="is not a label of kind multi"):
        read_labelled(str(tmp_path / "rows.jsonl"), "text", "label", "multi")


def test_a_sample_is_even_over_files_as_far_as_they_allow(tmp_path):
    for name, count in {"small": 3, "middle": 50, "large": 500}.items():
        pq.write_table(pa.table({"text": [f"{name} {i}" for i in range(count)]}), tmp_path / f"{name}.parquet")
    paths = [str(path) for path in sorted(tmp_path.iterdir())]
    drawn = sample_texts(paths, "text", 43, seed=0)
    assert [sum(text.startswith(name) for text in drawn) for name in ("small", "middle", "large")] == [3, 20, 20]
    assert drawn == sample_texts(paths, "text", 43, seed=0)
    assert len(sample_texts(paths, "text", 10_000, seed=0)) == 553

"""A misspelled name of a field ends a run before a model is loaded, with the names that there are."""

from __future__ import annotations

import functools
import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.conftest import random_texts
from transforms import check_fields as checks
from transforms.match import InputError, match_shards
from transforms.options import ReadOptions
from transforms.readers.fields import first_fields
from transforms.readers.formats import detect

ROWS = [{"key": f"k{i}", "body": text, "meta": {"lang": "en"}} for i, text in enumerate(random_texts(3))]


def write(path, rows=ROWS):
    path.parent.mkdir(exist_ok=True)
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".arrow":
        table = pa.Table.from_pylist(rows)
        with pa.ipc.new_file(path, table.schema) as file:
            file.write_table(table)
    elif path.suffix in (".csv", ".tsv"):
        separator = {".csv": ",", ".tsv": "\t"}[path.suffix]
        lines = [separator.join(["key", "body"]), *(separator.join([row["key"], row["body"]]) for row in rows)]
        path.write_text("\n".join(lines) + "\n")
    else:
        content = "".join(json.dumps(row) + "\n" for row in rows).encode()
        path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.unknown", "a.csv", "a.tsv", "a.parquet", "a.arrow"])
def test_a_wrong_text_field_ends_with_the_fields_there_are_and_makes_no_store(annotate_tiny, tmp_path, name):
    write(tmp_path / "in" / name)
    with pytest.raises(InputError) as raised:
        annotate_tiny("--text_field", "Bodi", "--id_field", "key", heads=[])
    message = str(raised.value)
    assert "'Bodi'" in message
    assert f"{tmp_path}/in/{name}; there are key, body" in message
    assert message.endswith("did you mean --text_field body?")
    assert "\n" not in message
    assert not (tmp_path / "store").exists()
    assert annotate_tiny("--text_field", "body", "--id_field", "key", heads=[]).documents == 3


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.parquet"])
def test_a_wrong_id_field_ends_the_run(annotate_tiny, tmp_path, name):
    write(tmp_path / "in" / name)
    with pytest.raises(InputError, match=r"'kex'.*; did you mean --id_field key\?$"):
        annotate_tiny("--text_field", "body", "--id_field", "kex", heads=[])
    with pytest.raises(InputError, match=r"'number' and 'zzzz'|'zzzz' and 'number'") as raised:
        annotate_tiny("--text_field", "zzzz", "--id_field", "number", heads=[])
    assert str(raised.value).endswith("; set --text_field and --id_field")


def test_a_dry_run_reports_a_wrong_field_too(annotate_tiny, tmp_path):
    write(tmp_path / "in" / "a.jsonl")
    with pytest.raises(InputError, match="did you mean --text_field body"):
        annotate_tiny("--text_field", "bod", "--dry_run", heads=[])


def test_a_field_inside_of_another_is_found_and_suggested(annotate_tiny, tmp_path):
    for name in ("a.jsonl", "b.parquet"):
        write(tmp_path / "in" / name)
    assert annotate_tiny("--text_field", "meta.lang", heads=[]).documents == 6
    with pytest.raises(InputError, match=r"did you mean --text_field meta\.lang\?"):
        annotate_tiny("--text_field", "meta.language", heads=[], store=tmp_path / "other")


def test_a_shard_that_lacks_a_field_that_others_have_fails_alone(annotate_tiny, tmp_path):
    write(tmp_path / "in" / "a.csv")
    (tmp_path / "in" / "b.csv").write_text("title\nx\n")
    (tmp_path / "in" / "0.csv").write_text("title\nx\n")
    summary = annotate_tiny("--text_field", "body", heads=[])
    assert (summary.exit_code, summary.documents, len(summary.failures)) == (3, 3, 2)
    (tmp_path / "in" / "c.csv").write_text("headline\nx\n")  # new, and the name is known to be right
    assert annotate_tiny("--text_field", "body", heads=[]).exit_code == 3


def test_one_of_several_text_fields_that_no_row_has_is_a_warning_in_json_only(annotate_tiny, tmp_path, caplog):
    write(tmp_path / "in" / "a.jsonl")
    assert annotate_tiny("--text_field", "body", "meta.lanh", heads=[]).documents == 3
    assert "no field 'meta.lanh' in the first rows" in caplog.text
    assert "did you mean --text_field meta.lang?; texts are made of the other fields" in caplog.text
    (tmp_path / "in" / "a.jsonl").unlink()
    write(tmp_path / "in" / "a.csv")
    with pytest.raises(InputError, match="no column 'bodx'"):
        annotate_tiny("--text_field", "body", "bodx", heads=[], store=tmp_path / "other")


def test_rows_that_may_all_be_rejected_are_not_checked(annotate_tiny, tmp_path):
    write(tmp_path / "in" / "a.jsonl")
    summary = annotate_tiny("--max_reject_share", "1", heads=[])
    assert (summary.exit_code, summary.rejected) == (0, {"missing_text": 3})


def test_files_without_rows_and_damaged_files_tell_nothing(annotate_tiny, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jsonl").write_text("\n")
    (tmp_path / "in" / "b.jsonl.gz").write_bytes(b"nothing")
    (tmp_path / "in" / "c.csv").write_text("")
    (tmp_path / "in" / "d.parquet").write_bytes(b"PAR1 PAR1")
    (tmp_path / "in" / "e.txt").write_text("good\n")
    summary = annotate_tiny("--text_field", "body", "--max_reject_share", "0.9", heads=[])
    assert (summary.exit_code, summary.documents) == (3, 1)


def test_three_files_of_each_format_are_opened_at_most(tmp_path, monkeypatch):
    for number in range(20):
        write(tmp_path / "in" / f"{number:02}.jsonl")
        write(tmp_path / "in" / f"{number:02}.csv")
    opened = []
    monkeypatch.setattr(checks, "first_fields", lambda *arguments: opened.append(arguments) or first_fields(*arguments))
    for name, expected in (("body", 2), ("zzz", 3)):
        options = ReadOptions(text_field=(name,))
        shards = match_shards([str(tmp_path / "in")], str(tmp_path / "in"), options)
        opened.clear()
        if name == "body":
            checks.check_fields(shards, options)
        else:
            with pytest.raises(InputError, match=r"/00\.csv \(and 2 more\); there are key, body; set --text_field$"):
                checks.check_fields(shards, options)
        assert len(opened) == expected


def test_the_beginning_of_a_long_json_file_tells_its_fields(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "%s"}\n' % ("x" * 700_000) * 2)
    options = ReadOptions()
    assert first_fields(functools.partial(open, path, "rb"), detect(str(path)), options) == ["text"]

"""The record of a run: what it says, and what it does not."""

from __future__ import annotations

import time

import pytest

from pipelines.command_line.options import annotate_parser
from pipelines.runs import Run, redact
from transforms.store import open_or_create_store


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        (["--s3_secret_access_key=hush"], ["--s3_secret_access_key=***"]),
        (["--s3_session_token", "hush", "--store", "s"], ["--s3_session_token", "***", "--store", "s"]),
        (["--azure_connection_string", "a=b;c"], ["--azure_connection_string", "***"]),
        (["--sas=abc"], ["--sas=***"]),
        (["--temp_location=abfs://c@a/x?sig=SECRET"], ["--temp_location=***"]),
        (["--environment_config", '{"env": {"A": "b"}}'], ["--environment_config", "***"]),
        (["--input", "https://u:pw@h/a.txt", "b?.txt"], ["--input", "https://***@h/a.txt", "b?.txt"]),
        (["--input", "az://h/a.txt?sig=x&se=1"], ["--input", "az://h/a.txt?***"]),
        (["--store=s3://key:pw@bucket/s"], ["--store=s3://***@bucket/s"]),
        (["--batch_tokens", "2048", "--input", "a", "b"], ["--batch_tokens", "2048", "--input", "a", "b"]),
        (["--runner", "FlinkRunner", "--flink_master=h:1"], ["--runner", "FlinkRunner", "--flink_master=***"]),
        (["--s3_access_key_id", "--dry_run"], ["--s3_access_key_id", "--dry_run"]),
    ],
)
def test_what_may_be_a_secret_is_not_recorded(given, shown):
    assert redact(given, annotate_parser("annotate")._option_string_actions) == shown


def test_no_file_of_a_run_tells_a_secret(tmp_path):
    store = open_or_create_store(str(tmp_path / "store"), "/", {}, "test")
    with Run(store, "annotate", ["--s3_secret_access_key=hush", "--text_field", "body"]) as run:
        pass
    written = [path for path in (tmp_path / "store" / "runs" / run.store.run_id).iterdir() if path.is_file()]
    assert {"run.json", "report.html"} <= {path.name for path in written}
    assert all("hush" not in path.read_text() for path in written)
    assert "body" in (tmp_path / "store" / "runs" / run.store.run_id / "run.json").read_text()


def test_ids_of_runs_sort_by_time(tmp_path):
    store = open_or_create_store(str(tmp_path / "store"), "/", {}, "test")
    ids = []
    for _ in range(8):
        time.sleep(0.002)
        ids.append(Run(store, "annotate", []).store.run_id)
    assert ids == sorted(ids)

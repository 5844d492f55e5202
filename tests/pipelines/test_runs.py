"""The record of a run: what it says, and what it does not."""

from __future__ import annotations

import pytest

from pipelines.runs import Run, without_secrets
from transforms.store import open_or_create_store


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        (["--s3_secret_access_key=hush"], ["--s3_secret_access_key=***"]),
        (["--s3_session_token", "hush", "--store", "s"], ["--s3_session_token", "***", "--store", "s"]),
        (["--azure_connection_string", "a=b;c"], ["--azure_connection_string", "***"]),
        (["--db-password=x=y"], ["--db-password=***"]),
        (["--sslKeyPassword=x", "--api_keys", "a"], ["--sslKeyPassword=***", "--api_keys", "***"]),
        (["--environment_config", '{"env": {"A": "b"}}'], ["--environment_config", "***"]),
        (["--batch_tokens", "2048", "--input", "a", "b"], ["--batch_tokens", "2048", "--input", "a", "b"]),
        (["--s3_access_key_id", "--dry_run"], ["--s3_access_key_id", "--dry_run"]),
    ],
)
def test_keys_tokens_and_passwords_are_hidden(given, shown):
    assert without_secrets(given) == shown


def test_no_file_of_a_run_tells_a_secret(tmp_path):
    store = open_or_create_store(str(tmp_path / "store"), "/", {}, "test")
    with Run(store, "label", ["--s3_secret_access_key=hush", "--text_field", "body"]) as run:
        pass
    written = [path for path in (tmp_path / "store" / "runs" / run.store.run_id).iterdir() if path.is_file()]
    assert {"run.json", "report.html"} <= {path.name for path in written}
    assert all("hush" not in path.read_text() for path in written)
    assert "body" in (tmp_path / "store" / "runs" / run.store.run_id / "run.json").read_text()

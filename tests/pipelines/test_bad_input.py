"""What bad input gets: the table of the design, line by line."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines import annotate, cli
from tests.conftest import random_texts, write_corpus
from tests.pipelines.test_annotate import read


def run_cli(capsys, *arguments: str) -> tuple[int, str]:
    code = cli.main(["annotate", *arguments, "--no_progress"])
    return code, capsys.readouterr().err.strip()


@pytest.fixture
def no_model(monkeypatch):
    """Fail where a model is loaded."""
    monkeypatch.setattr("encoder.encode.load_model", lambda *a: pytest.fail("a model was loaded"))


@pytest.fixture
def one_text(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.txt").write_text("good film\n")
    return str(tmp_path / "in")


def test_a_pattern_that_matches_nothing(capsys, tmp_path, no_model, tiny_bundle):
    code, said = run_cli(
        capsys, "--input", f"{tmp_path}/no*", "--store", f"{tmp_path}/s", "--encoder", str(tiny_bundle)
    )
    assert code == 2
    assert said == f"encode-once annotate: error: --input {tmp_path}/no* matches no file"
    assert not (tmp_path / "s").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_input_that_may_not_be_read(capsys, tmp_path, no_model, one_text, tiny_bundle):
    os.chmod(f"{one_text}/a.txt", 0)
    code, said = run_cli(capsys, "--input", one_text, "--store", f"{tmp_path}/s", "--encoder", str(tiny_bundle))
    assert code == 2
    assert "permission denied" in said


def test_a_store_that_cannot_be_written(capsys, tmp_path, no_model, one_text, tiny_bundle):
    (tmp_path / "file").write_text("")
    code, said = run_cli(capsys, "--input", one_text, "--store", f"{tmp_path}/file/s", "--encoder", str(tiny_bundle))
    assert code == 2
    assert "cannot be written" in said
    assert "\n" not in said


def test_a_folder_that_is_no_store_is_left_alone(capsys, tmp_path, no_model, one_text, tiny_bundle):
    code, said = run_cli(capsys, "--input", one_text, "--store", one_text, "--encoder", str(tiny_bundle))
    assert code == 2
    assert "holds other files and is not a store" in said
    assert os.listdir(one_text) == ["a.txt"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--heads", "moood"], "unknown head 'moood'"),
        (["--encoder", "/no/such/bundle"], "is not a model"),
        (["--encoder", "default", "--heads", "sentiment", "all"], "--heads takes names of heads, or all, or none"),
        (["--max_reject_share", "2"], "--max_reject_share must lie between 0 and 1, not 2.0"),
        (["--block_rows", "0"], "--block_rows must be at least 1, not 0"),
        (["--runer", "FlinkRunner"], "unknown option '--runer'"),
        (["--id_field", "text"], "name two different fields"),
    ],
)
def test_what_the_user_got_wrong_is_said_in_one_line(capsys, tmp_path, no_model, one_text, arguments, message):
    code, said = run_cli(capsys, "--input", one_text, "--store", f"{tmp_path}/s", *arguments)
    assert code == 2
    assert message in said.splitlines()[-1]
    assert not (tmp_path / "s").exists()


def test_a_store_of_a_newer_format(capsys, tmp_path, no_model, one_text, tiny_bundle):
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "store.json").write_text(json.dumps({"format_version": 99}))
    code, said = run_cli(capsys, "--input", one_text, "--store", f"{tmp_path}/s", "--encoder", str(tiny_bundle))
    assert code == 2
    assert "is a store of format 99 but this program knows format 1" in said


def test_other_cutting_rules_than_the_stores(capsys, annotate_tiny, tmp_path, one_text, tiny_bundle):
    annotate_tiny(heads=[])
    store = f"{tmp_path}/store"
    code, said = run_cli(
        capsys, "--input", one_text, "--store", store, "--encoder", str(tiny_bundle), "--block_rows", "7"
    )
    assert code == 2
    assert "--block_rows 7 differs from the 4096 that store" in said


def test_bad_rows_are_rejected_with_place_and_reason_and_the_rest_goes_on(annotate_tiny, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.txt").write_bytes(b"good film\n\nbad \xff film\ndull plot\n   \n")
    lines = ['{"text": "good"}', '{"text": ', '{"text": null}', "{}", '{"text": 7}', '{"text": ""}', '{"text": "bad"}']
    (tmp_path / "in" / "b.jsonl").write_text("\n".join(lines) + "\n")
    pq.write_table(pa.table({"text": ["good", None, "bad"]}), tmp_path / "in" / "c.parquet")
    (tmp_path / "in" / "d.csv").write_text('text,n\ngood,1\nbad\n"",2\nbad,3\n')
    summary = annotate_tiny("--max_reject_share", "1")
    rejects = read(tmp_path / "store", "rejects").to_pylist()
    found = [(os.path.basename(row["path"]), row["position"], row["reason"]) for row in rejects]
    assert found == [
        ("a.txt", 10, "blank_text"),
        ("a.txt", 11, "invalid_utf8"),
        ("a.txt", 32, "blank_text"),
        ("b.jsonl", 17, "malformed_json"),
        ("b.jsonl", 27, "missing_text"),
        ("b.jsonl", 42, "missing_text"),
        ("b.jsonl", 45, "not_a_string"),
        ("b.jsonl", 57, "blank_text"),
        ("c.parquet", 1, "missing_text"),
        ("d.csv", 1, "malformed_csv"),
        ("d.csv", 2, "blank_text"),
    ]
    assert summary.documents == 8
    assert sum(summary.rejected.values()) == 11
    assert read(tmp_path / "store", "labels/task=mood").num_rows == 8


def test_too_many_rejects_keep_everything_and_exit_4(annotate_tiny, tmp_path, capsys):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.txt").write_text("good\n\n\nbad\n")
    summary = annotate_tiny(heads=[])
    assert summary.exit_code == 4
    assert "50.0% of the rows were rejected" in capsys.readouterr().out
    assert read(tmp_path / "store", "codes").num_rows == 2
    assert annotate_tiny("--max_reject_share", "0.6", heads=[], store=tmp_path / "other").exit_code == 0


def test_a_text_too_long_is_cut_and_marked(annotate_tiny, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.txt").write_text("good\n" + "good " * 50 + "\n" + "x" * 5000 + "\n")
    summary = annotate_tiny("--max_text_bytes", "1000", heads=[])
    assert summary.truncated == 2
    assert read(tmp_path / "store", "codes")["truncated"].to_pylist() == [False, True, True]


@pytest.fixture
def broken_corpus(tmp_path):
    """Write good shards and, in the middle of them, every kind of broken one."""
    texts = write_corpus(tmp_path / "in")
    rng = np.random.default_rng(0)
    noise = "\n".join("".join(map(chr, rng.integers(97, 123, 60))) for _ in range(5000))
    (tmp_path / "in" / "cut.txt.gz").write_bytes(gzip.compress(noise.encode())[:-1000])
    (tmp_path / "in" / "corrupt.parquet").write_bytes(b"PAR1 this is none PAR1")
    (tmp_path / "in" / "columns.csv").write_text("title,body\na,b\n")
    return sum(map(len, texts.values()))


def test_broken_shards_fail_alone(annotate_tiny, tmp_path, broken_corpus, capsys):
    summary = annotate_tiny("--block_rows", "500")
    assert summary.exit_code == 3
    failed = {os.path.basename(failure["path"]): failure["reason"] for failure in summary.failures}
    assert failed.keys() == {"cut.txt.gz", "corrupt.parquet", "columns.csv"}
    assert "title, body" in failed["columns.csv"]
    assert "ends early" in failed["cut.txt.gz"]
    stored = read(tmp_path / "store", "codes")
    assert stored.num_rows == broken_corpus
    assert "FAILED at read" in capsys.readouterr().out
    records = list((tmp_path / "store" / "runs").glob("*/failures/*.json"))
    assert len(records) == 3


def test_a_mended_shard_is_picked_up_by_the_next_run(annotate_tiny, tmp_path, broken_corpus):
    annotate_tiny()
    for name in ("cut.txt.gz", "corrupt.parquet", "columns.csv"):
        (tmp_path / "in" / name).unlink()
    (tmp_path / "in" / "cut.txt.gz").write_bytes(gzip.compress(b"good film\n"))
    summary = annotate_tiny()
    assert summary.exit_code == 0
    assert summary.documents == 1


def test_a_shard_that_vanishes_or_changes_during_the_run_fails_alone(annotate_tiny, tmp_path, monkeypatch):
    write_corpus(tmp_path / "in")
    from transforms import read as reading

    real = reading.read_blocks

    def sabotage(open_raw, path, *rest):
        if path.endswith("a.txt"):
            (tmp_path / "in" / "b.jsonl").unlink(missing_ok=True)
            with (tmp_path / "in" / "a.txt").open("a") as file:
                file.write("more\n")
        return real(open_raw, path, *rest)

    monkeypatch.setattr(reading, "read_blocks", sabotage)
    summary = annotate_tiny(heads=["mood"])
    reasons = {os.path.basename(failure["path"]): failure["reason"] for failure in summary.failures}
    assert summary.exit_code == 3
    assert "changed since the run was planned" in reasons["a.txt"]
    if "b.jsonl" in reasons:  # unless its unit came first
        assert "is gone" in reasons["b.jsonl"]
    assert summary.documents >= 40 * 6


def test_a_head_that_throws_fails_for_its_task_alone(annotate_tiny, tmp_path, monkeypatch):
    from heads import Head

    write_corpus(tmp_path / "in")
    real = Head.predict

    def throwing(self, bits):
        if self.task == "mood":
            raise RuntimeError("no mood today")
        return real(self, bits)

    monkeypatch.setattr(Head, "predict", throwing)
    summary = annotate_tiny()
    assert summary.exit_code == 3
    assert {failure["step"] for failure in summary.failures} == {"label-mood"}
    assert "RuntimeError: no mood today" in summary.failures[0]["reason"]
    assert summary.labelled == {"themes": 320, "stars": 320}
    monkeypatch.undo()
    assert annotate_tiny().labelled == {"mood": 320}


def test_a_corrupt_block_of_codes_fails_its_unit_alone(annotate_tiny, tmp_path):
    write_corpus(tmp_path / "in")
    annotate_tiny(heads=[])
    victim = sorted((tmp_path / "store" / "codes").rglob("*.parquet"))[0]
    victim.write_bytes(victim.read_bytes()[:50])
    summary = annotate_tiny(heads=["mood"])
    assert summary.exit_code == 3
    assert summary.failures[0]["step"] == "read-codes"
    assert summary.labelled == {"mood": 280}


def test_interrupting_says_that_the_same_command_goes_on(capsys, monkeypatch):
    def interrupted(argv):
        raise KeyboardInterrupt

    monkeypatch.setattr(annotate, "run", interrupted)
    code, said = run_cli(capsys)
    assert code == 130
    assert "the same command goes on from there" in said


def test_an_unexpected_error_is_not_hidden(monkeypatch):
    def broken(argv):
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr(annotate, "run", broken)
    with pytest.raises(RuntimeError, match="a fault of ours"):
        cli.main(["annotate"])


def test_a_full_disk_leaves_nothing_half_written(annotate_tiny, tmp_path, monkeypatch):
    from transforms import files

    write_corpus(tmp_path / "in")
    real = files.commit
    calls = []

    def full(path, content, temporary_folder):
        if path.endswith(".parquet") and len(calls) > 5:
            os.makedirs(temporary_folder, exist_ok=True)
            with open(os.path.join(temporary_folder, "half.tmp"), "wb") as file:
                file.write(content[: len(content) // 2])
            raise OSError(28, "No space left on device")
        calls.append(path)
        real(path, content, temporary_folder)

    monkeypatch.setattr(files, "commit", full)
    with pytest.raises(Exception, match="No space left on device"):
        annotate_tiny()
    monkeypatch.undo()
    for path in (tmp_path / "store").rglob("*.parquet"):
        pq.read_table(path, partitioning=None)
    annotate_tiny()
    annotate_tiny(store=tmp_path / "quiet")
    from tests.conftest import store_files

    assert store_files(tmp_path / "store") == store_files(tmp_path / "quiet")


def test_a_one_line_error_has_no_traceback_in_a_real_shell(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "pipelines.cli", "annotate", "--input", f"{tmp_path}/*", "--store", f"{tmp_path}/s"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.strip().splitlines() == [f"encode-once annotate: error: --input {tmp_path}/* matches no file"]
    assert shutil.which("encode-once") is None or done.stdout == ""


def test_random_bytes_never_crash_the_run(annotate_tiny, tmp_path):
    (tmp_path / "in").mkdir()
    rng = np.random.default_rng(1)
    for name in ("a.txt", "b.jsonl", "c.csv", "d.tsv", "e.parquet", "f.gz", "g.txt.zst", "h.jsonl.xz", "i.bz2"):
        (tmp_path / "in" / name).write_bytes(rng.bytes(20_000))
    (tmp_path / "in" / "good.txt").write_text("\n".join(random_texts(5)))
    summary = annotate_tiny("--max_reject_share", "1", heads=["mood"])
    assert summary.exit_code == 3
    assert summary.documents >= 5

from __future__ import annotations

import shutil

import pytest

import encoder
from encoder import EncoderError
from pipelines import annotate
from pipelines.command_line.options import OptionError
from pipelines.models import make_encoder
from pipelines.models.labelled import DataError
from tests.conftest import random_texts


@pytest.fixture
def sample(tmp_path):
    path = tmp_path / "sample.txt"
    path.write_text("\n".join(random_texts(200)))
    return str(path)


def test_a_made_encoder_annotates(tiny_base, sample, tmp_path, capsys):
    output = tmp_path / "mine"
    made = make_encoder.run(
        ["--base", str(tiny_base), "--layers", "1", "-1", "--pooling", "cls", "mean", "--calibrate", sample,
         "--calibrate_rows", "100", "--max_tokens", "24", "--long_texts", "windows", "--output", str(output)]
    )  # fmt: skip
    assert made.bits == 2 * 2 * 32
    assert made.pooling.layers == (1, 3)
    assert made.calibration["texts"] == 100
    assert "128 bits from layers 1, 3" in capsys.readouterr().out
    assert encoder.describe(str(output)).fingerprint == made.fingerprint
    (tmp_path / "in.txt").write_text("good film\n" + "bad " * 60 + "\n")
    arguments = ["--input", f"{tmp_path}/in.txt", "--store", f"{tmp_path}/store", "--encoder", str(output)]
    summary = annotate.run([*arguments, "--no_progress"])
    assert summary.documents == 2
    assert summary.truncated == 0


def test_an_encoder_is_replaced_only_if_asked_to(tiny_base, tiny_bundle, sample, tmp_path):
    before = shutil.copytree(tiny_bundle, tmp_path / "mine")
    call = ["--base", str(tiny_base), "--layers", "1", "--calibrate", sample, "--output", str(before)]
    with pytest.raises(EncoderError, match=r"is an encoder's folder already; .* replace it with --overwrite"):
        make_encoder.run(call)
    assert encoder.describe(str(before)).fingerprint == encoder.describe(str(tiny_bundle)).fingerprint
    made = make_encoder.run([*call, "--overwrite"])
    assert encoder.describe(str(before)).fingerprint == made.fingerprint


@pytest.mark.parametrize(
    ("more", "error", "message"),
    [
        (["--calibrate", "/no/such"], DataError, "is not a file"),
        (["--calibrate_rows", "10"], EncoderError, "at least 64 texts, 10 were given"),
        (["--pooling", "middle"], EncoderError, "choose from cls, mean, max, last, first_K"),
        (["--base", "/no/such/model"], EncoderError, "is not a model"),
        (["--bits", "33"], EncoderError, "multiple of 8"),
        (["--output", ""], OptionError, "--output is empty"),
    ],
)
def test_what_cannot_be_made_is_said_and_nothing_written(tiny_base, sample, tmp_path, more, error, message):
    arguments = ["--base", str(tiny_base), "--calibrate", sample, "--output", f"{tmp_path}/mine"]
    with pytest.raises(error, match=message):
        make_encoder.run([*arguments, *more])
    assert not (tmp_path / "mine").exists()


def test_a_place_that_cannot_be_written_is_said_before_anything_is_read(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    arguments = ["--calibrate", "/no/such", "--output"]
    with pytest.raises(EncoderError, match=f"{tmp_path}/file is not a folder that one may write to"):
        make_encoder.run([*arguments, f"{tmp_path}/file/mine"])
    monkeypatch.setattr("os.access", lambda path, mode: False)
    with pytest.raises(EncoderError, match=f"{tmp_path} is not a folder that one may write to"):
        make_encoder.run([*arguments, f"{tmp_path}/new/mine"])


def test_counts_below_zero_are_a_usage_error(tmp_path, capsys):
    arguments = ["--calibrate", "f", "--output", f"{tmp_path}/mine"]
    for more in (["--seed", "-1"], ["--calibrate_rows", "-3"]):
        with pytest.raises(OptionError, match=f"{more[0]} must not be negative, but is {more[1]}"):
            make_encoder.run([*arguments, *more])
    with pytest.raises(SystemExit, match="2"):
        make_encoder.run([*arguments, "--calibrate_rows", "x"])
    assert "--calibrate_rows must be a whole number, not 'x'" in capsys.readouterr().err

from __future__ import annotations

import os

import pytest

from encoder import EncoderError
from encoder.bundle import ENCODER_FOLDER, read
from tests.encoder.labelled import quick

FILES = {"parameters.safetensors": b"1" * 3000, "adapter.safetensors": b"2" * 9000, "encoder.json": b"{}"}


def content(folder) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_write_that_fails_leaves_no_folder(tmp_path, largest_file):
    with largest_file(4096), pytest.raises(EncoderError, match="mine cannot be written: File too large"):
        ENCODER_FOLDER.write(tmp_path / "mine", FILES)
    assert not list(tmp_path.iterdir())
    ENCODER_FOLDER.write(tmp_path / "mine", FILES)
    assert content(tmp_path / "mine") == FILES


def test_a_write_that_fails_leaves_the_bundle_that_was_there(tmp_path, largest_file):
    before = {"parameters.safetensors": b"old", "encoder.json": b"{old}", "README.md": b"a card"}
    (tmp_path / "mine").mkdir()
    for name, part in before.items():
        (tmp_path / "mine" / name).write_bytes(part)
    with largest_file(4096), pytest.raises(EncoderError, match="cannot be written"):
        ENCODER_FOLDER.write(tmp_path / "mine", FILES)
    assert content(tmp_path / "mine") == before
    ENCODER_FOLDER.write(tmp_path / "mine", FILES)
    assert content(tmp_path / "mine") == before | FILES
    less = {name: part for name, part in FILES.items() if not name.startswith("adapter")}
    ENCODER_FOLDER.write(tmp_path / "mine", less)
    assert content(tmp_path / "mine") == {"README.md": b"a card"} | less


@pytest.mark.parametrize("there", [False, True])
@pytest.mark.parametrize("moment", range(3))
def test_what_a_killed_write_left_is_written_again(tiny_base, tmp_path, monkeypatch, moment, there):
    before, bundle = quick(tiny_base, steps=3, seed=1), quick(tiny_base, steps=3)
    if there:
        before.save(tmp_path / "mine")
    renames = []

    def killed(path, to):
        if len(renames) == moment:
            raise KeyboardInterrupt
        renames.append(to)
        os.replace(path, to)

    with monkeypatch.context() as patched:
        patched.setattr("pathlib.Path.replace", killed)
        with pytest.raises(KeyboardInterrupt):
            bundle.save(tmp_path / "mine")
    if not there:
        assert not (tmp_path / "mine" / "encoder.json").exists()
    elif moment == 0:
        assert read(tmp_path / "mine").fingerprint == before.fingerprint
    else:
        with pytest.raises(EncoderError, match="was changed after it was made"):
            read(tmp_path / "mine")
    assert read(bundle.save(tmp_path / "mine")).fingerprint == bundle.fingerprint
    assert set(content(tmp_path / "mine")) == set(bundle.files())

from __future__ import annotations

import pytest
import torch

from encoder import EncoderError
from encoder.training import checkpoint


def test_what_was_written_is_read_again_to_the_last_bit(tmp_path):
    tensors = {"now/a": torch.randn(3, 4), "step/a": torch.tensor(7.0), "best/a": torch.ones(2)[:1]}
    state = {"step": 7, "sums": {"x": [0.1 + 0.2, 3]}}
    checkpoint.write(tmp_path / "c", tensors, state)
    found, found_state = checkpoint.read(tmp_path / "c")
    assert found_state == state
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[name], tensors[name]) for name in tensors)


def test_a_checkpoint_replaces_the_one_before_and_leaves_nothing_else(tmp_path):
    for step in (1, 2):
        checkpoint.write(tmp_path / "c", {"a": torch.ones(1)}, {"step": step})
    assert checkpoint.read(tmp_path / "c")[1] == {"step": 2}
    assert [path.name for path in (tmp_path / "c").iterdir()] == [checkpoint.CHECKPOINT_FILE]


def test_a_write_that_fails_says_why_and_leaves_the_one_before(tmp_path, largest_file):
    with (
        largest_file(4096),
        pytest.raises(EncoderError, match=r"cannot be written \(.*File too large.*\); there is no previous one"),
    ):
        checkpoint.write(tmp_path / "c", {"a": torch.ones(4096)}, {"step": 1})
    assert list((tmp_path / "c").iterdir()) == []
    checkpoint.write(tmp_path / "c", {"a": torch.ones(1)}, {"step": 1})
    with (
        largest_file(4096),
        pytest.raises(EncoderError, match=r"cannot be written \(.*File too large.*\); the previous one is kept"),
    ):
        checkpoint.write(tmp_path / "c", {"a": torch.ones(4096)}, {"step": 2})
    assert checkpoint.read(tmp_path / "c")[1] == {"step": 1}
    assert [path.name for path in (tmp_path / "c").iterdir()] == [checkpoint.CHECKPOINT_FILE]


def test_what_a_killed_write_left_goes_with_the_next_one_or_with_the_checkpoint(tmp_path):
    for step in (checkpoint.write, lambda folder, *_: checkpoint.remove(folder)):
        (tmp_path / "c" / ".new").mkdir(parents=True)
        (tmp_path / "c" / ".new" / ".tmpNOyMYi").write_bytes(b"half")
        step(tmp_path / "c", {"a": torch.ones(1)}, {"step": 1})
        assert not (tmp_path / "c" / ".new").exists()
    assert not (tmp_path / "c").exists()


def test_no_checkpoint_is_none(tmp_path):
    assert checkpoint.read(tmp_path / "c") is None


@pytest.mark.parametrize("content", [b"", b"half", b"\x02\x00\x00\x00\x00\x00\x00\x00{}"])
def test_a_damaged_checkpoint_says_what_to_remove(tmp_path, content):
    (tmp_path / checkpoint.CHECKPOINT_FILE).write_bytes(content)
    for read in (checkpoint.read, lambda folder: checkpoint.check(folder, "run")):
        with pytest.raises(EncoderError, match=f"is damaged .* remove {tmp_path} to start again"):
            read(tmp_path)


def test_removing_takes_the_folder_only_where_it_is_empty(tmp_path):
    checkpoint.write(tmp_path / "c", {"a": torch.ones(1)}, {})
    checkpoint.remove(tmp_path / "c")
    assert not (tmp_path / "c").exists()
    checkpoint.remove(tmp_path / "c")
    checkpoint.write(tmp_path / "d", {"a": torch.ones(1)}, {})
    (tmp_path / "d" / "mine.txt").write_text("mine")
    checkpoint.remove(tmp_path / "d")
    assert [path.name for path in (tmp_path / "d").iterdir()] == ["mine.txt"]

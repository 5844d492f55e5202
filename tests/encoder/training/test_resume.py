"""A training that is stopped: it goes on to the same bytes, or, where it cannot go on, leaves nothing in the way."""

from __future__ import annotations

import pytest
import torch

from encoder import EncoderError
from encoder.training import checkpoint, objective, trainer
from tests.conftest import random_texts
from tests.encoder.labelled import SAMPLE, TASKS, quick


class Killed(Exception):
    pass


def killed_at(step: int):
    """Give a reporter that ends the training when it is told of a step."""

    def report(progress):
        if progress.step >= step:
            raise Killed

    return report


@pytest.mark.parametrize(("step", "bits"), [(4, 16), (6, None), (12, 16)])
def test_a_stopped_training_resumes_to_the_same_bytes(tiny_base, tmp_path, monkeypatch, step, bits):
    monkeypatch.setattr(trainer, "REPORT_STEPS", 1)
    call = {"bits": bits, "unlabelled": random_texts(50)}
    with pytest.raises(Killed):
        quick(tiny_base, **call, checkpoint_folder=tmp_path / "c", report=killed_at(step + 1))
    tensors, state = checkpoint.read(tmp_path / "c")
    assert state["step"] == step
    assert "now/decoder.weight" in tensors
    seen = []
    resumed = quick(tiny_base, **call, checkpoint_folder=tmp_path / "c", report=seen.append)
    assert [(p.step, bool(p.losses)) for p in seen[:2]] == [(step, False), (step + 1, True)]
    assert resumed.files() == quick(tiny_base, **call).files()


@pytest.mark.parametrize(
    "change",
    [{"learning_rate": 1e-5}, {"tasks": TASKS[:2]}, {"bits": 16}, {"rotation": "none"}, {"sample": SAMPLE[1:]}],
)
def test_a_checkpoint_of_another_training_is_not_gone_on_from(tiny_base, tmp_path, monkeypatch, change):
    monkeypatch.setattr(trainer, "REPORT_STEPS", 1)
    with pytest.raises(Killed):
        quick(tiny_base, checkpoint_folder=tmp_path / "c", report=killed_at(5))
    monkeypatch.setattr("encoder.training.train.Encoder", None)  # before anything is encoded
    with pytest.raises(EncoderError, match=r"with other rows or options, at step 4; .* remove that folder"):
        quick(tiny_base, checkpoint_folder=tmp_path / "c", **change)


def test_a_loss_that_is_no_number_stops_and_leaves_nothing(tiny_base, tmp_path, monkeypatch):
    real, calls = objective.row_losses, []

    def broken(logits, targets, kind):
        calls.append(kind)
        return real(logits, targets, kind) * (float("nan") if len(calls) > 25 else 1)

    monkeypatch.setattr(objective, "row_losses", broken)
    with pytest.raises(
        EncoderError, match=r"diverged at step \d+: the loss is nan; nothing was written: take a smaller"
    ):
        quick(tiny_base, checkpoint_folder=tmp_path / "c")
    assert not (tmp_path / "c").exists()


def test_a_gradient_that_is_no_number_stops_too(tiny_base, monkeypatch):
    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", lambda *a: torch.tensor(float("inf")))
    with pytest.raises(EncoderError, match="the gradient's norm is inf"):
        quick(tiny_base)


def test_weights_that_grow_too_large_end_a_training_that_cannot_be_gone_on_with(tiny_base, tmp_path):
    """Beyond float16 while the loss is still a number: the checkpoint goes, so a smaller rate may be tried at once."""
    folder = tmp_path / "checkpoints"
    with pytest.raises(EncoderError, match="take a smaller learning rate"):
        quick(tiny_base, learning_rate=1e5, checkpoint_folder=folder)
    assert not checkpoint.exists(folder)
    assert quick(tiny_base, learning_rate=1e-3, checkpoint_folder=folder).adapter is not None

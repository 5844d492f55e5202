"""Kernels that give the same numbers each time, and torch as it was afterwards."""

from __future__ import annotations

import contextlib

import pytest
import torch

from encoder.training.deterministic import deterministic


def state() -> tuple[bool, bool, bool, bool]:
    return (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        torch.utils.deterministic.fill_uninitialized_memory,
        torch.backends.cuda.cudnn_sdp_enabled(),
    )


@pytest.mark.parametrize(("device", "strict"), [("cpu", False), ("cuda", True), ("mps", False)])
def test_a_gpu_is_held_to_it_strictly_and_torch_is_as_it_was_after(monkeypatch, device, strict):
    """A GPU's attention has gradients of a fixed order only where torch may refuse the others, and cuDNN has none."""
    monkeypatch.setattr(torch.random, "fork_rng", lambda devices: contextlib.nullcontext())
    before = state()
    with contextlib.suppress(ValueError), deterministic(torch.device(device)):
        during = state()
        raise ValueError("a step failed")
    assert during == (True, not strict, False, before[3] and not strict)
    assert state() == before

from __future__ import annotations

import pytest

from encoder import EncoderError
from encoder.training.options import TrainOptions


def test_the_rate_rises_and_falls_to_nothing():
    options = TrainOptions(steps=100, warmup_share=0.1)
    rates = [options.rate(step) for step in range(options.steps)]
    assert rates[:11] == sorted(rates[:11])
    assert max(rates) == rates[10] == 1
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert 0 < rates[-1] < 0.02


def test_without_warm_up_the_first_step_has_the_full_rate():
    options = TrainOptions(steps=10, warmup_share=0)
    assert [options.rate(step) for step in (0, 5, 9)] == pytest.approx([1, 0.5, 0.1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"warmup_share": 1.5}, "warmup_share must be at least 0 and at most 1, not 1.5"),
        ({"dropout": 1.0}, "below 1"),
        ({"similarity_weight": -1.0}, "similarity_weight must not be negative"),
        ({"similarity_weight": float("nan")}, "similarity_weight must not be negative"),
        ({"reconstruction_weight": -1.0}, "reconstruction_weight must not be negative, but is -1.0"),
        ({"reconstruction_weight": float("inf")}, "reconstruction_weight must not be negative"),
        ({"steps": 0}, "steps must be at least 1"),
        ({"batch_texts": 1}, "batch_texts must be at least 2"),
        ({"train_tokens": 4}, "train_tokens must be at least 8"),
        ({"rank": 0}, "rank must be above 0"),
        ({"train_layers": 0}, "train_layers must be above 0"),
        ({"learning_rate": float("inf")}, "learning_rate must be above 0"),
        ({"seed": -1}, "seed must not be negative"),
    ],
)
def test_what_cannot_be_is_refused(change, message):
    with pytest.raises(EncoderError, match=message):
        TrainOptions(**change)

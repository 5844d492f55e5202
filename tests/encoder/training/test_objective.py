from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from encoder.training.objective import (
    prior_baseline,
    reconstruction_loss,
    row_losses,
    similarity_loss,
    straight_through_sign,
)


def test_signs_are_those_of_a_code():
    signs = straight_through_sign(torch.tensor([[-2.0, -0.1, 0.0, 0.1, 2.0]]))
    assert signs.tolist() == [[-1, -1, -1, 1, 1]]


def test_gradients_go_through_near_the_threshold_and_fade_away_from_it():
    values = torch.tensor([-3.0, -0.9, 0.2, 0.9, 3.0], requires_grad=True)
    (straight_through_sign(values) * torch.arange(1.0, 6)).sum().backward()
    expected = [number / math.cosh(value) ** 2 for number, value in enumerate((-3.0, -0.9, 0.2, 0.9, 3.0), 1)]
    assert values.grad.tolist() == pytest.approx(expected, rel=1e-4)
    assert values.grad[0] < 0.01


def test_row_losses_are_those_of_the_kind():
    single = row_losses(torch.tensor([[0.0, math.log(3)]]), torch.tensor([1]), "single")
    assert single.tolist() == pytest.approx([-math.log(0.75)])
    multi = row_losses(torch.zeros(1, 3), torch.tensor([[1.0, 0.0, 1.0]]), "multi")
    assert multi.tolist() == pytest.approx([3 * math.log(2)])
    assert row_losses(torch.tensor([[2.0]]), torch.tensor([5.0]), "regression").tolist() == [9]


@pytest.mark.parametrize(
    ("targets", "kind", "classes"),
    [
        (np.array([0] * 700 + [1] * 200 + [2] * 100), "single", 3),
        (np.random.default_rng(0).random((2000, 4)) < [0.5, 0.1, 0.01, 0.9], "multi", 4),
        (np.random.default_rng(0).random((300, 50)) < 0.004, "multi", 50),  # rare labels, some that no row has
        (np.random.default_rng(0).normal(3, 2, 500), "regression", 1),
    ],
)
def test_a_head_that_guesses_has_the_loss_of_guessing(targets, kind, classes):
    bias, loss = prior_baseline(targets, kind, classes)
    logits = torch.from_numpy(bias).expand(len(targets), -1)
    as_learned = torch.from_numpy(targets) if kind == "single" else torch.from_numpy(targets.astype(np.float32))
    assert row_losses(logits, as_learned, kind).mean().item() == pytest.approx(loss, rel=1e-4)


def test_a_class_without_rows_is_rare_and_not_impossible():
    bias, loss = prior_baseline(np.array([0, 0, 1]), "single", 3)
    assert np.isfinite(bias).all()
    assert bias[2] < bias[1] < bias[0]
    assert math.isfinite(loss)


def test_signs_of_gaussian_features_keep_the_similarities():
    torch.manual_seed(0)
    centres = torch.randn(8, 4096)
    features = centres[torch.arange(64) % 8] + 0.7 * torch.randn(64, 4096)
    kept = similarity_loss(straight_through_sign(features), features).item()
    torn = similarity_loss(straight_through_sign(torch.randn(64, 4096)), features).item()
    assert kept < 0.02
    assert torn > 0.8


def test_keeping_the_base_has_a_gradient_towards_the_base():
    torch.manual_seed(0)
    features = torch.randn(8, 512)[torch.arange(32) % 8] + 0.7 * torch.randn(32, 512)
    values = (0.3 * features + torch.randn(32, 512)).requires_grad_()
    optimizer = torch.optim.Adam([values], 0.05)
    first = similarity_loss(straight_through_sign(values), features).item()
    for _ in range(30):
        optimizer.zero_grad()
        loss = similarity_loss(straight_through_sign(values), features)
        loss.backward()
        optimizer.step()
    assert loss.item() < first / 2


def test_rebuilding_costs_nothing_where_all_is_there_and_one_where_nothing_is():
    torch.manual_seed(0)
    wanted = torch.randn(2000, 16)
    assert reconstruction_loss(wanted, wanted).item() == 0
    assert reconstruction_loss(torch.zeros_like(wanted), wanted).item() == pytest.approx(1, abs=0.02)
    assert reconstruction_loss(torch.tensor([[1.0, 3.0]]), torch.tensor([[0.0, 1.0]])).item() == 2.5

from __future__ import annotations

import numpy as np
import pytest
import torch

from encoder.training.objective import prior_baseline, row_losses
from encoder.training.warm_start import fit_decoder, fit_head

RNG = np.random.default_rng(0)
SIGNS = torch.from_numpy(np.where(RNG.standard_normal((300, 40)) + 0.3 > 0, 1, -1).astype(np.float32))
SCORES = SIGNS.numpy() @ RNG.standard_normal((40, 3)) + RNG.standard_normal((300, 3))
TARGETS = {"single": SCORES.argmax(1), "multi": SCORES > 1, "regression": SCORES[:, 0] / SCORES[:, 0].std()}


def fitted(kind: str, strength: float):
    targets = TARGETS[kind]
    bias, _ = prior_baseline(targets, kind, 3)
    targets = torch.from_numpy(targets.astype(np.int64 if kind == "single" else np.float32))
    return *fit_head(SIGNS, targets, kind, torch.from_numpy(bias), strength), targets


@pytest.mark.parametrize("kind", ["single", "multi", "regression"])
@pytest.mark.parametrize("strength", [0.01, 1.0])
def test_a_head_starts_at_the_optimum(kind, strength):
    weight, bias, targets = fitted(kind, strength)
    weight, bias = weight.double().requires_grad_(), bias.double().requires_grad_()
    logits = SIGNS.double() @ weight.T + bias
    targets = targets if kind == "single" else targets.double()
    (row_losses(logits, targets, kind).mean() + strength / 2 * weight.square().sum()).backward()
    assert weight.grad.abs().max() < 1e-3
    assert bias.grad.abs().max() < 1e-3


def test_a_head_is_the_logistic_regression_of_scikit_learn():
    linear_model = pytest.importorskip("sklearn.linear_model")
    weight, bias, _ = fitted("single", 0.1)
    theirs = linear_model.LogisticRegression(C=1 / (0.1 * len(SIGNS)), tol=1e-8, max_iter=1000)
    theirs.fit(SIGNS.numpy(), TARGETS["single"])
    np.testing.assert_allclose(weight, theirs.coef_, atol=1e-3)
    np.testing.assert_allclose(bias - bias.mean(), theirs.intercept_ - theirs.intercept_.mean(), atol=2e-3)


def test_a_stronger_penalty_gives_smaller_weights():
    strong, weak = (fitted("single", strength)[0].norm() for strength in (1.0, 0.01))
    assert strong < weak / 2


def test_the_decoder_starts_at_the_ridge_solution():
    wanted = torch.from_numpy((SIGNS.numpy()[:, :5] + 0.3 * RNG.standard_normal((300, 5))).astype(np.float32))
    weight, bias = fit_decoder(SIGNS, wanted, l2=0.05)
    # The same as ordinary least squares with rows that ask for weights of zero; the bias is free.
    held = np.sqrt(0.05 * 300) * np.eye(40)
    inputs = np.r_[np.c_[SIGNS, np.ones(300)], np.c_[held, np.zeros(40)]]
    expected, *_ = np.linalg.lstsq(inputs, np.r_[wanted, np.zeros((40, 5))], rcond=None)
    np.testing.assert_allclose(weight, expected[:-1].T, atol=1e-5)
    np.testing.assert_allclose(bias, expected[-1], atol=1e-5)


def test_a_decoder_can_be_fitted_on_fewer_rows_than_bits():
    weight, bias = fit_decoder(SIGNS[:10], torch.randn(10, 4))
    assert torch.isfinite(weight).all()
    assert torch.isfinite(bias).all()

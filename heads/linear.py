"""Fit linear models along a path of L2 penalties, from the strongest to the weakest.

Inputs are float32 tensors with columns of about unit variance: bits as -1 and +1, or standardised features. Knows no
codes, heads, validation or calibration.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

MAX_ITER = 200
Solution = tuple[float, np.ndarray, np.ndarray]  # l2, weights (outputs, dim), bias (outputs,)


def logistic_path(
    inputs: torch.Tensor, targets: np.ndarray, classes: int, l2_grid: Sequence[float]
) -> Iterator[Solution]:
    """Fit logistic regressions, each started from the one before; deterministic.

    The loss is the mean over rows of the log loss (summed over classes), plus l2 / 2 times the sum of the squared
    weights. Biases are not penalised. So l2 is 1 / (n C) in scikit-learn's terms, and half of that with two classes,
    where scikit-learn has one row of weights for two. The method is full-batch L-BFGS with a strong Wolfe line search.

    Args:
        inputs: (n, dim) float32.
        targets: (n,) int64 gives one multinomial model; (n, classes) bool gives a binary model for each class.
        classes: how many classes there are.
        l2_grid: penalties, in any order.

    Yields:
        a solution a penalty.
    """
    import torch
    from torch.nn import functional

    with torch.enable_grad():
        truth = torch.from_numpy(targets)
        multinomial = truth.ndim == 1
        if multinomial:
            share = torch.bincount(truth, minlength=classes) / len(truth)
            start = share.clamp(min=1e-6).log()
        else:
            truth = truth.float()
            start = truth.mean(0).clamp(1e-6, 1 - 1e-6).logit()
        weights = torch.zeros(classes, inputs.shape[1], requires_grad=True)
        bias = start.clone().requires_grad_()

        for l2 in sorted(l2_grid, reverse=True):
            optimizer = torch.optim.LBFGS(
                [weights, bias],
                max_iter=MAX_ITER,
                tolerance_grad=1e-5,
                tolerance_change=1e-7,
                line_search_fn="strong_wolfe",
            )

            def loss_and_gradient(l2: float = l2, optimizer: torch.optim.Optimizer = optimizer) -> torch.Tensor:
                optimizer.zero_grad()
                logits = functional.linear(inputs, weights, bias)
                if multinomial:
                    loss = functional.cross_entropy(logits, truth)
                else:
                    # The mean over rows and the sum over classes.
                    loss = classes * functional.binary_cross_entropy_with_logits(logits, truth)
                loss = loss + l2 / 2 * weights.square().sum()
                loss.backward()
                return loss.detach()

            optimizer.step(loss_and_gradient)
            yield l2, weights.detach().numpy().copy(), bias.detach().numpy().copy()


def ridge_path(
    inputs: torch.Tensor,
    targets: np.ndarray,
    l2_grid: Sequence[float],
) -> Iterator[Solution]:
    """Fit ridge regressions, all from one eigendecomposition of the covariance.

    The loss is half the mean squared error plus l2 / 2 times the sum of the squared weights. The bias is not penalised.

    Args:
        inputs: (n, dim) float32.
        targets: (n,) float64.
        l2_grid: penalties, in any order.

    Yields:
        a solution a penalty.
    """
    rows = len(targets)
    mean = inputs.double().mean(0).numpy() if rows < 4096 else inputs.mean(0).double().numpy()
    covariance = (inputs.T @ inputs).double().numpy() / rows - np.outer(mean, mean)
    centred = (targets - targets.mean()).astype(np.float32)
    moments = (centred @ inputs.numpy()).astype(np.float64) / rows
    eigenvalues, vectors = np.linalg.eigh(covariance)
    projected = vectors.T @ moments
    for l2 in sorted(l2_grid, reverse=True):
        weights = vectors @ (projected / (np.maximum(eigenvalues, 0) + l2))
        bias = targets.mean() - mean @ weights
        yield l2, weights[None].astype(np.float32), np.array([bias], np.float32)

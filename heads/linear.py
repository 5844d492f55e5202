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
# An optimisation ends where a step changes the loss, or every weight, by less. The path needs only the order of its
# penalties: 1e-5 takes half the evaluations of 1e-7. The penalty that is kept is refined.
PATH_TOLERANCE = 1e-5
TOLERANCE = 1e-7
Solution = tuple[float, np.ndarray, np.ndarray]  # l2, weights (outputs, dim), bias (outputs,)


def logistic_path(
    inputs: torch.Tensor, targets: np.ndarray, classes: int, l2_grid: Sequence[float]
) -> Iterator[Solution]:
    """Fit logistic regressions to `PATH_TOLERANCE`, each started from the one before; deterministic.

    Args:
        inputs: (n, dim) float32.
        targets: (n,) int64 gives one multinomial model; (n, classes) bool gives a binary model for each class.
        classes: how many classes there are.
        l2_grid: penalties, in any order.

    Yields:
        a solution a penalty.
    """
    shares = np.bincount(targets, minlength=classes) / len(targets) if targets.ndim == 1 else targets.mean(axis=0)
    shares = np.clip(shares, 1e-6, 1 - 1e-6)
    bias = np.log(shares) if targets.ndim == 1 else np.log(shares) - np.log1p(-shares)
    weights, bias = np.zeros((classes, inputs.shape[1]), np.float32), bias.astype(np.float32)
    for l2 in sorted(l2_grid, reverse=True):
        solution = logistic(inputs, targets, (l2, weights, bias), PATH_TOLERANCE)
        yield solution
        _, weights, bias = solution


def logistic(inputs: torch.Tensor, targets: np.ndarray, start: Solution, tolerance: float = TOLERANCE) -> Solution:
    """Fit a logistic regression with the penalty of `start`, from its weights and bias; deterministic.

    The loss is the mean over rows of the log loss (summed over classes), plus l2 / 2 times the sum of the squared
    weights. Biases are not penalised. So l2 is 1 / (n C) in scikit-learn's terms, and half of that with two classes,
    where scikit-learn has one row of weights for two. The method is full-batch L-BFGS with a strong Wolfe line search.

    Args:
        inputs: (n, dim) float32.
        targets: as in `logistic_path`.
        start: where the optimisation starts; it is not changed.
        tolerance: change of the loss, and of every weight, at which it ends.
    """
    import torch
    from torch.nn import functional

    l2 = start[0]
    with torch.enable_grad():
        truth = torch.from_numpy(targets)
        truth = truth if truth.ndim == 1 else truth.float()
        weights, bias = (torch.from_numpy(part).clone().requires_grad_() for part in start[1:])
        optimizer = torch.optim.LBFGS(
            [weights, bias],
            max_iter=MAX_ITER,
            tolerance_grad=1e-5,
            tolerance_change=tolerance,
            line_search_fn="strong_wolfe",
        )

        def loss_and_gradient() -> torch.Tensor:
            optimizer.zero_grad()
            logits = functional.linear(inputs, weights, bias)
            if truth.ndim == 1:
                loss = functional.cross_entropy(logits, truth)
            else:
                # The mean over rows and the sum over classes.
                loss = len(bias) * functional.binary_cross_entropy_with_logits(logits, truth)
            loss = loss + l2 / 2 * weights.square().sum()
            loss.backward()
            return loss.detach()

        optimizer.step(loss_and_gradient)
    return l2, weights.detach().numpy(), bias.detach().numpy()


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

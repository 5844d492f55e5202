"""Fit the training heads and the decoder to the frozen encoder before training starts.

A head with random weights distorts the encoder's features: first fit it, then train both (Kumar et al., ICLR 2022).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from encoder.training.objective import row_losses
from encoder.training.tasks import Kind, Task, sample_rows
from encoder.training.trainable_encoder import TrainableEncoder

MAX_HEAD_ROWS = 2000  # of a task; more rows hardly change a head with so strong a penalty
HEAD_L2 = 1.0
# On rows it had not seen, a decoder of 1,152 bits left 42 % of the variance when fitted on 2,000 rows with a penalty of 0.05,
# 35 % with 0.2, and on 8,000 rows 28 %.
MAX_DECODER_ROWS = 8000
DECODER_L2 = 0.2


def start_heads(
    model: TrainableEncoder, tasks: list[Task], features_of: Callable[[list[str]], np.ndarray], seed: int
) -> np.ndarray:
    """Fit each training head on the frozen encoder's bits of up to `MAX_HEAD_ROWS` rows of its task.

    Args:
        features_of: computes the base model's features (n, dim) float32 of n texts.

    Returns:
        The features (rows, dim) float32 of up to `MAX_DECODER_ROWS` of the texts, as many of each task.
    """
    sample = []
    for number, task in enumerate(tasks):
        rows = sample_rows(len(task.train), MAX_HEAD_ROWS, seed)
        features = features_of([task.train.texts[row] for row in rows])
        signs = model.frozen_signs(features)
        targets = model.targets[number][torch.from_numpy(rows).to(model.device)]
        weight, bias = fit_head(signs, targets, task.kind, model.prior_biases[number])
        model.set_head(number, weight, bias)
        sample.append(features[sample_rows(len(rows), max(1, MAX_DECODER_ROWS // len(tasks)), seed)])
    return np.concatenate(sample)


def fit_head(
    signs: torch.Tensor, targets: torch.Tensor, kind: Kind, first_bias: torch.Tensor, l2: float = HEAD_L2
) -> tuple[torch.Tensor, torch.Tensor]:
    """Minimise the mean loss + l2 / 2 * |weight|² by L-BFGS.

    Args:
        signs: (n, bits) float32.
        targets: see `encoder.training.objective.row_losses`.
        first_bias: (outputs,), the bias to start from.

    Returns:
        weight (outputs, bits) and bias (outputs,), float32.
    """
    weight = signs.new_zeros(len(first_bias), signs.shape[1], requires_grad=True)
    bias = first_bias.clone().requires_grad_()
    optimizer = torch.optim.LBFGS(
        [weight, bias], max_iter=100, tolerance_grad=1e-5, tolerance_change=1e-9, line_search_fn="strong_wolfe"
    )

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        logits = torch.nn.functional.linear(signs, weight, bias)
        value = row_losses(logits, targets, kind).mean() + l2 / 2 * weight.square().sum()
        value.backward()
        return value.detach()

    optimizer.step(loss)
    return weight.detach(), bias.detach()


def start_decoder(model: TrainableEncoder, features: np.ndarray) -> None:
    """Fit the decoder to the base model's features (n, dim) float32 of some texts."""
    base_values = model.base_values(torch.from_numpy(features).to(model.device))
    model.set_decoder(*fit_decoder(model.frozen_signs(features), model.reconstruction_targets(base_values)))


def fit_decoder(
    signs: torch.Tensor, targets: torch.Tensor, l2: float = DECODER_L2
) -> tuple[torch.Tensor, torch.Tensor]:
    """Solve a ridge regression: minimise the mean squared error of a row, summed over dim, + l2 * |weight|².

    Args:
        signs: (n, bits) float32.
        targets: (n, dim) float32.

    Returns:
        weight (dim, bits) and bias (dim,), float32.
    """
    inputs, outputs = signs.cpu().double(), targets.cpu().double()  # Apple's GPUs have no float64
    input_mean, output_mean = inputs.mean(0), outputs.mean(0)
    inputs, outputs = inputs - input_mean, outputs - output_mean
    gram = inputs.T @ inputs / len(inputs)
    gram.diagonal().add_(l2)
    weight = torch.linalg.solve(gram, inputs.T @ outputs / len(inputs)).T
    return weight.float(), (output_mean - weight @ input_mean).float()

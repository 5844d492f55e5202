"""Start training heads and the decoder where they fit the frozen encoder best.

A head that starts from nothing pushes an encoder far for no good: first fit it, then train both (Kumar et al., ICLR 2022).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from encoder.training.objective import row_losses
from encoder.training.tasks import Kind, Task, sample_rows
from encoder.training.trainable_encoder import Student

HEAD_ROWS = 2000  # of a task; more hardly move a head so strongly held
HEAD_STRENGTH = 1.0
# On rows it had not seen, a decoder of 1,152 bits left 42 % of the variance when fitted on 2,000 rows with strength 0.05, 35 %
# with 0.2, and on 8,000 rows 28 %.
DECODER_ROWS = 8000
DECODER_STRENGTH = 0.2


def start_heads(
    student: Student, tasks: list[Task], features_of: Callable[[list[str]], np.ndarray], seed: int
) -> np.ndarray:
    """Set each training head to the one fitted on the encoder's bits as it is, up to `HEAD_ROWS` of a task's rows.

    features_of: texts in, the base model's features (n, dim) float32 out. Gives those of up to `DECODER_ROWS` of the texts,
    evenly of the tasks.
    """
    kept = []
    for number, task in enumerate(tasks):
        rows = sample_rows(len(task.train), HEAD_ROWS, seed)
        features = features_of([task.train.texts[row] for row in rows])
        signs = student.frozen_signs(features)
        targets = student.targets[number][torch.from_numpy(rows).to(student.device)]
        weight, bias = fit_head(signs, targets, task.kind, student.guesses[number])
        student.set_head(number, weight, bias)
        kept.append(features[sample_rows(len(rows), max(1, DECODER_ROWS // len(tasks)), seed)])
    return np.concatenate(kept)


def fit_head(
    signs: torch.Tensor, targets: torch.Tensor, kind: Kind, guess: torch.Tensor, strength: float = HEAD_STRENGTH
) -> tuple[torch.Tensor, torch.Tensor]:
    """Minimise the mean loss + strength / 2 * |weight|² by L-BFGS: weight (outputs, bits) and bias (outputs,) float32.

    signs (n, bits) float32; targets as for `encoder.training.objective.row_losses`; guess (outputs,), the bias to start from.
    """
    weight = signs.new_zeros(len(guess), signs.shape[1], requires_grad=True)
    bias = guess.clone().requires_grad_()
    optimizer = torch.optim.LBFGS(
        [weight, bias], max_iter=100, tolerance_grad=1e-5, tolerance_change=1e-9, line_search_fn="strong_wolfe"
    )

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        logits = torch.nn.functional.linear(signs, weight, bias)
        value = row_losses(logits, targets, kind).mean() + strength / 2 * weight.square().sum()
        value.backward()
        return value.detach()

    optimizer.step(loss)
    return weight.detach(), bias.detach()


def start_decoder(student: Student, features: np.ndarray) -> None:
    """Set the decoder to the one fitted on the base model's features of some texts, (n, dim) float32."""
    wanted = student.to_rebuild(student.base_values(torch.from_numpy(features).to(student.device)))
    student.set_decoder(*fit_decoder(student.frozen_signs(features), wanted))


def fit_decoder(
    signs: torch.Tensor, wanted: torch.Tensor, strength: float = DECODER_STRENGTH
) -> tuple[torch.Tensor, torch.Tensor]:
    """Solve a ridge regression: weight (dim, bits) and bias (dim,) with the least mean squared error + strength * |weight|².

    signs (n, bits) float32, wanted (n, dim) float32; the error of a row is summed over dim.
    """
    inputs, outputs = signs.cpu().double(), wanted.cpu().double()  # Apple's GPUs have no float64
    centre, level = inputs.mean(0), outputs.mean(0)
    inputs, outputs = inputs - centre, outputs - level
    gram = inputs.T @ inputs / len(inputs)
    gram.diagonal().add_(strength)
    weight = torch.linalg.solve(gram, inputs.T @ outputs / len(inputs)).T
    return weight.float(), (level - weight @ centre).float()

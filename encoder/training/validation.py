"""Score training heads on validation rows: one figure a task, higher is better."""

from __future__ import annotations

import numpy as np
import torch

from encoder.tokenize import Tokenizer
from encoder.training.options import TrainOptions
from encoder.training.sampling import cut_by_tokens
from encoder.training.tasks import Kind, Task, sample_rows
from encoder.training.trainable_encoder import Student


class Validation:
    """Look at the same validation rows each time."""

    def __init__(self, tasks: list[Task], tokenizer: Tokenizer, options: TrainOptions) -> None:
        self._batch_tokens = options.batch_tokens
        self._tasks = tasks
        self._looked_at = []
        for task in tasks:
            rows = sample_rows(len(task.validation), options.eval_rows, options.seed)
            windows = tokenizer([task.validation.texts[row] for row in rows])
            self._looked_at.append((windows, task.validation.targets[rows]))

    @torch.no_grad()
    def scores(self, student: Student) -> dict[str, float]:
        """Score each task's training head on the signs of its rows; turns the student's training mode off."""
        student.train(False)
        scores = {}
        for number, (task, (windows, targets)) in enumerate(zip(self._tasks, self._looked_at)):
            logits = np.empty((len(targets), task.outputs), np.float32)
            order = np.argsort(-windows.lengths, kind="stable")
            for part in cut_by_tokens(windows.lengths[order], self._batch_tokens):
                signs = student.signs(*student.lay_out(windows, order[part]))
                logits[order[part]] = student.logits(number, signs).cpu().numpy()
            scores[task.name] = round(score(logits, targets, task.kind), 6)
        return scores


def score(logits: np.ndarray, targets: np.ndarray, kind: Kind) -> float:
    """Compute accuracy (single), micro F1 at even odds (multi) or Pearson's correlation (regression).

    logits (n, outputs) float32, targets as in `encoder.training.tasks.Rows`.
    """
    if kind == "single":
        return float((logits.argmax(1) == targets).mean())
    if kind == "multi":
        given = logits > 0
        found = given.sum() + targets.sum()
        return float(2 * (given & targets.astype(bool)).sum() / found) if found else 0.0
    values, truth = logits[:, 0] - logits[:, 0].mean(dtype=np.float64), targets - targets.mean(dtype=np.float64)
    scale = np.sqrt((values**2).sum() * (truth**2).sum())
    return float((values * truth).sum() / scale) if scale > 0 else 0.0

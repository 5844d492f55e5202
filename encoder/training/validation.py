"""Score training heads on validation rows: one figure per task, higher is better."""

from __future__ import annotations

import numpy as np
import torch

from encoder.tokenize import Tokenizer
from encoder.training.options import TrainOptions
from encoder.training.sampling import split_by_tokens
from encoder.training.tasks import Kind, Task, sample_rows
from encoder.training.trainable_encoder import TrainableEncoder


class Validation:
    """A sample of each task's validation rows, the same one at each validation."""

    def __init__(self, tasks: list[Task], tokenizer: Tokenizer, options: TrainOptions) -> None:
        self._batch_tokens = options.batch_tokens
        self._tasks = tasks
        self._samples = []
        for task in tasks:
            rows = sample_rows(len(task.validation), options.eval_rows, options.seed)
            windows = tokenizer([task.validation.texts[row] for row in rows])
            self._samples.append((windows, task.validation.targets[rows]))

    @torch.no_grad()
    def scores(self, model: TrainableEncoder) -> dict[str, float]:
        """Score each task's training head on the signs of its rows. Leaves the model in evaluation mode."""
        model.train(False)
        scores = {}
        for number, (task, (windows, targets)) in enumerate(zip(self._tasks, self._samples)):
            logits = np.empty((len(targets), task.outputs), np.float32)
            order = np.argsort(-windows.lengths, kind="stable")
            for part in split_by_tokens(windows.lengths[order], self._batch_tokens):
                signs = model.signs(*model.pad(windows, order[part]))
                logits[order[part]] = model.logits(number, signs).cpu().numpy()
            scores[task.name] = round(score(logits, targets, task.kind), 6)
        return scores


def score(logits: np.ndarray, targets: np.ndarray, kind: Kind) -> float:
    """Compute accuracy (single), micro F1 of logits above zero (multi) or Pearson's correlation (regression).

    logits (n, outputs) float32; targets as in `encoder.training.tasks.Rows`.
    """
    if kind == "single":
        return float((logits.argmax(1) == targets).mean())
    if kind == "multi":
        predicted = logits > 0
        positives = predicted.sum() + targets.sum()
        return float(2 * (predicted & targets.astype(bool)).sum() / positives) if positives else 0.0
    values, truth = logits[:, 0] - logits[:, 0].mean(dtype=np.float64), targets - targets.mean(dtype=np.float64)
    scale = np.sqrt((values**2).sum() * (truth**2).sum())
    return float((values * truth).sum() / scale) if scale > 0 else 0.0

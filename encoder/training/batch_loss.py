"""Compute the loss of a training batch: what labels say, what holds on to the base model, and the means of each."""

from __future__ import annotations

import numpy as np
import torch

from encoder.training import objective
from encoder.training.options import TrainOptions
from encoder.training.sampling import Batch
from encoder.training.tasks import Task
from encoder.training.trainable_encoder import Student

KEEP, REBUILD = "keep", "rebuild"


class BatchLoss:
    """Compute losses, and their means by task (and "keep", "rebuild") since `sums` were last emptied.

    Attributes:
        sums: by name, [sum, count].
    """

    def __init__(self, student: Student, tasks: list[Task], options: TrainOptions) -> None:
        self._student, self._tasks, self._options = student, tasks, options
        self.sums: dict[str, list[float]] = {}

    def __call__(self, ids: torch.Tensor, mask: torch.Tensor, part: Batch, whole: Batch) -> torch.Tensor:
        """Compute the share of a batch's loss that falls to some of its rows, those of one pass: a scalar.

        ids (n, tokens) int64 and mask (n, tokens) bool are of the rows of `part`, in their order.
        """
        signs, base = self._student.signs_and_base(ids, mask)
        loss = self._of_labels(signs, part, whole)
        share = len(part.row) / len(whole.row)
        if base is not None and self._options.keep and len(part.row) > 2:
            keep = objective.keep_loss(signs, base)
            self._note(KEEP, keep.item() * len(part.row), len(part.row))
            loss = loss + self._options.keep * share * keep
        if base is not None and self._options.rebuild:
            rebuild = objective.rebuild_loss(self._student.rebuild(signs), self._student.to_rebuild(base))
            self._note(REBUILD, rebuild.item() * len(part.row), len(part.row))
            loss = loss + self._options.rebuild * share * rebuild
        return loss

    def means(self) -> dict[str, float]:
        """Give the means by name: tasks in their order, then the other terms."""
        names = [*(task.name for task in self._tasks), KEEP, REBUILD]
        return {n: round(self.sums[n][0] / self.sums[n][1], 6) for n in names if n in self.sums}

    def _of_labels(self, signs: torch.Tensor, part: Batch, whole: Batch) -> torch.Tensor:
        student = self._student
        loss = signs.new_zeros(())
        labelled = max(1, int((whole.source < len(self._tasks)).sum()))
        for number in np.unique(part.source):
            if number == len(self._tasks):
                continue  # unlabelled
            here = torch.from_numpy(np.flatnonzero(part.source == number)).to(student.device)
            targets = student.targets[number][torch.from_numpy(part.row[part.source == number]).to(student.device)]
            logits = student.logits(number, signs[here])
            losses = objective.row_losses(logits, targets, self._tasks[number].kind) / student.loss_scale[number]
            loss = loss + losses.sum() / labelled
            self._note(self._tasks[number].name, losses.detach().sum().item(), len(losses))
        return loss

    def _note(self, name: str, loss_sum: float, rows: int) -> None:
        total = self.sums.setdefault(name, [0.0, 0])
        total[0] += loss_sum
        total[1] += rows

"""Compute the loss of a training batch: the losses of the tasks, the two terms that hold on to the base model, their means."""

from __future__ import annotations

import numpy as np
import torch

from encoder.training import objective
from encoder.training.options import TrainOptions
from encoder.training.sampling import Batch
from encoder.training.tasks import Task
from encoder.training.trainable_encoder import TrainableEncoder

SIMILARITY, RECONSTRUCTION = "similarity", "reconstruction"


class BatchLoss:
    """The loss of batches, with its means by task and by term (`SIMILARITY`, `RECONSTRUCTION`) since `sums` was last emptied.

    Attributes:
        sums: by name, [sum, count].
    """

    def __init__(self, model: TrainableEncoder, tasks: list[Task], options: TrainOptions) -> None:
        self._model, self._tasks, self._options = model, tasks, options
        self.sums: dict[str, list[float]] = {}

    def __call__(self, ids: torch.Tensor, mask: torch.Tensor, part: Batch, whole: Batch) -> torch.Tensor:
        """Compute the share of the loss of the batch `whole` that its rows `part` have, a scalar: one pass computes these.

        ids (n, tokens) int64 and mask (n, tokens) bool are of the rows of `part`, in their order.
        """
        signs, base_values = self._model.signs_and_base_values(ids, mask)
        loss = self._task_loss(signs, part, whole)
        rows = len(part.row)
        share = rows / len(whole.row)
        if base_values is not None and self._options.similarity_weight and rows > 2:
            similarity = objective.similarity_loss(signs, base_values)
            self._add(SIMILARITY, similarity.item() * rows, rows)
            loss = loss + self._options.similarity_weight * share * similarity
        if base_values is not None and self._options.reconstruction_weight:
            targets = self._model.reconstruction_targets(base_values)
            reconstruction = objective.reconstruction_loss(self._model.reconstruct(signs), targets)
            self._add(RECONSTRUCTION, reconstruction.item() * rows, rows)
            loss = loss + self._options.reconstruction_weight * share * reconstruction
        return loss

    def means(self) -> dict[str, float]:
        """Return the means by name: tasks in their order, then the terms."""
        names = [*(task.name for task in self._tasks), SIMILARITY, RECONSTRUCTION]
        return {n: round(self.sums[n][0] / self.sums[n][1], 6) for n in names if n in self.sums}

    def _task_loss(self, signs: torch.Tensor, part: Batch, whole: Batch) -> torch.Tensor:
        model = self._model
        loss = signs.new_zeros(())
        labelled = max(1, int((whole.source < len(self._tasks)).sum()))
        for number in np.unique(part.source):
            if number == len(self._tasks):
                continue  # unlabelled
            is_of_task = part.source == number
            rows = torch.from_numpy(np.flatnonzero(is_of_task)).to(model.device)
            targets = model.targets[number][torch.from_numpy(part.row[is_of_task]).to(model.device)]
            logits = model.logits(number, signs[rows])
            losses = objective.row_losses(logits, targets, self._tasks[number].kind) / model.prior_losses[number]
            loss = loss + losses.sum() / labelled
            self._add(self._tasks[number].name, losses.detach().sum().item(), len(losses))
        return loss

    def _add(self, name: str, loss_sum: float, rows: int) -> None:
        total = self.sums.setdefault(name, [0.0, 0])
        total[0] += loss_sum
        total[1] += rows

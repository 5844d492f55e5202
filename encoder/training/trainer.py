"""Run the steps of a training: draw, compute, learn, look at validation rows, keep checkpoints."""

from __future__ import annotations

import dataclasses
import itertools
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from encoder.base import Diverged
from encoder.tokenize import Tokenizer
from encoder.training import checkpoint, sampling
from encoder.training.batch_loss import BatchLoss
from encoder.training.options import TrainOptions
from encoder.training.tasks import Task
from encoder.training.trainable_encoder import Student
from encoder.training.validation import Validation

REPORT_STEPS = 50
BETAS = (0.9, 0.98)  # of AdamW; so few steps are over before a slower second moment has settled


@dataclasses.dataclass(frozen=True)
class Progress:
    """Say how far a training is.

    Attributes:
        step, steps: batches done, and to do in all.
        losses: by task, and "keep" and "rebuild": the mean since the last validation; 1 is where nothing is known. Empty
            where a training says, before its first step, that it goes on from a checkpoint.
        scores: by task, where this was a validation; else empty.
        seconds_per_step, seconds_left: validations counted in; NaN before the first step.
    """

    step: int
    steps: int
    losses: dict[str, float]
    scores: dict[str, float]
    seconds_per_step: float
    seconds_left: float


class Trainer:
    """Train a `Student`. What it holds beside it: the optimiser, the history, the best state."""

    def __init__(
        self, student: Student, tokenizer: Tokenizer, tasks: list[Task], unlabelled: list[str], options: TrainOptions
    ) -> None:
        """Tokenise all texts."""
        self._student, self._options = student, options
        sources = [*(task.train.texts for task in tasks), unlabelled]
        self._windows = tokenizer([text for texts in sources for text in texts])
        self._first_row = np.cumsum([0, *map(len, sources)])  # of each source among all windows
        self._drawn = sampling.shares(
            [len(task.train) for task in tasks], options.sampling_power, len(unlabelled), options.unlabelled_share
        )
        self._loss = BatchLoss(student, tasks, options)
        self._validation = Validation(tasks, tokenizer, options)
        self._optimizer = torch.optim.AdamW(
            [
                {"params": student.encoder_parameters(), "weight_decay": 0.0},
                {"params": list(student.heads.parameters()), "weight_decay": options.weight_decay},
                {"params": student.decoder_parameters(), "weight_decay": 0.0},
            ],
            betas=BETAS,
        )
        self.step = 0
        self.history: list[dict[str, Any]] = []
        self.best_step = 0
        self._best: dict[str, torch.Tensor] = {}

    def run(self, folder: Path | None, run_id: str, report: Callable[[Progress], None]) -> None:
        """Train to the end, or until the validation score no longer rises; the student ends in its best state.

        Goes on from the checkpoint in `folder`, where there is one; that it is of this training `checkpoint.check` says.

        Raises:
            EncoderError: a damaged checkpoint.
            Diverged: a loss that is no number.
        """
        options = self._options
        if folder is not None:
            self._resume(folder)
        if self.step:
            report(Progress(self.step, options.steps, {}, {}, math.nan, math.nan))
        lengths = np.split(self._windows.lengths, self._first_row[1:-1])
        batches = sampling.batches(lengths, self._drawn, options.batch_texts, options.seed)
        started, first = time.perf_counter(), self.step
        for batch in itertools.islice(batches, self.step, None):
            if self.step >= options.steps or self._has_converged():
                break
            self._learn(batch)
            self.step += 1
            is_last = self.step == options.steps
            scores = self._look() if is_last or self.step % options.eval_steps == 0 else {}
            if scores or self.step % REPORT_STEPS == 0:
                pace = (time.perf_counter() - started) / (self.step - first)
                left = pace * (options.steps - self.step)
                losses = self.history[-1]["losses"] if scores else self._loss.means()
                report(Progress(self.step, options.steps, losses, scores, pace, left))
            if folder is not None and not is_last and (scores or self.step % options.checkpoint_steps == 0):
                checkpoint.write(folder, self._tensors(), self._state(run_id))
        if self._best:
            self._student.restore(self._best)

    def _learn(self, batch: sampling.Batch) -> None:
        """Take one step. Its random numbers follow from the seed and its number, so a resumed one draws the same."""
        options, student = self._options, self._student
        torch.manual_seed(int(np.random.SeedSequence([options.seed, self.step]).generate_state(1, np.uint64)[0] >> 1))
        rate = options.rate(self.step)
        encoder_group, *other_groups = self._optimizer.param_groups
        encoder_group["lr"] = options.learning_rate * rate
        for group in other_groups:
            group["lr"] = options.head_learning_rate * rate
        student.train(True)
        windows = self._first_row[batch.source] + batch.row
        for part in sampling.cut_evenly(self._windows.lengths[windows], options.batch_tokens):
            ids, mask = student.lay_out(self._windows, windows[part])
            rows = sampling.Batch(batch.source[part], batch.row[part])
            loss = self._loss(ids, mask, rows, batch)
            if not math.isfinite(value := loss.item()):
                self._diverged(f"the loss is {value}")
            loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(encoder_group["params"], options.gradient_norm)
        if not torch.isfinite(norm):
            self._diverged(f"the gradient's norm is {norm.item()}")
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)

    def _look(self) -> dict[str, float]:
        """Score the training heads on the validation rows; note the history and the best state."""
        scores = self._validation.scores(self._student)
        mean = round(sum(scores.values()) / len(scores), 6)
        if not self._best or mean > max(entry["mean_score"] for entry in self.history):
            self._best = {name: tensor.detach().clone() for name, tensor in self._student.state().items()}
            self.best_step = self.step
        losses = self._loss.means()
        self.history.append({"step": self.step, "losses": losses, "scores": scores, "mean_score": mean})
        self._loss.sums = {}
        return scores

    def _has_converged(self) -> bool:
        since = sum(entry["step"] > self.best_step for entry in self.history)
        return bool(self._options.patience and self._best and since >= self._options.patience)

    def _diverged(self, how: str) -> None:
        raise Diverged(
            f"training diverged at step {self.step + 1}: {how}; nothing was written: "
            f"take a smaller learning_rate than {self._options.learning_rate:g}, or a smaller head_learning_rate than "
            f"{self._options.head_learning_rate:g}"
        )

    def _names(self) -> dict[str, torch.nn.Parameter]:
        return {n: t for n, t in self._student.state().items() if isinstance(t, torch.nn.Parameter)}

    def _tensors(self) -> dict[str, torch.Tensor]:
        tensors = {f"now/{name}": tensor for name, tensor in self._student.state().items()}
        tensors |= {f"best/{name}": tensor for name, tensor in self._best.items()}
        for name, parameter in self._names().items():
            tensors |= {f"{key}/{name}": value for key, value in self._optimizer.state.get(parameter, {}).items()}
        return tensors

    def _state(self, run_id: str) -> dict[str, Any]:
        fields = {"run_id": run_id, "step": self.step, "best_step": self.best_step}
        return fields | {"history": self.history, "sums": self._loss.sums}

    def _resume(self, folder: Path) -> None:
        found = checkpoint.read(folder)
        if found is None:
            return
        tensors, state = found
        by_kind: dict[str, dict[str, torch.Tensor]] = {}
        for name, tensor in tensors.items():
            kind, _, rest = name.partition("/")
            by_kind.setdefault(kind, {})[rest] = tensor
        self._student.restore(by_kind.pop("now"))
        self._best = {n: t.to(self._student.device) for n, t in by_kind.pop("best", {}).items()}
        for name, parameter in self._names().items():
            kept = {kind: tensors[name] for kind, tensors in by_kind.items() if name in tensors}
            if kept:
                step = {"step": kept.pop("step")}  # AdamW keeps it on the CPU
                self._optimizer.state[parameter] = step | {k: t.to(parameter.device) for k, t in kept.items()}
        self.step, self.best_step = state["step"], state["best_step"]
        self.history, self._loss.sums = state["history"], state["sums"]

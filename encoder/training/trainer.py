"""Run the steps of a training: draw a batch, compute its loss, update, validate, write checkpoints."""

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

from encoder.base import DivergedError
from encoder.tokenize import Tokenizer
from encoder.training import checkpoint, sampling
from encoder.training.batch_loss import BatchLoss
from encoder.training.options import TrainOptions
from encoder.training.tasks import Task
from encoder.training.trainable_encoder import TrainableEncoder
from encoder.training.validation import Validation

REPORT_STEPS = 50
BETAS = (0.9, 0.98)  # of AdamW: a slower second moment would not settle in so few steps


@dataclasses.dataclass(frozen=True)
class Progress:
    """The state of a training, for reports.

    Attributes:
        step: batches done.
        steps: batches in all.
        losses: by task and by term ("similarity", "reconstruction"), the mean since the last validation; 1 is the loss without
            any information. Empty before the first step of a training that continues from a checkpoint.
        scores: by task, after a validation; else empty.
        seconds_per_step: validations included; NaN before the first step.
        seconds_left: the same.
    """

    step: int
    steps: int
    losses: dict[str, float]
    scores: dict[str, float]
    seconds_per_step: float
    seconds_left: float


class Trainer:
    """The training of a `TrainableEncoder`: its data, optimiser, history and best state.

    Attributes:
        step: batches done.
        history: for each validation, its "step", "losses", "scores" and "mean_score".
        best_step: the step of the best mean score, whose state is kept.
    """

    def __init__(
        self,
        model: TrainableEncoder,
        tokenizer: Tokenizer,
        tasks: list[Task],
        unlabelled: list[str],
        options: TrainOptions,
    ) -> None:
        """Tokenise all texts."""
        self._model, self._options = model, options
        sources = [*(task.train.texts for task in tasks), unlabelled]
        self._windows = tokenizer([text for texts in sources for text in texts])
        self._first_row = np.cumsum([0, *map(len, sources)])  # of each source among all windows
        self._probabilities = sampling.shares(
            [len(task.train) for task in tasks], options.sampling_power, len(unlabelled), options.unlabelled_share
        )
        self._loss = BatchLoss(model, tasks, options)
        self._validation = Validation(tasks, tokenizer, options)
        self._optimizer = torch.optim.AdamW(
            [
                {"params": model.encoder_parameters(), "weight_decay": 0.0},
                {"params": list(model.heads.parameters()), "weight_decay": options.weight_decay},
                {"params": model.decoder_parameters(), "weight_decay": 0.0},
            ],
            betas=BETAS,
        )
        self.step = 0
        self.history: list[dict[str, Any]] = []
        self.best_step = 0
        self._best: dict[str, torch.Tensor] = {}

    def run(self, folder: Path | None, run_id: str, report: Callable[[Progress], None]) -> None:
        """Train to the end, or until the validation score stops rising; then restore the model's best state.

        Continues from the checkpoint in `folder`, if there is one; `checkpoint.check` ensures that it is of this training.

        Raises:
            EncoderError: a damaged checkpoint.
            DivergedError: a loss or gradient that is not a number.
        """
        options = self._options
        if folder is not None:
            self._resume(folder)
        if self.step:
            report(Progress(self.step, options.steps, {}, {}, math.nan, math.nan))
        lengths = np.split(self._windows.lengths, self._first_row[1:-1])
        batches = sampling.batches(lengths, self._probabilities, options.batch_texts, options.seed)
        started, first_step = time.perf_counter(), self.step
        for batch in itertools.islice(batches, self.step, None):
            if self.step >= options.steps or self._has_converged():
                break
            self._update(batch)
            self.step += 1
            is_last = self.step == options.steps
            scores = self._validate() if is_last or self.step % options.eval_steps == 0 else {}
            if scores or self.step % REPORT_STEPS == 0:
                seconds_per_step = (time.perf_counter() - started) / (self.step - first_step)
                seconds_left = seconds_per_step * (options.steps - self.step)
                losses = self.history[-1]["losses"] if scores else self._loss.means()
                report(Progress(self.step, options.steps, losses, scores, seconds_per_step, seconds_left))
            if folder is not None and not is_last and (scores or self.step % options.checkpoint_steps == 0):
                checkpoint.write(folder, self._tensors(), self._state(run_id))
        if self._best:
            self._model.restore(self._best)

    def _update(self, batch: sampling.Batch) -> None:
        """Take one step. Its random numbers follow from seed and step, so a resumed training draws the same."""
        options, model = self._options, self._model
        torch.manual_seed(int(np.random.SeedSequence([options.seed, self.step]).generate_state(1, np.uint64)[0] >> 1))
        rate = options.rate(self.step)
        encoder_group, *other_groups = self._optimizer.param_groups
        encoder_group["lr"] = options.learning_rate * rate
        for group in other_groups:
            group["lr"] = options.head_learning_rate * rate
        model.train(True)
        rows = self._first_row[batch.source] + batch.row
        for part in sampling.split_evenly(self._windows.lengths[rows], options.batch_tokens):
            ids, mask = model.pad(self._windows, rows[part])
            loss = self._loss(ids, mask, sampling.Batch(batch.source[part], batch.row[part]), batch)
            if not math.isfinite(value := loss.item()):
                self._stop(f"the loss is {value}")
            loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(encoder_group["params"], options.gradient_norm)
        if not torch.isfinite(norm):
            self._stop(f"the gradient's norm is {norm.item()}")
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)

    def _validate(self) -> dict[str, float]:
        """Score the training heads on validation rows; record the history and the best state."""
        scores = self._validation.scores(self._model)
        mean_score = round(sum(scores.values()) / len(scores), 6)
        if not self._best or mean_score > max(entry["mean_score"] for entry in self.history):
            self._best = {name: tensor.detach().clone() for name, tensor in self._model.state().items()}
            self.best_step = self.step
        losses = self._loss.means()
        self.history.append({"step": self.step, "losses": losses, "scores": scores, "mean_score": mean_score})
        self._loss.sums = {}
        return scores

    def _has_converged(self) -> bool:
        since_best = sum(entry["step"] > self.best_step for entry in self.history)
        return bool(self._options.patience and self._best and since_best >= self._options.patience)

    def _stop(self, reason: str) -> None:
        raise DivergedError(
            f"training diverged at step {self.step + 1}: {reason}; nothing was written: "
            f"take a smaller learning_rate than {self._options.learning_rate:g}, or a smaller head_learning_rate than "
            f"{self._options.head_learning_rate:g}"
        )

    def _parameters(self) -> dict[str, torch.nn.Parameter]:
        return {name: t for name, t in self._model.state().items() if isinstance(t, torch.nn.Parameter)}

    def _tensors(self) -> dict[str, torch.Tensor]:
        tensors = {f"now/{name}": tensor for name, tensor in self._model.state().items()}
        tensors |= {f"best/{name}": tensor for name, tensor in self._best.items()}
        for name, parameter in self._parameters().items():
            tensors |= {f"{key}/{name}": value for key, value in self._optimizer.state.get(parameter, {}).items()}
        return tensors

    def _state(self, run_id: str) -> dict[str, Any]:
        fields = {"run_id": run_id, "step": self.step, "best_step": self.best_step}
        return fields | {"history": self.history, "sums": self._loss.sums}

    def _resume(self, folder: Path) -> None:
        stored = checkpoint.read(folder)
        if stored is None:
            return
        tensors, state = stored
        by_kind: dict[str, dict[str, torch.Tensor]] = {}
        for key, tensor in tensors.items():
            kind, _, name = key.partition("/")
            by_kind.setdefault(kind, {})[name] = tensor
        self._model.restore(by_kind.pop("now"))
        self._best = {name: tensor.to(self._model.device) for name, tensor in by_kind.pop("best", {}).items()}
        for name, parameter in self._parameters().items():
            moments = {kind: tensors[name] for kind, tensors in by_kind.items() if name in tensors}
            if moments:
                step = {"step": moments.pop("step")}  # AdamW keeps it on the CPU
                self._optimizer.state[parameter] = step | {k: t.to(parameter.device) for k, t in moments.items()}
        self.step, self.best_step = state["step"], state["best_step"]
        self.history, self._loss.sums = state["history"], state["sums"]

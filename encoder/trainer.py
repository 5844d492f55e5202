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

from encoder import checkpoint, objective, sampling, validation
from encoder.base import EncoderError
from encoder.student import Student, pooled, training_targets
from encoder.tasks import Task
from encoder.tokenize import Tokenizer
from encoder.train_options import TrainOptions

REPORT_STEPS = 50


@dataclasses.dataclass(frozen=True)
class Progress:
    """Say how far a training is.

    Attributes:
        step, steps: batches done, and to do in all.
        losses: by task, and "keep": the mean since the last validation; 1 is where nothing is known.
        scores: by task, where this was a validation; else empty.
        seconds_per_step, seconds_left: validations counted in.
    """

    step: int
    steps: int
    losses: dict[str, float]
    scores: dict[str, float]
    seconds_per_step: float
    seconds_left: float


class Trainer:
    """Train a `Student`. What it holds beside it: the optimiser, the sums of losses, the history, the best state."""

    def __init__(
        self,
        student: Student,
        reference: torch.nn.Module | None,
        tokenizer: Tokenizer,
        pad_id: int,
        tasks: list[Task],
        unlabelled: list[str],
        options: TrainOptions,
    ) -> None:
        """Tokenise all texts. reference: the base model as it is, for the term that keeps similarities; None without."""
        self._student, self._reference, self._tasks, self._options = student, reference, tasks, options
        self._pad_id = pad_id
        self._windows = [tokenizer(task.train.texts) for task in tasks]
        if unlabelled:
            self._windows.append(tokenizer(unlabelled))
        self._targets = [torch.from_numpy(_as_learned(task)).to(student.device) for task in tasks]
        self._looked_at = []
        for task in tasks:
            rows = validation.sample_rows(len(task.validation), options.eval_rows, options.seed)
            windows = tokenizer([task.validation.texts[row] for row in rows])
            self._looked_at.append((windows, task.validation.targets[rows]))
        self._drawn = sampling.shares(
            [len(task.train) for task in tasks], options.sampling_power, len(unlabelled), options.unlabelled_share
        )
        self._optimizer = torch.optim.AdamW(
            [
                {"params": student.encoder_parameters(), "weight_decay": 0.0},
                {"params": list(student.heads.parameters()), "weight_decay": options.weight_decay},
            ]
        )
        self.step = 0
        self.history: list[dict[str, Any]] = []
        self.best_step = 0
        self._best: dict[str, torch.Tensor] = {}
        self._sums: dict[str, list[float]] = {}

    def run(self, folder: Path | None, run_id: str, report: Callable[[Progress], None]) -> None:
        """Train to the end, or until the validation score no longer rises; the student ends in its best state.

        Goes on from the checkpoint in `folder`, where there is one.

        Raises:
            EncoderError: the checkpoint is of another training; a loss that is no number.
        """
        options = self._options
        if folder is not None:
            self._resume(folder, run_id)
        lengths = [windows.lengths for windows in self._windows]
        batches = sampling.batches(lengths, self._drawn, options.batch_texts, options.seed)
        started, first = time.perf_counter(), self.step
        for batch in itertools.islice(batches, self.step, None):
            if self.step >= options.all_steps or self._has_converged():
                break
            self._learn(batch)
            self.step += 1
            is_last = self.step == options.all_steps
            scores = self._look() if is_last or self.step % options.eval_steps == 0 else {}
            if scores or self.step % REPORT_STEPS == 0:
                pace = (time.perf_counter() - started) / (self.step - first)
                left = pace * (options.all_steps - self.step)
                losses = self.history[-1]["losses"] if scores else self._mean_losses()
                report(Progress(self.step, options.all_steps, losses, scores, pace, left))
            if folder is not None and not is_last and (scores or self.step % options.checkpoint_steps == 0):
                checkpoint.write(folder, self._tensors(), self._state(run_id))
        if self._best:
            self._student.restore(self._best)

    def _learn(self, batch: sampling.Batch) -> None:
        """Take one step. Its random numbers follow from the seed and its number, so a resumed one draws the same."""
        options, student = self._options, self._student
        torch.manual_seed(int(np.random.SeedSequence([options.seed, self.step]).generate_state(1, np.uint64)[0] >> 1))
        heads_only = self.step < options.head_steps
        rate = options.rate(self.step)
        encoder_group, head_group = self._optimizer.param_groups
        encoder_group["lr"] = options.encoder_learning_rate * rate
        head_group["lr"] = options.head_learning_rate * (1.0 if heads_only else rate)
        student.train(not heads_only)
        lengths = np.array([self._windows[s].lengths[r] for s, r in zip(batch.source, batch.row)])
        for part in sampling.cut_by_tokens(lengths, options.batch_tokens):
            loss = self._loss(sampling.Batch(batch.source[part], batch.row[part]), batch, heads_only)
            if not math.isfinite(value := loss.item()):
                self._diverged(f"the loss is {value}")
            if loss.requires_grad:  # not where all texts are unlabelled and only heads learn
                loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(
            [p for group in self._optimizer.param_groups for p in group["params"]], options.gradient_norm
        )
        if not torch.isfinite(norm):
            self._diverged(f"the gradient's norm is {norm.item()}")
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)

    def _loss(self, batch: sampling.Batch, whole: sampling.Batch, heads_only: bool) -> torch.Tensor:
        """Compute the share of a batch's loss that falls to some of its rows, those of one pass: a scalar."""
        options, student = self._options, self._student
        ids, mask = self._lay_out(batch)
        with torch.set_grad_enabled(not heads_only):
            signs = student.signs(ids, mask)
        kept = objective.drop_bits(signs, options.bit_dropout)
        loss = signs.new_zeros(())
        labelled = max(1, int((whole.source < len(self._tasks)).sum()))
        for number in np.unique(batch.source):
            if number == len(self._tasks):
                continue  # unlabelled
            here = torch.from_numpy(np.flatnonzero(batch.source == number)).to(student.device)
            targets = self._targets[number][torch.from_numpy(batch.row[batch.source == number]).to(student.device)]
            logits = student.logits(number, kept[here])
            losses = objective.row_losses(logits, targets, self._tasks[number].kind) / student.loss_scale[number]
            loss = loss + losses.sum() / labelled
            self._note(self._tasks[number].name, losses.detach())
        if self._reference is not None and not heads_only and len(batch.row) > 2:
            with torch.no_grad():
                features = pooled(self._reference, student.pooling, ids, mask, student.half)
                features = student.bit_layer.standardise(features)
            keep = objective.keep_loss(signs, features)
            loss = loss + options.keep * keep * (len(batch.row) / len(whole.row))
            self._note("keep", keep.detach()[None])
        return loss

    def _lay_out(self, batch: sampling.Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Pad a batch's rows, of whatever source: ids (n, tokens) int64 and mask (n, tokens) bool, on the device."""
        rows = []
        for source, row in zip(batch.source, batch.row):
            windows = self._windows[source]
            rows.append(windows.ids[windows.starts[row] : windows.starts[row + 1]])
        lengths = np.array([len(row) for row in rows])
        mask = np.arange(lengths.max()) < lengths[:, None]
        ids = np.full(mask.shape, self._pad_id, np.int64)
        ids[mask] = np.concatenate(rows)
        return torch.from_numpy(ids).to(self._student.device), torch.from_numpy(mask).to(self._student.device)

    @torch.no_grad()
    def _look(self) -> dict[str, float]:
        """Score the training heads on the validation rows; note the history and the best state."""
        self._student.train(False)
        scores = {}
        for number, (task, (windows, targets)) in enumerate(zip(self._tasks, self._looked_at)):
            logits = np.empty((len(targets), task.outputs), np.float32)
            order = np.argsort(-windows.lengths, kind="stable")
            for part in sampling.cut_by_tokens(windows.lengths[order], self._options.batch_tokens):
                ids, mask = windows.batch(order[part], self._pad_id)
                signs = self._student.signs(
                    torch.from_numpy(ids).to(self._student.device), torch.from_numpy(mask).to(self._student.device)
                )
                logits[order[part]] = self._student.logits(number, signs).cpu().numpy()
            scores[task.name] = round(validation.score(logits, targets, task.kind), 6)
        mean = round(sum(scores.values()) / len(scores), 6)
        learns = self.step > self._options.head_steps
        if learns and (not self._best or mean > max(h["mean_score"] for h in self.history if h["counts"])):
            self._best = {name: tensor.detach().clone() for name, tensor in self._student.state().items()}
            self.best_step = self.step
        entry = {"step": self.step, "losses": self._mean_losses(), "scores": scores, "mean_score": mean}
        self.history.append(entry | {"counts": learns})
        self._sums = {}
        return scores

    def _has_converged(self) -> bool:
        since = sum(entry["step"] > self.best_step for entry in self.history if entry["counts"])
        return bool(self._options.patience and self._best and since >= self._options.patience)

    def _note(self, name: str, losses: torch.Tensor) -> None:
        total = self._sums.setdefault(name, [0.0, 0])
        total[0] += losses.sum().item()
        total[1] += len(losses)

    def _mean_losses(self) -> dict[str, float]:
        names = [*(task.name for task in self._tasks), "keep"]
        return {n: round(self._sums[n][0] / self._sums[n][1], 6) for n in names if n in self._sums}

    def _diverged(self, how: str) -> None:
        raise Diverged(
            f"training diverged at step {self.step + 1}: {how}; nothing was written: "
            f"take a smaller learning_rate than {self._options.encoder_learning_rate:g}"
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
        return fields | {"history": self.history, "sums": self._sums}

    def _resume(self, folder: Path, run_id: str) -> None:
        found = checkpoint.read(folder)
        if found is None:
            return
        tensors, state = found
        if state["run_id"] != run_id:
            raise EncoderError(
                f"{folder} holds the checkpoint of a training with other rows or options, at step {state['step']}; "
                "give the command it was started with to go on, or remove that folder to begin again"
            )
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
        self.history, self._sums = state["history"], state["sums"]


class Diverged(EncoderError):
    """Say that a loss is no number any more: this training cannot go on."""


def _as_learned(task: Task) -> np.ndarray:
    targets = training_targets(task)
    return targets.astype(np.int64 if task.kind == "single" else np.float32)

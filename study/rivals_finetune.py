"""Fine-tune a base model, or some of its layers as a distilled student, for one task in plain PyTorch.

All weights are trained, embeddings included. A linear layer reads the mean of the last layer after dropout.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from encoder.forward.model import layers_of, load_model
from encoder.tokenize import Tokenizer, Windows
from heads.calibrate import fit_threshold
from heads.labels import to_targets
from study.tasks import SPLITS, Labelled

BATCH_TEXTS = 32
POOL_BATCHES = 16  # batches drawn together and sorted by length: little padding, still random
HEAD_RATE = 1e-3  # learning rate of the new linear layer, which starts untrained
WARMUP_SHARE = 0.1
DROPOUT = 0.1
WEIGHT_DECAY = 0.01
TEMPERATURE = 2.0  # of the softmax over a teacher's logits
SOFT_SHARE = 0.5  # share of the teacher in the loss; the rest is that of the labels
INFERENCE_TOKENS = 4096


@dataclasses.dataclass(frozen=True)
class Recipe:
    """The hyperparameters of a training.

    Attributes:
        layers: layers of the base that are kept, counted from 1.
        rate: peak learning rate.
        epochs: passes over the rows; the weights of the best epoch on validation are kept.
    """

    layers: tuple[int, ...]
    rate: float
    epochs: int
    seed: int


def train(
    folder: Path,
    task: Labelled,
    recipe: Recipe,
    max_tokens: int,
    device: torch.device,
    half: bool,
    teacher: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """Train a classifier for one task.

    Args:
        folder: the base model's files.
        half: whether to compute products in bfloat16.
        teacher: a teacher's logits of the training rows (n, classes) float32; None to train on labels alone.

    Returns:
        Logits (n, classes) float32 by split, and "scores" (epochs,) on the validation split.
    """
    torch.manual_seed(recipe.seed)
    model = Classifier(folder, recipe.layers, len(task.classes)).to(device)
    tokenizer = Tokenizer(folder, max_tokens, "", "truncate", 0, model.pad_id)
    windows = {name: tokenizer(task.splits[name].texts) for name in SPLITS}
    targets = to_targets(task.splits["train"].labels, task.kind, task.classes).values
    truth = torch.from_numpy(targets).to(device)
    soft = None if teacher is None else torch.from_numpy(teacher).to(device)
    pretrained = [p for name, p in model.named_parameters() if not name.startswith("out.")]
    groups = [{"params": pretrained, "lr": recipe.rate}, {"params": model.out.parameters(), "lr": HEAD_RATE}]
    optimizer = torch.optim.AdamW(groups, weight_decay=WEIGHT_DECAY, fused=True)  # 8 times faster on a CPU
    steps = recipe.epochs * -(-len(targets) // BATCH_TEXTS)
    warmup = max(1, round(WARMUP_SHARE * steps))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / warmup, (steps - step) / max(1, steps - warmup))
    )
    rng = np.random.default_rng(recipe.seed)
    scores: list[float] = []
    best: dict[str, torch.Tensor] = {}
    for _ in range(recipe.epochs):
        model.train()
        for rows in batches(windows["train"].lengths, rng):
            with precision(device, half):
                logits = model(*_padded(windows["train"], rows, model.pad_id, device))
            picked = torch.from_numpy(rows).to(device)
            loss = loss_of(logits.float(), truth[picked], None if soft is None else soft[picked], task.kind)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
        scores.append(score(task, predict(model, windows["validation"], device, half)))
        if scores[-1] == max(scores) and scores.count(scores[-1]) == 1:
            best = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model.load_state_dict(best)
    logits = {name: predict(model, windows[name], device, half) for name in SPLITS}
    return logits | {"scores": np.array(scores)}


class Classifier(torch.nn.Module):
    """A classifier of texts: some layers of a base model, mean over tokens, dropout, a linear layer."""

    def __init__(self, folder: Path, layers: tuple[int, ...], classes: int) -> None:
        super().__init__()
        self.base = load_model(folder, max(layers), torch.device("cpu"), torch.float32).requires_grad_(True)
        _, modules = layers_of(self.base)
        for number in reversed(range(len(modules))):
            if number + 1 not in layers:
                del modules[number]
        config: Any = self.base.config
        self.pad_id: int = config.pad_token_id or 0
        self.dropout = torch.nn.Dropout(DROPOUT)
        self.out = torch.nn.Linear(config.hidden_size, classes)

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Return the logits (n, classes) of ids (n, tokens) int64 with their mask (n, tokens) bool."""
        hidden = self.base(input_ids=ids, attention_mask=mask.long()).last_hidden_state
        weights = mask.unsqueeze(2).to(hidden.dtype)
        return self.out(self.dropout((hidden * weights).sum(1) / weights.sum(1)))


def batches(lengths: np.ndarray, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Yield batches of row numbers in random order. Every row occurs once; the texts of a batch are about equally long."""
    order = rng.permutation(len(lengths))
    pool = BATCH_TEXTS * POOL_BATCHES
    for start in range(0, len(order), pool):
        rows = order[start : start + pool]
        rows = rows[np.argsort(lengths[rows], kind="stable")]
        parts = [rows[i : i + BATCH_TEXTS] for i in range(0, len(rows), BATCH_TEXTS)]
        for number in rng.permutation(len(parts)):
            yield parts[number]


def loss_of(logits: torch.Tensor, truth: torch.Tensor, soft: torch.Tensor | None, kind: str) -> torch.Tensor:
    """Return the mean loss of a batch against labels and, if given, a teacher's logits (Hinton et al., 2015)."""
    if kind == "multi":
        binary = functional.binary_cross_entropy_with_logits
        hard = binary(logits, truth.float(), reduction="none").sum(1).mean()
        if soft is None:
            return hard
        taught = binary(logits, torch.sigmoid(soft), reduction="none").sum(1).mean()
    else:
        hard = functional.cross_entropy(logits, truth)
        if soft is None:
            return hard
        wanted, given = (functional.log_softmax(part / TEMPERATURE, 1) for part in (soft, logits))
        taught = TEMPERATURE**2 * functional.kl_div(given, wanted, log_target=True, reduction="batchmean")
    return (1 - SOFT_SHARE) * hard + SOFT_SHARE * taught


def score(task: Labelled, logits: np.ndarray) -> float:
    """Return the validation figure that chooses the epoch: accuracy, or micro F1 at its best threshold."""
    labels = task.splits["validation"].labels
    targets = to_targets(labels, task.kind, task.classes).values
    if task.kind == "multi":
        return fit_threshold(logits, targets)[1]
    return float((logits.argmax(1) == targets).mean())


@torch.no_grad()
def predict(model: Classifier, windows: Windows, device: torch.device, half: bool) -> np.ndarray:
    """Return logits (n, classes) float32 in the order of the texts; batches are formed by length."""
    model.eval()
    lengths = windows.lengths
    order = np.argsort(-lengths, kind="stable")
    logits = np.empty((len(order), model.out.out_features), np.float32)
    done = 0
    while done < len(order):
        rows = order[done : done + max(1, INFERENCE_TOKENS // int(lengths[order[done]]))]
        with precision(device, half):
            batch = model(*_padded(windows, rows, model.pad_id, device))
        logits[rows] = batch.float().cpu().numpy()
        done += len(rows)
    return logits


def precision(device: torch.device, half: bool) -> contextlib.AbstractContextManager:
    """Return a context that computes products in bfloat16 if `half`; weights stay float32."""
    return torch.autocast(device.type, torch.bfloat16) if half else contextlib.nullcontext()


def _padded(windows: Windows, rows: np.ndarray, pad_id: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    ids, mask = windows.batch(rows, pad_id)
    return torch.from_numpy(ids).to(device), torch.from_numpy(mask).to(device)

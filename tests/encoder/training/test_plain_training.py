"""Training is what a short loop of torch's own pieces computes, and learns what it learned when it had more options.

A recorded fingerprint would not do: sums of floats differ in the last digit by processor and by number of threads. So one
test computes the adapter a second way and compares bytes, and one compares with recorded figures, which agree to six digits
on one, two and four threads.
"""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
import torch
from torch.nn import functional

from encoder.adapter import Adapter
from encoder.encode import Encoder
from encoder.forward.model import load_model
from encoder.projection import rotation_within_layers
from encoder.settings import BundleSettings
from encoder.tokenize import Tokenizer
from encoder.training import objective, sampling, warm_start
from encoder.training.trainable_encoder import TrainableEncoder
from tests.encoder.labelled import QUICK, SAMPLE, TASKS, quick

CPU = torch.device("cpu")


def train_plainly(base, options) -> Adapter:
    """Train on `TASKS` and `SAMPLE` as unlabelled texts, without the trainer: fit heads and decoder, then learn all at once."""
    bundle = BundleSettings("x", str(base), layers=(2, 3), max_tokens=32).without_thresholds()
    frozen = Encoder(bundle, device="cpu", precision="float32").features
    features = frozen(SAMPLE)
    model = TrainableEncoder(bundle, TASKS, options, features, rotation_within_layers(features, 32, 0), CPU, False)
    seen = warm_start.start_heads(model, TASKS, frozen, options.seed)
    warm_start.start_decoder(model, np.concatenate([features, seen]))
    groups = ([*model.learned.values()], [*model.heads.parameters()], [*model.decoder.parameters()])
    optimizer = torch.optim.AdamW([{"params": group} for group in groups], betas=(0.9, 0.98), weight_decay=0.0)
    model.train(True)
    sources = [*(task.train.texts for task in TASKS), SAMPLE]
    tokenizer = Tokenizer(base, 32, "", "truncate", 0, 0)
    windows = tokenizer([text for texts in sources for text in texts])
    first = np.cumsum([0, *map(len, sources)])
    third = (1 - options.unlabelled_share) / 3  # tasks have equal probabilities
    drawn = np.array([third, third, third, options.unlabelled_share])
    lengths = np.split(windows.lengths, first[1:-1])
    batches = sampling.batches(lengths, drawn, options.batch_texts, options.seed)
    for step, (source, row) in enumerate(itertools.islice(batches, options.steps)):
        rate = 0.5 if step == 0 else (options.steps - step) / (options.steps - 1)  # one step of twelve warms up
        for group, full in zip(optimizer.param_groups, (options.learning_rate, *2 * [options.head_learning_rate])):
            group["lr"] = full * rate
        signs, values = model.signs_and_base_values(*model.pad(windows, first[source] + row))
        loss = torch.zeros(())
        for number, task in enumerate(TASKS):
            if not (source == number).any():
                continue
            targets = model.targets[number][row[source == number]]
            logits = functional.linear(signs[source == number], model.heads[number].weight, model.heads[number].bias)
            losses = objective.row_losses(logits * 64**-0.5, targets, task.kind) / model.prior_losses[number]
            loss = loss + losses.sum() / (source < 3).sum()
        loss = loss + options.similarity_weight * objective.similarity_loss(signs, values)
        decoded = functional.linear(signs, model.decoder.weight, model.decoder.bias) * 64**-0.5
        loss = loss + options.reconstruction_weight * functional.mse_loss(
            decoded, values[:, 32:]
        )  # the last layer's features
        loss.backward()
        torch.nn.utils.clip_grad_norm_(groups[0], options.gradient_norm)
        optimizer.step()
        optimizer.zero_grad()
    before = dict(load_model(base, 3, CPU, torch.float32).named_parameters())
    moved = {name: (after - before[name]).detach().numpy() for name, after in model.learned.items()}
    return Adapter({f"{name}.delta": array.astype(np.float16) for name, array in moved.items()})


def test_training_is_a_plain_loop_over_its_batches(tiny_base):
    options = dataclasses.replace(QUICK, steps=12, eval_steps=12)  # the only validation keeps the last state
    trained = quick(tiny_base, unlabelled=SAMPLE, steps=12, eval_steps=12).adapter
    assert train_plainly(tiny_base, options).content == trained.content


def test_training_learns_what_it_learned_before_options_were_removed(tiny_base):
    bundle = quick(tiny_base, unlabelled=SAMPLE, steps=12)
    losses = [[round(value, 6) for value in entry["losses"].values()] for entry in bundle.training["history"]]
    assert losses[0] == pytest.approx([0.76581, 1.013893, 0.49647, 0.153647, 0.306335], rel=1e-3)
    assert losses[1] == pytest.approx([0.772345, 0.79445, 1.02565, 0.188684, 0.221577], rel=1e-3)
    moved = {name: float(np.linalg.norm(array)) for name, array in bundle.adapter.additions()}
    assert moved["encoder.layer.1.attention.self.key.weight"] == pytest.approx(0.021058, rel=1e-2)
    assert moved["encoder.layer.2.attention.self.value.weight"] == pytest.approx(0.017534, rel=1e-2)
    assert moved["encoder.layer.2.output.dense.bias"] == pytest.approx(0.002448, rel=1e-2)

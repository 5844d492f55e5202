"""Compare the cost of 1, 2, 4, … tasks: one encoder with a head per task, or one model of the same size per task."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import statistics
from typing import Any

import numpy as np
import torch

import encoder
import heads
from benchmarks import corpus
from benchmarks.harness import Contender, Report, Table, best_setting, in_thread, interleave
from benchmarks.rivals import Task, precisions
from benchmarks.rivals_onnx import BATCH_TOKENS, sorted_batches, tokenizer
from benchmarks.settings import Settings

ENCODING = "encoder"
CLASSES = 5


def run(settings: Settings) -> Report:
    drawn = corpus.sample(settings.corpus, settings.head_documents + settings.tune_documents)
    texts, tune = drawn[: settings.head_documents], drawn[settings.head_documents :]
    ours = in_thread(lambda: encoder.load("default", "cpu"))
    codes = in_thread(lambda: ours.encode(texts).bits)
    task = Task(str(ours.bundle.find_base().folder), ours.bundle.max_tokens, tune, settings.work, {})
    models = in_thread(lambda: separate_models(task, settings.max_heads))
    used = many_heads(settings.max_heads)

    contenders = [Contender(ENCODING, lambda: ours.encode(texts), lambda: ours.encode(texts[:64]))]
    # A head labels a few documents in microseconds, so it labels the same codes repeatedly.
    repeats = max(1, settings.kernel_rows // len(codes))
    for head in used:
        repeated = np.tile(codes, (repeats, 1))
        contenders.append(Contender(head.task, functools.partial(head.predict, repeated), None))
    names = [f"model {number + 1}" for number in range(len(models.passes))]
    for name, classify in zip(names, models.passes):
        contenders.append(Contender(name, functools.partial(classify, texts), functools.partial(classify, texts[:64])))
    timing = interleave(contenders, settings.rounds)

    labelling = [[s / repeats for s in timing.seconds[head.task]] for head in used]
    rows, costs = [], []
    for count in counts(settings.max_heads):
        # Sum within a round: the compared parts ran close together in time.
        one = [sum(parts) for parts in zip(timing.seconds[ENCODING], *labelling[:count])]
        later = [sum(parts) for parts in zip(*labelling[:count])]
        separate = [sum(parts) for parts in zip(*(timing.seconds[name] for name in names[:count]))]
        cost = {
            "tasks": count,
            "ours_times_as_fast": round(statistics.median(b / a for a, b in zip(one, separate)), 2),
            "ours_documents_per_second": round(len(texts) / statistics.median(one), 1),
            "models_documents_per_second": round(len(texts) / statistics.median(separate), 1),
            "ours_seconds_per_million": round(statistics.median(one) / len(texts) * 1e6),
            "models_seconds_per_million": round(statistics.median(separate) / len(texts) * 1e6),
            "labels_alone_seconds_per_million": round(statistics.median(later) / len(texts) * 1e6, 1),
        }
        costs.append(cost)
        rows.append(tuple(f"{value:,}" for value in cost.values()))
    columns = ("tasks", "ours ×", "ours, docs/s", "models, docs/s", "ours, s a million", "models", "labels alone")
    title = f"Labels for {len(texts)} documents: one encoder and heads, or a model each ({models.note})"
    return Report(
        "heads", [Table(title, columns, rows)], {"documents": len(texts), "models": models.note, "costs": costs}
    )


def counts(most: int) -> list[int]:
    """Return 1, 2, 4, … up to `most`."""
    return list(itertools.takewhile(lambda count: count <= most, (2**i for i in itertools.count())))


def many_heads(count: int) -> list[heads.Head]:
    """Return so many heads: the bundled ones, then copies of them under other names."""
    loaded = [heads.load(name) for name in heads.bundled()]
    many = []
    for number, head in zip(range(count), itertools.cycle(loaded)):
        copy = number // len(loaded)
        many.append(head if copy == 0 else dataclasses.replace(head, task=f"{head.task}_{copy + 1}"))
    return many


@dataclasses.dataclass(frozen=True)
class Models:
    """Separate models: a function for each that classifies texts, and a note on their settings."""

    passes: list[Any]
    note: str


def separate_models(task: Task, count: int) -> Models:
    """Load the base model `count` times with a classification head, and search the best batch size and precision.

    They are not fine-tuned, so their labels mean nothing; their cost is the same as that of fine-tuned models.
    """
    from transformers import AutoModelForSequenceClassification

    tokenize = tokenizer(task)

    def load(dtype: str) -> torch.nn.Module:
        options = {"num_labels": CLASSES, "dtype": getattr(torch, dtype), "use_safetensors": True}
        return AutoModelForSequenceClassification.from_pretrained(task.base, **options).eval()

    @torch.inference_mode()
    def classify(model: torch.nn.Module, texts: list[str], batch_tokens: int) -> np.ndarray:
        labels = np.empty(len(texts), np.int64)
        for rows, ids, mask in sorted_batches(tokenize(texts), batch_tokens):
            logits = model(input_ids=torch.from_numpy(ids), attention_mask=torch.from_numpy(mask)).logits
            labels[rows] = logits.argmax(1).numpy()
        return labels

    models = {dtype: load(dtype) for dtype in precisions()}
    settings = list(itertools.product(models, BATCH_TOKENS))
    dtype, batch_tokens = best_setting(settings, lambda setting: classify(models[setting[0]], task.tune, setting[1]))
    loaded = [load(dtype) for _ in range(count)]
    passes = [lambda texts, model=model: classify(model, texts, batch_tokens) for model in loaded]
    return Models(passes, f"{dtype}, sorted by length, {batch_tokens} tokens per batch, best of several")

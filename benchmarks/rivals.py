"""Encode texts with alternatives that a user has: sentence-transformers and the pipeline of transformers.

All load the same files of the base model, truncate texts at the same number of tokens, and return the mean of the last
layer.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.harness import Contender, best_setting
from benchmarks.machine import has_bfloat16

BATCH_SIZES = (8, 16, 32, 64, 128)


@dataclasses.dataclass(frozen=True)
class Rival:
    """A library that encodes a list of texts into vectors (n, width).

    Attributes:
        name: its name in the table.
        encode: encodes texts; its model is loaded.
        note: its settings.
    """

    name: str
    encode: Callable[[list[str]], np.ndarray]
    note: str = ""

    def contender(self, texts: list[str]) -> Contender:
        return Contender(self.name, lambda: self.encode(texts), lambda: self.encode(texts[:64]), self.note)


@dataclasses.dataclass(frozen=True)
class Task:
    """What a rival is built from.

    Attributes:
        base: the folder of the base model's files.
        max_tokens: length at which texts are truncated.
        tune: texts to search the best settings with.
        work: a folder for its files.
        token_counts: number of tokens by text, not timed; for rivals that return padding.
    """

    base: str
    max_tokens: int
    tune: list[str]
    work: Path
    token_counts: dict[str, int]


def sentence_transformers_defaults(task: Task) -> Rival:
    model = sentence_transformer(task)
    return Rival("sentence-transformers, defaults", model.encode, "encode(texts): float32, batches of 32")


def sentence_transformers_best(task: Task) -> Rival:
    """Search the best batch size and precision that the processor supports."""
    models = {dtype: sentence_transformer(task, dtype=dtype, attn_implementation="sdpa") for dtype in precisions()}

    def encode(texts: list[str], setting: tuple[str, int]) -> np.ndarray:
        dtype, batch_size = setting
        # NumPy has no bfloat16, so request a tensor.
        return models[dtype].encode(texts, batch_size=batch_size, convert_to_tensor=True).float().numpy()

    best = best_setting(list(itertools.product(models, BATCH_SIZES)), lambda setting: encode(task.tune, setting))
    note = f"best of batch sizes × precisions: {best[0]}, batches of {best[1]}, SDPA"
    return Rival("sentence-transformers, best", lambda texts: encode(texts, best), note)


def pipeline_defaults(task: Task) -> Rival:
    run = feature_extraction(task, "float32")
    note = "pipeline('feature-extraction'): one text at a time; its nested lists of floats averaged"
    return Rival("transformers pipeline, defaults", lambda texts: _pool(run(texts), texts, task), note)


def pipeline_best(task: Task) -> Rival:
    """Search the best batch size and precision; sort texts by length, return tensors instead of lists."""
    pipelines = {dtype: feature_extraction(task, dtype, return_tensors=True) for dtype in precisions()}

    def encode(texts: list[str], setting: tuple[str, int]) -> np.ndarray:
        dtype, batch_size = setting
        order = sorted(range(len(texts)), key=lambda i: -len(texts[i]))
        ordered = [texts[i] for i in order]
        vectors = _pool(pipelines[dtype](ordered, batch_size=batch_size), ordered, task)
        return vectors[np.argsort(order)]

    best = best_setting(list(itertools.product(pipelines, BATCH_SIZES)), lambda setting: encode(task.tune, setting))
    note = f"best of batch sizes × precisions: {best[0]}, batches of {best[1]}, sorted by length, tensors"
    return Rival("transformers pipeline, best", lambda texts: encode(texts, best), note)


def feature_extraction(task: Task, dtype: str, **options: Any) -> Any:
    """Load transformers' feature-extraction pipeline for the base model."""
    from transformers import pipeline

    return pipeline(
        "feature-extraction",
        model=task.base,
        device="cpu",
        dtype=getattr(torch, dtype),
        tokenize_kwargs={"truncation": True, "max_length": task.max_tokens},
        **options,
    )


def pool(output: Any, tokens: int) -> np.ndarray:
    """Average a pipeline's output (1, tokens + padding, width), nested lists or a tensor, over its tokens: (width,)."""
    hidden = output if torch.is_tensor(output) else torch.tensor(output)
    return hidden[0, :tokens].float().mean(0).numpy()


def precisions() -> Sequence[str]:
    """Return the precisions that the processor supports natively."""
    return ("float32", "bfloat16") if has_bfloat16() else ("float32",)


def _pool(outputs: Sequence[Any], texts: list[str], task: Task) -> np.ndarray:
    return np.stack([pool(output, task.token_counts[text]) for output, text in zip(outputs, texts)])


def sentence_transformer(task: Task, **model_kwargs: Any) -> Any:
    """Load the base model with sentence-transformers."""
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(task.base, device="cpu", model_kwargs=model_kwargs)
    model.max_seq_length = task.max_tokens
    return model

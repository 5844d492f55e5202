"""Encode texts by what a user would take instead: sentence-transformers and transformers' pipeline.

All read the same base model's files, cut texts at the same number of tokens, and give the mean of the last layer.
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
    """Encode a list of texts into vectors (n, width).

    Attributes:
        name: what the table calls it.
        encode: does it; loaded and ready.
        note: its settings.
    """

    name: str
    encode: Callable[[list[str]], np.ndarray]
    note: str = ""

    def contender(self, texts: list[str]) -> Contender:
        return Contender(self.name, lambda: self.encode(texts), lambda: self.encode(texts[:64]), self.note)


@dataclasses.dataclass(frozen=True)
class Task:
    """Give a rival what it is built from.

    Attributes:
        base: the folder of the base model's files.
        max_tokens: where texts are cut.
        tune: texts on which its best settings are looked for.
        work: a folder for what it must write.
        token_counts: tokens by text; a rival that gives padding back gets them for nothing.
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
    """Search the best of batch sizes × precisions that the processor has."""
    models = {dtype: sentence_transformer(task, dtype=dtype, attn_implementation="sdpa") for dtype in precisions()}

    def encode(texts: list[str], setting: tuple[str, int]) -> np.ndarray:
        dtype, batch_size = setting
        # NumPy has no bfloat16, so a tensor is asked for.
        return models[dtype].encode(texts, batch_size=batch_size, convert_to_tensor=True).float().numpy()

    best = best_setting(list(itertools.product(models, BATCH_SIZES)), lambda setting: encode(task.tune, setting))
    note = f"best of batch sizes × precisions: {best[0]}, batches of {best[1]}, SDPA"
    return Rival("sentence-transformers, best", lambda texts: encode(texts, best), note)


def pipeline_defaults(task: Task) -> Rival:
    run = feature_extraction(task, "float32")
    note = "pipeline('feature-extraction'): one text at a time; its nested lists of floats averaged"
    return Rival("transformers pipeline, defaults", lambda texts: _pool(run(texts), texts, task), note)


def pipeline_best(task: Task) -> Rival:
    """Search the best of batch sizes × precisions, texts sorted by length, tensors given back."""
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


def feature_extraction(task: Task, dtype: str, **more: Any) -> Any:
    """Load transformers' feature-extraction pipeline for the base model."""
    from transformers import pipeline

    return pipeline(
        "feature-extraction",
        model=task.base,
        device="cpu",
        dtype=getattr(torch, dtype),
        tokenize_kwargs={"truncation": True, "max_length": task.max_tokens},
        **more,
    )


def pool(output: Any, tokens: int) -> np.ndarray:
    """Average a pipeline's output (1, tokens and padding, width), nested lists or a tensor, over its tokens."""
    hidden = output if torch.is_tensor(output) else torch.tensor(output)
    return hidden[0, :tokens].float().mean(0).numpy()


def precisions() -> Sequence[str]:
    """Name the precisions that the processor has."""
    return ("float32", "bfloat16") if has_bfloat16() else ("float32",)


def _pool(outputs: Sequence[Any], texts: list[str], task: Task) -> np.ndarray:
    return np.stack([pool(output, task.token_counts[text]) for output, text in zip(outputs, texts)])


def sentence_transformer(task: Task, **model_kwargs: Any) -> Any:
    """Load sentence-transformers' model."""
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(task.base, device="cpu", model_kwargs=model_kwargs)
    model.max_seq_length = task.max_tokens
    return model

"""Encode texts on a GPU in float16 with sentence-transformers, or with a loop of transformers that replaces it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch

from benchmarks.harness import best_setting, in_thread, reason

BATCH_SIZES = (32, 64, 128, 256, 512, 1024, 2048, 4096)

# (texts, texts per batch) -> (n, width) float16
Encode = Callable[[list[str], int], np.ndarray]


def best_rival(
    folder: Path, device: torch.device, max_tokens: int, tune: list[str], batch_sizes: Sequence[int] = BATCH_SIZES
) -> tuple[Callable[[list[str]], np.ndarray], str]:
    """Return a function that encodes texts with the model in `folder` at the best settings for `tune`, and a note.

    The settings are the texts per batch and, on a GPU, whether attention may use cuDNN, which makes a new plan for every
    shape of a batch.
    """
    try:
        encode, name = in_thread(lambda: sentence_transformers(folder, device, max_tokens)), "sentence-transformers"
    except Exception as error:  # not installed, or incompatible with this torch
        encode = in_thread(lambda: padded_loop(folder, device, max_tokens))
        name = f"a padded loop of transformers, instead of sentence-transformers ({reason(error)})"
    settings = list(itertools.product(batch_sizes, (False, True) if device.type == "cuda" else (False,)))

    def run(texts: list[str], setting: tuple[int, bool]) -> np.ndarray:
        enabled = torch.backends.cuda.cudnn_sdp_enabled()
        torch.backends.cuda.enable_cudnn_sdp(setting[1])
        try:
            return encode(texts, setting[0])
        finally:
            torch.backends.cuda.enable_cudnn_sdp(enabled)

    with ThreadPoolExecutor(1) as thread:
        thread.submit(lambda: run(tune, settings[0])).result()
        best = best_setting(settings, lambda setting: run(tune, setting), thread)
    edge = ", the largest tried" if best[0] == batch_sizes[-1] else ""
    attention = "SDPA with cuDNN" if best[1] else "SDPA"
    return lambda texts: run(texts, best), f"{name}; {attention}, batches of {best[0]}{edge}"


def sentence_transformers(folder: Path, device: torch.device, max_tokens: int) -> Encode:
    from sentence_transformers import SentenceTransformer

    kwargs = {"dtype": torch.float16, "attn_implementation": "sdpa"}
    model = SentenceTransformer(str(folder), device=str(device), model_kwargs=kwargs)
    model.max_seq_length = max_tokens

    def encode(texts: list[str], batch_size: int) -> np.ndarray:
        # With a tensor the vectors stay on the GPU until the end, which is faster than to copy every batch.
        return model.encode(texts, batch_size=batch_size, convert_to_tensor=True).cpu().numpy()

    return encode


def padded_loop(folder: Path, device: torch.device, max_tokens: int) -> Encode:
    """Return a loop that does the work of sentence-transformers: sort by length, tokenise and pad batches, average."""
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder, dtype=torch.float16, attn_implementation="sdpa").to(device).eval()

    @torch.inference_mode()
    def encode(texts: list[str], batch_size: int) -> np.ndarray:
        order = sorted(range(len(texts)), key=lambda i: -len(texts[i]))
        pooled = []
        for start in range(0, len(texts), batch_size):
            part = [texts[i] for i in order[start : start + batch_size]]
            batch = tokenizer(part, padding=True, truncation=True, max_length=max_tokens, return_tensors="pt")
            batch = batch.to(device)
            mask = batch["attention_mask"].unsqueeze(2)
            pooled.append((model(**batch).last_hidden_state * mask).sum(1) / mask.sum(1))
        return torch.cat(pooled).cpu().numpy()[np.argsort(order)]

    return encode

"""Encode texts on a GPU by what a user would take instead, in float16: sentence-transformers, or a loop that does its work."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from benchmarks.harness import best_setting, in_thread

BATCH_SIZES = (32, 64, 128, 256, 512, 1024)

# (texts, texts a batch) -> (n, width) float16
Encode = Callable[[list[str], int], np.ndarray]


def best_rival(
    folder: Path, device: torch.device, max_tokens: int, tune: list[str], batch_sizes: Sequence[int] = BATCH_SIZES
) -> tuple[Callable[[list[str]], np.ndarray], str]:
    """Return what encodes texts with the model in `folder` at the batch size that is best on `tune`, and a note."""
    try:
        encode, name = in_thread(lambda: sentence_transformers(folder, device, max_tokens)), "sentence-transformers"
    except ImportError:
        encode = in_thread(lambda: padded_loop(folder, device, max_tokens))
        name = "a padded loop of transformers, as sentence-transformers is not installed"
    in_thread(lambda: encode(tune, batch_sizes[-1]))
    best = best_setting(batch_sizes, lambda size: encode(tune, size))
    return lambda texts: encode(texts, best), f"{name}; SDPA, batches of {best}"


def sentence_transformers(folder: Path, device: torch.device, max_tokens: int) -> Encode:
    from sentence_transformers import SentenceTransformer

    kwargs = {"dtype": torch.float16, "attn_implementation": "sdpa"}
    model = SentenceTransformer(str(folder), device=str(device), model_kwargs=kwargs)
    model.max_seq_length = max_tokens

    def encode(texts: list[str], batch_size: int) -> np.ndarray:
        # As a tensor vectors stay on the GPU until the end, which is faster than batch by batch.
        return model.encode(texts, batch_size=batch_size, convert_to_tensor=True).cpu().numpy()

    return encode


def padded_loop(folder: Path, device: torch.device, max_tokens: int) -> Encode:
    """Do with transformers alone what sentence-transformers does: sort by length, tokenise and pad a batch, average."""
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

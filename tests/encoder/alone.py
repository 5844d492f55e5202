"""Run texts one at a time by nothing but transformers, to compare with; make small random models of every family."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoConfig, AutoModel

from encoder import Pooling, base
from encoder.bundle import Bundle

WIDTH, LAYERS = 32, 2


def hidden_states(folder: Path | str, ids: Sequence[Sequence[int]]) -> Iterator[tuple[torch.Tensor, ...]]:
    """Yield the hidden states of each text by layer, each (tokens, width)."""
    model = AutoModel.from_pretrained(folder).eval()
    for text in ids:
        with torch.inference_mode():
            states = model(input_ids=torch.tensor([list(text)]), output_hidden_states=True).hidden_states
        yield tuple(state[0] for state in states)


def random_bundle(folder: Path, family: str, tiny_base: Path, positions: tuple[str, ...], **config: Any) -> Bundle:
    """Write a random model of a family of two layers into a folder; a bundle of both layers, cut at zero."""
    small = {"vocab_size": 200, "max_position_embeddings": 80}
    sizes = {
        "distilbert": {"dim": WIDTH, "n_layers": LAYERS, "n_heads": 4, "hidden_dim": 64},
        "gpt2": {"n_embd": WIDTH, "n_layer": LAYERS, "n_head": 4, "n_positions": 80},
        "electra": {"embedding_size": WIDTH},
        "llama": {"num_key_value_heads": 4},
    }.get(family, {})
    if family not in ("distilbert", "gpt2"):
        small |= {"hidden_size": WIDTH, "num_hidden_layers": LAYERS, "num_attention_heads": 4, "intermediate_size": 64}
    torch.manual_seed(0)
    AutoModel.from_config(AutoConfig.for_model(family, **small, **sizes, **config)).save_pretrained(folder)
    (folder / "tokenizer.json").write_bytes((tiny_base / "tokenizer.json").read_bytes())
    pooling = Pooling(layers=(1, 2), positions=positions)
    bits = pooling.dim(WIDTH)
    return Bundle(
        name=family,
        base_id=str(folder),
        base_files=base.find(str(folder)).file_hashes(),
        pooling=pooling,
        bits=bits,
        thresholds=np.zeros(bits, np.float32),
        max_tokens=32,
        overlap_tokens=8,
    )


FAMILY_TEXTS = ["good film", "a long dull plot of the story was not very good and great", "bad film", "great"]

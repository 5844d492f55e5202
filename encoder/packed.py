"""Run a transformer over texts of different lengths laid end to end, so that no padding goes through it.

Everything in a layer but attention works on tokens one by one: there the texts need no frame around them. Attention takes
texts of equal length together; they come sorted by length, so these lie side by side.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import torch

from encoder.pooling import Pooling

ATTENTION = "encode_once_packed"  # its name among transformers' attention functions

# Families whose attention is transformers' interface, and whose positions can be given; without is_decoder.
_FAMILIES = ("bert", "camembert", "distilbert", "electra", "roberta", "xlm-roberta")


@dataclasses.dataclass(frozen=True)
class Packing:
    """Say where the texts lie in a batch of `tokens` tokens.

    Attributes:
        runs: (first token, texts, tokens a text) of each run of texts of equal length, in order.
    """

    runs: tuple[tuple[int, int, int], ...]

    @classmethod
    def of(cls, lengths: np.ndarray) -> Packing:
        """Describe texts of `lengths` (n,) tokens that lie end to end; equal lengths should be neighbours."""
        borders = np.flatnonzero(np.diff(lengths)) + 1
        firsts = np.concatenate([[0], borders])
        texts = np.diff(np.concatenate([firsts, [len(lengths)]]))
        starts = np.concatenate([[0], np.cumsum(lengths)])[firsts]
        return cls(tuple(zip(starts.tolist(), texts.tolist(), lengths[firsts].tolist())))

    @property
    def tokens(self) -> int:
        start, texts, length = self.runs[-1]
        return start + texts * length

    def split(self, packed: torch.Tensor) -> list[torch.Tensor]:
        """View (tokens, …) as one (texts, tokens a text, …) a run."""
        return [
            packed[start : start + texts * length].view(texts, length, *packed.shape[1:])
            for start, texts, length in self.runs
        ]


def can_pack(model: torch.nn.Module) -> bool:
    """Whether `forward` runs this model as it would run by itself."""
    return model.config.model_type in _FAMILIES and not getattr(model.config, "is_decoder", False)


def prepare(model: torch.nn.Module) -> None:
    """Make a model ready for `forward`; it takes no padded batches any more."""
    from transformers import AttentionInterface

    AttentionInterface.register(ATTENTION, _attention)
    model.set_attn_implementation(ATTENTION)


def forward(model: torch.nn.Module, ids: torch.Tensor, packing: Packing) -> tuple[torch.Tensor, ...]:
    """Run one batch: ids (tokens,) int64 in, hidden states by layer out, each (tokens, width)."""
    positions = _positions(model, ids, packing)
    states = model(input_ids=ids[None], position_ids=positions[None], output_hidden_states=True, packing=packing)
    return tuple(state[0] for state in states.hidden_states)


def pool(pooling: Pooling, hidden: tuple[torch.Tensor, ...], packing: Packing) -> torch.Tensor:
    """Pool hidden states, each (tokens, width), into (n, dim) float32."""
    of_layer = {layer: packing.split(hidden[layer]) for layer in pooling.layers}
    pooled = []
    for run, (_, texts, length) in enumerate(packing.runs):
        whole = torch.ones(texts, length, dtype=torch.bool, device=hidden[0].device)
        pooled.append(pooling({layer: parts[run] for layer, parts in of_layer.items()}, whole))
    return torch.cat(pooled)


def _positions(model: torch.nn.Module, ids: torch.Tensor, packing: Packing) -> torch.Tensor:
    """Count each text's positions (tokens,) int64 as its family does."""
    padding = getattr(model.embeddings, "padding_idx", None)
    parts = []
    for run in packing.split(ids):
        if padding is None:
            parts.append(torch.arange(run.shape[1], device=ids.device).expand_as(run).reshape(-1))
        else:  # RoBERTa's family counts from the padding id on, and does not count padding
            counted = (run != padding).long()
            parts.append((counted.cumsum(1) * counted + padding).reshape(-1))
    return torch.cat(parts)


def _attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    packing: Packing,
    scaling: float | None = None,
    dropout: float = 0.0,
    **_: object,
) -> tuple[torch.Tensor, None]:
    """Attend within each text: query, key, value (1, heads, tokens, size) in, (1, tokens, heads, size) out."""
    attend = torch.nn.functional.scaled_dot_product_attention
    by_token = [tensor[0].transpose(0, 1) for tensor in (query, key, value)]  # (tokens, heads, size)
    out = torch.empty_like(by_token[0], memory_format=torch.contiguous_format)
    for part, q, k, v in zip(packing.split(out), *map(packing.split, by_token)):
        part.copy_(
            attend(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), scale=scaling, dropout_p=dropout).transpose(
                1, 2
            )
        )
    return out[None], None

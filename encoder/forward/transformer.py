"""Run BERT and its kin over texts laid end to end, straight from the weights' file.

The same numbers as transformers' models give, to rounding: one product makes queries, keys and values, no padding goes
through, and the import of transformers' models, several seconds, is saved. What is not of these families runs there.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from torch.nn import functional

from encoder.adapter import Adapter
from encoder.base import EncoderError
from encoder.forward.model import merge

# Queries, keys, values (tokens, heads, size) in, (tokens, heads, size) out: attention within each text.
Attend = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]

_BERT = {
    "query": "encoder.layer.{}.attention.self.query",
    "key": "encoder.layer.{}.attention.self.key",
    "value": "encoder.layer.{}.attention.self.value",
    "attended": "encoder.layer.{}.attention.output.dense",
    "attention_norm": "encoder.layer.{}.attention.output.LayerNorm",
    "wide": "encoder.layer.{}.intermediate.dense",
    "narrow": "encoder.layer.{}.output.dense",
    "norm": "encoder.layer.{}.output.LayerNorm",
}
_DISTILBERT = {
    "query": "transformer.layer.{}.attention.q_lin",
    "key": "transformer.layer.{}.attention.k_lin",
    "value": "transformer.layer.{}.attention.v_lin",
    "attended": "transformer.layer.{}.attention.out_lin",
    "attention_norm": "transformer.layer.{}.sa_layer_norm",
    "wide": "transformer.layer.{}.ffn.lin1",
    "narrow": "transformer.layer.{}.ffn.lin2",
    "norm": "transformer.layer.{}.output_layer_norm",
}


_EMBEDDINGS, _EMBEDDINGS_NORM = "embeddings.{}_embeddings.weight", "embeddings.LayerNorm"


@dataclasses.dataclass(frozen=True)
class _Family:
    """Say how a family of models differs from BERT.

    Attributes:
        prefix: put before the names of weights in files of models with something on top.
        modules: module paths of a layer's parts.
        names: what the configuration calls the numbers of layers and heads, and the activation.
        eps: of the layer norms; None: the configuration says it.
        types: whether there are embeddings of segments; every text is one, the first.
        counts_from_padding: whether positions are counted from the padding id on, as RoBERTa does, instead of from 0.
    """

    prefix: str
    modules: dict[str, str] = dataclasses.field(default_factory=lambda: _BERT)
    names: tuple[str, str, str] = ("num_hidden_layers", "num_attention_heads", "hidden_act")
    eps: float | None = None
    types: bool = True
    counts_from_padding: bool = False

    def modules_of(self, layer: int) -> dict[str, str]:
        """Return the module paths of one layer's parts."""
        return {part: module.format(layer) for part, module in self.modules.items()}


_FAMILIES = {
    "bert": _Family("bert."),
    "camembert": _Family("roberta.", counts_from_padding=True),
    "distilbert": _Family("distilbert.", _DISTILBERT, ("n_layers", "n_heads", "activation"), eps=1e-12, types=False),
    "electra": _Family("electra."),
    "roberta": _Family("roberta.", counts_from_padding=True),
    "xlm-roberta": _Family("roberta.", counts_from_padding=True),
}
_ACTIVATIONS = {"gelu": "none", "gelu_new": "tanh", "gelu_pytorch_tanh": "tanh"}


@dataclasses.dataclass(frozen=True)
class _Config:
    """Hold what the files of all families say in their own words."""

    family: _Family
    layers: int
    heads: int
    eps: float
    approximation: str
    padding: int | None

    @classmethod
    def read(cls, config: dict[str, Any]) -> _Config | None:
        """Read a model's config.json; None where it is not of a family that runs here."""
        family = _FAMILIES.get(config.get("model_type", ""))
        if family is None or config.get("is_decoder"):
            return None
        if config.get("position_embedding_type", "absolute") != "absolute":
            return None
        if config.get("embedding_size", config.get("hidden_size")) != config.get("hidden_size"):
            return None  # a projection lies between
        layers, heads, activation = map(config.get, family.names)
        eps = config.get("layer_norm_eps") if family.eps is None else family.eps
        padding = config.get("pad_token_id") if family.counts_from_padding else None
        if None in (layers, heads, eps) or activation not in _ACTIVATIONS:
            return None
        if family.counts_from_padding and padding is None:
            return None
        return cls(family, layers, heads, eps, _ACTIVATIONS[activation], padding)

    def weights(self, top_layer: int) -> set[str]:
        """Name the weights that the embeddings and the layers up to `top_layer` need."""
        modules = [_EMBEDDINGS_NORM]
        for number in range(top_layer):
            modules += self.family.modules_of(number).values()
        named = {f"{module}.{part}" for module in modules for part in ("weight", "bias")}
        kinds = ("word", "position", "token_type") if self.family.types else ("word", "position")
        return named | {_EMBEDDINGS.format(kind) for kind in kinds}


class Transformer:
    """Give the hidden states of texts that lie end to end.

    Attributes:
        heads, head_size: of the attention.
        padding: the id that positions are counted from, as RoBERTa's family does; None: they are counted from 0.
    """

    @torch.no_grad()
    def __init__(
        self,
        tensors: dict[str, torch.Tensor],
        about: _Config,
        top_layer: int,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        """Take a model's float32 weights by name, those of `about.weights(top_layer)` at least."""
        self.padding, self.heads, self._eps = about.padding, about.heads, about.eps
        self._approximation = about.approximation

        def put(tensor: torch.Tensor) -> torch.Tensor:
            return tensor.to(device=device, dtype=dtype, copy=True)

        def linear(*modules: str) -> tuple[torch.Tensor, torch.Tensor]:
            """Lay the products of some modules side by side."""
            return tuple(put(torch.cat([tensors[f"{m}.{part}"] for m in modules])) for part in ("weight", "bias"))

        self._types = put(tensors[_EMBEDDINGS.format("token_type")][0]) if about.family.types else None
        self._words, self._places = (put(tensors[_EMBEDDINGS.format(kind)]) for kind in ("word", "position"))
        self._norm = linear(_EMBEDDINGS_NORM)
        self.head_size = self._words.shape[1] // self.heads
        self._layers = []
        for number in range(top_layer):
            at = about.family.modules_of(number)
            layer = {part: linear(at[part]) for part in ("attended", "attention_norm", "wide", "narrow", "norm")}
            self._layers.append(layer | {"qkv": linear(at["query"], at["key"], at["value"])})

    def __call__(self, ids: torch.Tensor, positions: torch.Tensor, attend: Attend) -> tuple[torch.Tensor, ...]:
        """Run texts: ids and positions (tokens,) int64 in, hidden states out, embeddings first, each (tokens, width)."""
        hidden = self._words[ids]
        if self._types is not None:
            hidden += self._types
        hidden += self._places[positions]
        hidden = self._normalise(hidden, self._norm)
        states = [hidden]
        for layer in self._layers:
            hidden = self._run(layer, hidden, attend)
            states.append(hidden)
        return tuple(states)

    def _run(self, layer: dict[str, tuple], hidden: torch.Tensor, attend: Attend) -> torch.Tensor:
        """Run one layer over (tokens, width)."""
        products = functional.linear(hidden, *layer["qkv"]).view(len(hidden), 3, self.heads, self.head_size)
        attended = attend(*products.unbind(1)).reshape(hidden.shape)
        hidden = self._normalise(functional.linear(attended, *layer["attended"]).add_(hidden), layer["attention_norm"])
        wide = functional.gelu(functional.linear(hidden, *layer["wide"]), approximate=self._approximation)
        return self._normalise(functional.linear(wide, *layer["narrow"]).add_(hidden), layer["norm"])

    def _normalise(self, hidden: torch.Tensor, norm: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        return functional.layer_norm(hidden, hidden.shape[-1:], *norm, self._eps)


def load(
    folder: Path,
    config: dict[str, Any],
    top_layer: int,
    device: torch.device,
    dtype: torch.dtype,
    adapter: Adapter | None = None,
) -> Transformer | None:
    """Load the model in `folder`, as `load_model` does; None where it is not of a family that runs here.

    What an adapter adds is merged into the weights in float32, before they are turned into `dtype`.
    """
    about, path = _Config.read(config), folder / "model.safetensors"
    if about is None or top_layer > about.layers or not path.is_file():
        return None
    from safetensors.torch import load_file

    try:
        found = load_file(path)
    except (SafetensorError, OSError) as error:
        raise EncoderError(f"{path} cannot be read: {error}") from None
    tensors = {name.removeprefix(about.family.prefix): tensor.float() for name, tensor in found.items()}
    if not about.weights(top_layer) <= tensors.keys():
        return None  # files of old versions name weights in other words: transformers knows them
    if adapter is not None:
        merge(tensors, adapter)
    return Transformer(tensors, about, top_layer, device, dtype)


def count_positions(ids: np.ndarray, lengths: np.ndarray, padding: int | None) -> np.ndarray:
    """Count each text's positions, (tokens,) int64: from 0, or as RoBERTa's family does where `padding` is its id."""
    first = np.cumsum(lengths) - lengths
    if padding is None:
        return np.arange(len(ids)) - np.repeat(first, lengths)
    counted = ids != padding  # it counts from the padding id on, and does not count padding
    seen = np.cumsum(counted)
    before = np.repeat(seen[first] - counted[first], lengths)
    return np.where(counted, seen - before, 0) + padding

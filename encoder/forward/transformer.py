"""Run models of BERT's families over texts laid end to end, straight from the file of their weights.

The results are those of transformers' models, up to rounding. One product computes queries, keys and values, no padding is
computed, and transformers' models, whose import takes seconds, are not needed. Other models run by transformers.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
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
_Linear = tuple[torch.Tensor, torch.Tensor]  # weight and bias

_BERT = {
    "query": "encoder.layer.{}.attention.self.query",
    "key": "encoder.layer.{}.attention.self.key",
    "value": "encoder.layer.{}.attention.self.value",
    "attention_output": "encoder.layer.{}.attention.output.dense",
    "attention_norm": "encoder.layer.{}.attention.output.LayerNorm",
    "intermediate": "encoder.layer.{}.intermediate.dense",
    "output": "encoder.layer.{}.output.dense",
    "output_norm": "encoder.layer.{}.output.LayerNorm",
}
_DISTILBERT = {
    "query": "transformer.layer.{}.attention.q_lin",
    "key": "transformer.layer.{}.attention.k_lin",
    "value": "transformer.layer.{}.attention.v_lin",
    "attention_output": "transformer.layer.{}.attention.out_lin",
    "attention_norm": "transformer.layer.{}.sa_layer_norm",
    "intermediate": "transformer.layer.{}.ffn.lin1",
    "output": "transformer.layer.{}.ffn.lin2",
    "output_norm": "transformer.layer.{}.output_layer_norm",
}


_EMBEDDINGS, _EMBEDDINGS_NORM = "embeddings.{}_embeddings.weight", "embeddings.LayerNorm"


@dataclasses.dataclass(frozen=True)
class _Family:
    """The differences of a family of models from BERT.

    Attributes:
        prefix: of the names of weights in the files of models with a head on top.
        modules: module paths of a layer's parts.
        names: the configuration's names of the number of layers, the number of heads and the activation.
        eps: of the layer norms; None: in the configuration.
        types: whether there are segment embeddings; every text is the first segment.
        counts_from_padding: whether positions start after the padding id, as in RoBERTa, instead of at 0.
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
    """The part of a model's configuration that is used here, under one name for all families."""

    family: _Family
    layers: int
    heads: int
    eps: float
    approximation: str
    padding: int | None

    @classmethod
    def read(cls, config: dict[str, Any]) -> _Config | None:
        """Read the content of a config.json; None if the model is not of a family that runs here."""
        family = _FAMILIES.get(config.get("model_type", ""))
        if family is None or config.get("is_decoder"):
            return None
        if config.get("position_embedding_type", "absolute") != "absolute":
            return None
        if config.get("embedding_size", config.get("hidden_size")) != config.get("hidden_size"):
            return None  # a projection follows the embeddings
        layers, heads, activation = map(config.get, family.names)
        eps = config.get("layer_norm_eps") if family.eps is None else family.eps
        padding = config.get("pad_token_id") if family.counts_from_padding else None
        if layers is None or heads is None or eps is None or activation not in _ACTIVATIONS:
            return None
        if family.counts_from_padding and padding is None:
            return None
        return cls(family, layers, heads, eps, _ACTIVATIONS[activation], padding)

    def weights(self, top_layer: int) -> set[str]:
        """Return the names of the weights of the embeddings and the layers up to `top_layer`."""
        modules = [_EMBEDDINGS_NORM]
        for number in range(top_layer):
            modules += self.family.modules_of(number).values()
        names = {f"{module}.{part}" for module in modules for part in ("weight", "bias")}
        kinds = ("word", "position", "token_type") if self.family.types else ("word", "position")
        return names | {_EMBEDDINGS.format(kind) for kind in kinds}


class Transformer:
    """A transformer that computes the hidden states of texts that lie end to end.

    Attributes:
        heads: of the attention.
        head_size: of the attention.
        padding: the padding id if positions start after it, as in RoBERTa; None if they start at 0.
    """

    @torch.no_grad()
    def __init__(
        self,
        tensors: dict[str, torch.Tensor],
        config: _Config,
        top_layer: int,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        """Take a model's float32 weights by name, at least those of `config.weights(top_layer)`."""
        self.padding, self.heads, self._eps = config.padding, config.heads, config.eps
        self._approximation = config.approximation
        self._fuses = fuses(device, dtype)

        def load_tensor(tensor: torch.Tensor) -> torch.Tensor:
            return tensor.to(device=device, dtype=dtype, copy=True)

        def embeddings(kind: str) -> torch.Tensor:
            return tensors[_EMBEDDINGS.format(kind)]

        def linear(*modules: str) -> _Linear:
            """Return the weights and biases of some modules side by side, as one module."""
            weight, bias = (
                load_tensor(torch.cat([tensors[f"{m}.{part}"] for m in modules])) for part in ("weight", "bias")
            )
            return weight, bias

        self._type_embedding = load_tensor(embeddings("token_type")[0]) if config.family.types else None
        self._word_embeddings = load_tensor(embeddings("word"))
        self._position_embeddings = load_tensor(embeddings("position"))
        self._embeddings_norm = linear(_EMBEDDINGS_NORM)
        self.head_size = self._word_embeddings.shape[1] // self.heads
        self._layers: list[dict[str, _Linear]] = []
        for number in range(top_layer):
            modules = config.family.modules_of(number)
            qkv = linear(*(modules.pop(part) for part in ("query", "key", "value")))
            self._layers.append({part: linear(module) for part, module in modules.items()} | {"qkv": qkv})

    def __call__(self, ids: torch.Tensor, positions: torch.Tensor, attend: Attend) -> Iterator[torch.Tensor]:
        """Yield the hidden states of ids and positions (tokens,) int64, embeddings first, each (tokens, width).

        A layer is computed when it is asked for. States that the caller does not keep free their memory for the next ones.
        """
        hidden = self._word_embeddings[ids]
        if self._type_embedding is not None:
            hidden += self._type_embedding
        hidden += self._position_embeddings[positions]
        hidden = self._normalise(hidden, self._embeddings_norm)
        yield hidden
        for layer in self._layers:
            hidden = self._run(layer, hidden, attend)
            yield hidden

    def _run(self, layer: dict[str, _Linear], hidden: torch.Tensor, attend: Attend) -> torch.Tensor:
        """Run one layer over (tokens, width)."""
        qkv = self._linear(hidden, layer["qkv"]).view(len(hidden), 3, self.heads, self.head_size)
        attended = attend(*qkv.unbind(1)).reshape(hidden.shape)
        attention_output = self._linear(attended, layer["attention_output"])
        hidden = self._normalise(attention_output.add_(hidden), layer["attention_norm"])
        intermediate = self._linear(hidden, layer["intermediate"], gelu=True)
        output = self._linear(intermediate, layer["output"])
        return self._normalise(output.add_(hidden), layer["output_norm"])

    def _linear(self, hidden: torch.Tensor, linear: _Linear, gelu: bool = False) -> torch.Tensor:
        """Multiply (tokens, in) by a module's weights and add its bias: (tokens, out); then GELU, if asked for."""
        if self._fuses:
            fused = torch.ops.mkldnn._linear_pointwise
            return fused(hidden, *linear, "gelu" if gelu else "none", [], self._approximation)
        output = functional.linear(hidden, *linear)
        return functional.gelu(output, approximate=self._approximation) if gelu else output

    def _normalise(self, hidden: torch.Tensor, norm: _Linear) -> torch.Tensor:
        return functional.layer_norm(hidden, hidden.shape[-1:], *norm, self._eps)


def fuses(device: torch.device, dtype: torch.dtype) -> bool:
    """Return whether products run by oneDNN with bias and GELU fused into them, as torch.compile does on a processor.

    In bfloat16 with native instructions this is faster: torch's own product first copies the bias to every row of its result.
    In float32 torch multiplies by MKL, which is faster than oneDNN.
    """
    mkldnn = torch.ops.mkldnn
    if device.type != "cpu" or dtype != torch.bfloat16 or not torch.backends.mkldnn.is_available():
        return False
    return hasattr(mkldnn, "_linear_pointwise") and bool(mkldnn._is_mkldnn_bf16_supported())


def load(
    folder: Path,
    config: dict[str, Any],
    top_layer: int,
    device: torch.device,
    dtype: torch.dtype,
    adapter: Adapter | None = None,
) -> Transformer | None:
    """Load the model in `folder`, as `load_model` does; None if it is not of a family that runs here.

    Args:
        config: the content of its config.json.
        adapter: added to the weights in float32, before they are converted to `dtype`.

    Raises:
        EncoderError: the weights cannot be read, or the adapter does not fit.
    """
    known, path = _Config.read(config), folder / "model.safetensors"
    if known is None or top_layer > known.layers or not path.is_file():
        return None
    from safetensors.torch import load_file

    try:
        stored = load_file(path)
    except (SafetensorError, OSError) as error:
        raise EncoderError(f"{path} cannot be read: {error}") from None
    tensors = {name.removeprefix(known.family.prefix): tensor.float() for name, tensor in stored.items()}
    if not known.weights(top_layer) <= tensors.keys():
        return None  # old files have other names of weights, which transformers knows
    if adapter is not None:
        merge(tensors, adapter)
    return Transformer(tensors, known, top_layer, device, dtype)


def count_positions(ids: np.ndarray, lengths: np.ndarray, padding: int | None) -> np.ndarray:
    """Count the positions of tokens within their texts, (tokens,) int64.

    Args:
        ids: (tokens,), of texts end to end.
        lengths: (n,), tokens of each text.
        padding: the padding id if positions start after it, as in RoBERTa; None if they start at 0.
    """
    first = np.cumsum(lengths) - lengths
    if padding is None:
        return np.arange(len(ids)) - np.repeat(first, lengths)
    counted = ids != padding  # RoBERTa does not count padding
    seen = np.cumsum(counted)
    before = np.repeat(seen[first] - counted[first], lengths)
    return np.where(counted, seen - before, 0) + padding

"""Load a base model and run it as far up as the pooling reads."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import torch
from safetensors import SafetensorError

from encoder.adapter import Adapter
from encoder.base import EncoderError
from encoder.choices import Precision

# Where a model's layers lie. Cutting there is exact only where no norm follows the last layer: these families.
_LAYER_LISTS = {
    "bert": "encoder.layer",
    "camembert": "encoder.layer",
    "distilbert": "transformer.layer",
    "electra": "encoder.layer",
    "mpnet": "encoder.layer",
    "roberta": "encoder.layer",
    "xlm-roberta": "encoder.layer",
}


def choose_device(device: str) -> torch.device:
    """Turn "auto", "cpu", "cuda", "cuda:N" or "mps" into a device that is there."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        chosen = torch.device(device)
    except RuntimeError:
        chosen = None
    if chosen is None or chosen.type not in ("cpu", "cuda", "mps"):
        raise EncoderError(f"unknown device {device!r}; choose from auto, cpu, cuda, cuda:N, mps")
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        raise EncoderError(f"device {device} is not there: {torch.cuda.device_count()} CUDA devices found; use cpu")
    if chosen.type == "mps" and not torch.backends.mps.is_available():
        raise EncoderError("device mps is not there; use cpu")
    if chosen.type == "cuda":  # torch reads it once, at a process's first product; training refuses kernels without it
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    return chosen


def choose_precision(precision: Precision, device: torch.device) -> torch.dtype:
    """Turn a precision into a dtype; "auto" is bfloat16 only where the processor multiplies it natively.

    Elsewhere it is emulated: on a processor with AVX2 alone, six times slower than float32.
    """
    if precision not in get_args(Precision):
        raise EncoderError(f"unknown precision {precision!r}; choose from {', '.join(get_args(Precision))}")
    if precision != "auto":
        return getattr(torch, precision)
    if device.type == "cuda":
        native = torch.cuda.get_device_capability(device) >= (8, 0)
    elif device.type == "cpu":
        native = _cpu_has_bfloat16()
    else:
        native = False
    return torch.bfloat16 if native else torch.float32


def _cpu_has_bfloat16() -> bool:
    capabilities = getattr(torch.cpu, "get_capabilities", dict)()  # not in older versions: there, not known to
    return any(has is True for name, has in capabilities.items() if "bf16" in name)


def load_model(
    folder: Path, top_layer: int, device: torch.device, dtype: torch.dtype, adapter: Adapter | None = None
) -> torch.nn.Module:
    """Load the transformer in `folder`, without the layers above `top_layer` where they can be left out exactly.

    What an adapter adds is merged into the weights in float32, before they are turned into `dtype`. Called with
    `input_ids`, `attention_mask` (n, tokens) and `output_hidden_states=True`, the model gives `hidden_states`, each
    (n, tokens, width).

    Raises:
        EncoderError: a layer the model has not, weights its file has not, a damaged file, an encoder-decoder, an adapter that
            does not fit.
    """
    from transformers import AutoConfig, AutoModel

    config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    if getattr(config, "is_encoder_decoder", False):
        raise EncoderError(f"the model in {folder} is an encoder-decoder; choose an encoder or a decoder model")
    with _without_progress_bars():
        try:
            model, found = AutoModel.from_pretrained(
                folder,
                config=config,
                dtype=torch.float32,
                use_safetensors=True,
                trust_remote_code=False,
                output_loading_info=True,
            )
        except SafetensorError as error:
            raise EncoderError(f"the model's weights in {folder} cannot be read: {error}") from None
    layers = config.num_hidden_layers
    if top_layer > layers:
        raise EncoderError(f"layer {top_layer} is asked for but the model in {folder} has {layers} layers")
    if path := _LAYER_LISTS.get(config.model_type):
        # The embeddings alone (0) are given only beside a layer's output.
        del model.get_submodule(path)[max(1, top_layer) :]
    if hasattr(model, "pooler"):
        model.pooler = None
    # transformers fills with random numbers what a file lacks: other codes at every load.
    if missing := sorted(set(found["missing_keys"]) & dict(model.named_parameters()).keys()):
        raise EncoderError(
            f"the model in {folder} cannot be used: its file lacks {len(missing)} of the weights of a "
            f"{config.model_type!r} model, {missing[0]} first"
        )
    if adapter is not None:
        merge(dict(model.named_parameters()), adapter)
    return model.eval().requires_grad_(False).to(device=device, dtype=dtype)


@torch.no_grad()
def merge(parameters: dict[str, torch.Tensor], adapter: Adapter) -> None:
    """Add an adapter to a model's weights by name, in place and in their own precision.

    Raises:
        EncoderError: a parameter the model has not, or of another shape.
    """
    for name, addition in adapter.additions():
        if name not in parameters:
            raise EncoderError(f"the adapter changes {name}, which the base model does not have")
        parameter = parameters[name]
        if tuple(parameter.shape) != addition.shape:
            raise EncoderError(
                f"the adapter adds {addition.shape} to {name}, which is {tuple(parameter.shape)} in the base model"
            )
        parameter += torch.from_numpy(addition).to(parameter.device)


def layers_make_hidden_states(model: torch.nn.Module) -> bool:
    """Whether each hidden state above the embeddings is what a layer gave, with nothing between or after the layers."""
    return model.config.model_type in _LAYER_LISTS


def layers_of(model: torch.nn.Module) -> tuple[str, torch.nn.ModuleList]:
    """Find the list of a model's layers: its module path, and the list, the first layer first.

    Raises:
        EncoderError: this kind of model keeps its layers in another way.
    """
    if path := _LAYER_LISTS.get(model.config.model_type):
        return path, model.get_submodule(path)
    for path, module in model.named_modules():
        if isinstance(module, torch.nn.ModuleList) and len(module) == model.config.num_hidden_layers:
            return path, module
    raise EncoderError(f"models of type {model.config.model_type!r} cannot be trained: their layers are not found")


@contextlib.contextmanager
def _without_progress_bars() -> Iterator[None]:
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()

"""Choose a device and a precision, and load a base model of transformers up to the highest pooled layer."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast, get_args

import torch
from safetensors import SafetensorError

from encoder.adapter import Adapter
from encoder.base import EncoderError
from encoder.choices import Precision

# Module path of the layers. Removing upper layers is exact only if no norm follows the last layer, as in these families.
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
    """Turn "auto", "cpu", "cuda", "cuda:N" or "mps" into a device.

    Raises:
        EncoderError: the device is unknown or not available.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    chosen = None
    with contextlib.suppress(RuntimeError):
        chosen = torch.device(device)
    if chosen is None or chosen.type not in ("cpu", "cuda", "mps"):
        raise EncoderError(f"unknown device {device!r}; choose from auto, cpu, cuda, cuda:N, mps")
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        raise EncoderError(f"device {device} is not available: {torch.cuda.device_count()} CUDA devices found; use cpu")
    if chosen.type == "mps" and not torch.backends.mps.is_available():
        raise EncoderError("device mps is not available; use cpu")
    if chosen.type == "cuda":  # torch reads it once, at the first product of a process; training needs it
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    return chosen


def choose_precision(precision: Precision, device: torch.device) -> torch.dtype:
    """Turn a precision into a dtype; "auto" is bfloat16 if the processor multiplies it natively, else float32.

    Emulated bfloat16 is slow: on a processor with AVX2 alone, six times slower than float32.

    Raises:
        EncoderError: the precision is unknown.
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
    if not hasattr(torch.cpu, "get_capabilities"):  # older versions of torch
        return False
    return any(has is True for name, has in torch.cpu.get_capabilities().items() if "bf16" in name)


def load_model(
    folder: Path, top_layer: int, device: torch.device, dtype: torch.dtype, adapter: Adapter | None = None
) -> torch.nn.Module:
    """Load the transformer in `folder`, without the layers above `top_layer` if removing them is exact.

    The adapter is added to the weights in float32, before they are converted to `dtype`. Called with `input_ids`,
    `attention_mask` (n, tokens) and `output_hidden_states=True`, the model returns `hidden_states`, each (n, tokens, width).

    Raises:
        EncoderError: the model lacks the layer, its file lacks weights or is damaged, it is an encoder-decoder, or the adapter
            does not fit.
    """
    from transformers import AutoConfig, AutoModel

    config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    if getattr(config, "is_encoder_decoder", False):
        raise EncoderError(f"the model in {folder} is an encoder-decoder; choose an encoder or a decoder model")
    with _without_progress_bars():
        try:
            model, loading_info = AutoModel.from_pretrained(
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
        # transformers returns the embeddings (0) only with at least one layer.
        del model.get_submodule(path)[max(1, top_layer) :]
    if hasattr(model, "pooler"):
        model.pooler = None
    # transformers sets missing weights to random numbers, which would give other codes at every load.
    if missing := sorted(set(loading_info["missing_keys"]) & dict(model.named_parameters()).keys()):
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
        EncoderError: the model lacks a parameter, or its shape differs.
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
    """Whether each hidden state above the embeddings is a layer's output, with nothing between or after the layers."""
    return _config(model).model_type in _LAYER_LISTS


def layers_of(model: torch.nn.Module) -> tuple[str, torch.nn.ModuleList]:
    """Find a model's layers: the module path of the list, and the list, the lowest layer first.

    Raises:
        EncoderError: this type of model has no such list.
    """
    config = _config(model)
    if path := _LAYER_LISTS.get(config.model_type):
        return path, cast(torch.nn.ModuleList, model.get_submodule(path))
    for path, module in model.named_modules():
        if isinstance(module, torch.nn.ModuleList) and len(module) == config.num_hidden_layers:
            return path, module
    raise EncoderError(f"models of type {config.model_type!r} cannot be trained: their layers are not found")


def _config(model: torch.nn.Module) -> Any:
    """Return the configuration of a model of transformers, whose types torch does not know."""
    return model.config


@contextlib.contextmanager
def _without_progress_bars() -> Iterator[None]:
    from transformers.utils import logging

    were_enabled = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if were_enabled:
            logging.enable_progress_bar()

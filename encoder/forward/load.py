"""Choose how a base model runs on a device, and load it."""

from __future__ import annotations

import torch

from encoder.adapter import Adapter
from encoder.base import Base
from encoder.forward import transformer, varlen
from encoder.forward.model import load_model
from encoder.forward.packed import PackedRunner
from encoder.forward.padded import PaddedRunner
from encoder.forward.runner import Runner
from encoder.forward.varlen import VarlenRunner
from encoder.pooling import Pooling


def describe_kernel(device: torch.device, dtype: torch.dtype) -> str:
    """Say how models of BERT's families run on a device in a precision; `load_runner` decides it."""
    if device.type == "cpu":
        products = "oneDNN" if torch.backends.mkldnn.is_available() else "torch"
        return f"texts end to end without padding, matrix products by {products}"
    if varlen.suits(device, dtype) and varlen.kernel() is not None:
        return "texts end to end without padding, attention by torch's varlen_attn"
    return "padded batches, by transformers"


def load_runner(
    base: Base, pooling: Pooling, adapter: Adapter | None, device: torch.device, dtype: torch.dtype
) -> Runner:
    """Load a base model with an adapter, up to the highest pooled layer. Texts lie end to end if model and device allow it.

    Raises:
        EncoderError: see `encoder.forward.model.load_model`.
    """
    top_layer = max(pooling.layers)
    if device.type == "cpu" or varlen.suits(device, dtype):
        model = transformer.load(base.folder, base.config(), top_layer, device, dtype, adapter)
        if model is not None and varlen.available(model.heads, model.head_size, device, dtype):
            return VarlenRunner(model, pooling, device)
        if model is not None and device.type == "cpu":
            return PackedRunner(model, pooling)
    return PaddedRunner(load_model(base.folder, top_layer, device, dtype, adapter), pooling, device, base.pad_id)

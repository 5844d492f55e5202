"""Turn texts into binary codes: load a bundle, encode.

Knows nothing of shards, stores or Beam. Names are imported when they are first used: the declarations of options need
neither NumPy nor torch, and `describe` needs no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from encoder.base import EncoderError
    from encoder.bundle import Bundle, describe
    from encoder.choices import Precision
    from encoder.encode import Codes, Encoder
    from encoder.pooling import Pooling

__all__ = ["Bundle", "Codes", "Encoder", "EncoderError", "Pooling", "describe", "load"]

_MODULES = {
    "Bundle": "encoder.bundle",
    "Codes": "encoder.encode",
    "Encoder": "encoder.encode",
    "EncoderError": "encoder.base",
    "Pooling": "encoder.pooling",
    "describe": "encoder.bundle",
}


def load(
    bundle: str | Bundle = "default",
    device: str = "auto",
    precision: Precision = "auto",
    batch_tokens: int | None = None,
) -> Encoder:
    """Load an encoder, ready to encode.

    Args:
        bundle: "default", a bundle's folder, a model's folder, a Hugging Face id, or a `Bundle`.
        device: "auto", "cpu", "cuda", "cuda:N" or "mps".
        precision: "auto", "float32" or "bfloat16"; auto is bfloat16 where the processor supports it natively.
        batch_tokens: padded tokens in one forward pass; None takes a number that suits the device.

    Raises:
        EncoderError: the bundle is unknown, its base model differs from the one it was pinned to, or the device or
            precision is not available.
    """
    from encoder.bundle import Bundle, describe
    from encoder.encode import Encoder

    if not isinstance(bundle, Bundle):
        bundle = describe(bundle)
    return Encoder(bundle, device=device, precision=precision, batch_tokens=batch_tokens)


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(importlib.import_module(_MODULES[name]), name)
    if name in ("base", "bundle", "pooling"):
        return importlib.import_module(f"encoder.{name}")
    raise AttributeError(f"module 'encoder' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__

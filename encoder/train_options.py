"""Declare how an encoder is trained, without torch, so that a command line can show the defaults."""

from __future__ import annotations

import dataclasses
from typing import Literal, get_args

from encoder.base import EncoderError

AdapterKind = Literal["lora", "full"]


@dataclasses.dataclass(frozen=True)
class TrainOptions:
    """Say how an encoder is trained. What cannot be decided here (pooling, bits) is an argument of `train`.

    The heart of it is not to forget: what tasks far from the training tasks need. Three things here hold on to it:
    `average`, which undoes most of the forgetting and little of the learning; `keep`, above all with unlabelled texts of
    the kind that is to be coded; and moving little (`adapter="lora"`, few `train_layers`, a small `learning_rate`).

    Attributes:
        adapter: "lora" learns low-rank products beside the weights of linear layers, small on disk; "full" moves all
            parameters of the trained layers, and learns more of the training tasks. Embeddings never move.
        rank: of the low-rank products, 16 where nothing is asked for. With "full" the differences are kept whole, or cut
            to this rank after training where one is given.
        train_layers: so many layers move, counted down from the highest that is pooled; None: all. Fewer train faster and
            forget less: what the layers below give is what it was.
        average: share of the way from the base's weights to the trained ones that is kept, 1 for all of it (WiSE-FT).
        keep: weight of the term that holds the base model's similarities between texts; 0 leaves it out. Both this term and
            a task's loss are 1 where nothing is known, so 0.3 to 3 is the range to try.
        unlabelled_share: of a batch's texts, where there are unlabelled ones; they serve `keep` alone.
        bit_dropout: share of a code's bits that training heads do not see, so that no bit is needed.
        sampling_power: tasks are drawn by their size to this power: 0 all alike, 1 by size, 0.5 in between.
        steps: batches after the heads' own. Some 100 a task go a long way.
        head_steps: batches on which only the training heads learn, the encoder as it is. Heads that start from nothing
            push an encoder far for no good (Kumar et al., ICLR 2022).
        batch_texts: texts a step. `keep` compares texts within a batch: at least 32 for it.
        batch_tokens: padded tokens of one forward and backward pass; a larger batch is passed in several. Only memory.
        train_tokens: longer texts are cut here in training, whatever the bundle reads later. Time grows with it.
        learning_rate: of the encoder and the projection; None takes 3e-4 for "lora", 5e-5 for "full".
        head_learning_rate: of the training heads.
        weight_decay: of the training heads.
        warmup_share: share of `steps` on which the rate rises; after it it falls to zero in a line.
        dropout: in the encoder's layers while training.
        gradient_norm: gradients are clipped to this norm.
        eval_steps: steps between validations.
        eval_rows: most rows of a validation split that are looked at, the same ones each time.
        patience: validations without a better mean score until training stops; 0: never.
        checkpoint_steps: steps between checkpoints.
        seed: of everything that is drawn.
    """

    adapter: AdapterKind = "lora"
    rank: int | None = None
    train_layers: int | None = None
    average: float = 0.5
    keep: float = 1.0
    unlabelled_share: float = 0.25
    bit_dropout: float = 0.1
    sampling_power: float = 0.5
    steps: int = 1200
    head_steps: int = 100
    batch_texts: int = 64
    batch_tokens: int = 8192
    train_tokens: int = 128
    learning_rate: float | None = None
    head_learning_rate: float = 5e-3
    weight_decay: float = 0.01
    warmup_share: float = 0.1
    dropout: float = 0.1
    gradient_norm: float = 1.0
    eval_steps: int = 200
    eval_rows: int = 250
    patience: int = 3
    checkpoint_steps: int = 100
    seed: int = 0

    def __post_init__(self) -> None:
        if self.adapter not in get_args(AdapterKind):
            raise EncoderError(f"unknown adapter {self.adapter!r}; choose from {', '.join(get_args(AdapterKind))}")
        for name in ("average", "unlabelled_share", "bit_dropout", "warmup_share", "dropout"):
            value, below = getattr(self, name), name in ("unlabelled_share", "bit_dropout", "dropout")
            if not 0 <= value <= 1 or (below and value == 1):
                raise EncoderError(f"{name} must be at least 0 and {'below' if below else 'at most'} 1, not {value}")
        if self.average == 0:
            raise EncoderError("average 0 would throw away all that is learned; make-encoder makes that encoder")
        for name in ("keep", "sampling_power", "head_steps", "weight_decay", "patience", "seed"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise EncoderError(f"{name} must not be negative, but is {getattr(self, name)}")
        for name in ("steps", "eval_steps", "eval_rows", "checkpoint_steps", "batch_tokens"):
            if getattr(self, name) < 1:
                raise EncoderError(f"{name} must be at least 1, not {getattr(self, name)}")
        for name, least in (("batch_texts", 2), ("train_tokens", 8)):
            if getattr(self, name) < least:
                raise EncoderError(f"{name} must be at least {least}, not {getattr(self, name)}")
        for name in ("rank", "train_layers", "learning_rate", "head_learning_rate", "gradient_norm"):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise EncoderError(f"{name} must be above 0, not {value}")

    @property
    def encoder_learning_rate(self) -> float:
        """Return the encoder's learning rate, by the kind of adapter where none was asked for."""
        return self.learning_rate or {"lora": 3e-4, "full": 5e-5}[self.adapter]

    @property
    def all_steps(self) -> int:
        """Return the number of batches in all."""
        return self.head_steps + self.steps

    def rate(self, step: int) -> float:
        """Return what the encoder's learning rate is multiplied with at `step`, counted from 0 over all batches."""
        if step < self.head_steps:
            return 0.0
        step -= self.head_steps
        warmup = round(self.warmup_share * self.steps)
        if step < warmup:
            return (step + 1) / (warmup + 1)
        return (self.steps - step) / max(1, self.steps - warmup)

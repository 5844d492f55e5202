"""Declare how an encoder is trained, without torch, so that a command line can show the defaults."""

from __future__ import annotations

import dataclasses

from encoder.base import EncoderError

MOST_LEARNING_RATE = 1e30  # float32 holds a step of it


@dataclasses.dataclass(frozen=True)
class TrainOptions:
    """Say how an encoder is trained. What cannot be decided here (pooling, bits) is an argument of `train`.

    The heart of it is not to forget: what tasks far from the training tasks need. Two terms hold on to it, `keep` and
    `rebuild`, above all with unlabelled texts of the kind that is to be coded; so does moving little (few `train_layers`, few
    `steps`, a small `learning_rate`). The defaults are what did best of what was measured (docs/training.md).

    Attributes:
        rank: each matrix's difference to the base model is reduced to this rank after training. 128 keeps 93 % of the squared
            differences of all-MiniLM-L6-v2 in half the bytes; the width of the model and more keeps all.
        train_layers: so many layers move, with all their parameters, counted down from the highest that is pooled; None: down
            to the lowest pooled.
            Fewer train faster and forget less: what the layers below give is what it was. Embeddings never move.
        keep: weight of the term that holds the base model's similarities between texts; 0 leaves it out. This term, `rebuild`
            and a task's loss are 1 where nothing is known, so 0.3 to 3 is the range to try.
        rebuild: weight of the term that lets a linear decoder of the bits rebuild the features of the base model's highest
            pooled layer; 0 leaves it out.
        unlabelled_share: of a batch's texts, where there are unlabelled ones; they serve `keep` and `rebuild` alone.
        sampling_power: tasks are drawn by their size to this power: 0 all alike, 1 by size, 0.5 in between.
        steps: batches in all. Training heads start where they fit the bits of the encoder as it is.
        batch_texts: texts a step. `keep` compares texts with each other: at least 32 for it.
        batch_tokens: padded tokens of one forward and backward pass; a larger batch is passed in several, of as many texts
            each. It bounds memory; `keep` compares the texts of one pass, so with it a pass must hold 16 of `train_tokens`.
        train_tokens: longer texts are cut here in training, whatever the bundle reads later. Time grows with it.
        learning_rate: of the encoder and the projection.
        head_learning_rate: of the training heads and the decoder, for signs scaled by bits ** -0.5; at 1,152 bits the
            default is 2e-4 on plain signs.
        weight_decay: of the training heads.
        warmup_share: share of `steps` on which the rate rises; after it it falls to zero in a line.
        dropout: in the encoder's layers while training.
        gradient_norm: the encoder's gradients are clipped to this norm.
        eval_steps: steps between validations.
        eval_rows: most rows of a validation split that are looked at, the same ones each time.
        patience: validations without a better mean score until training stops; 0: never. The default steps hold four
            validations: there it ends nothing early, and the best of the four is kept.
        checkpoint_steps: steps between checkpoints.
        seed: of everything that is drawn.
    """

    rank: int = 128
    train_layers: int | None = None
    keep: float = 0.6
    rebuild: float = 0.6
    unlabelled_share: float = 0.15
    sampling_power: float = 0.0
    steps: int = 1000
    batch_texts: int = 32
    batch_tokens: int = 8192
    train_tokens: int = 128
    learning_rate: float = 3e-4
    head_learning_rate: float = 6.8e-3
    weight_decay: float = 0.0
    warmup_share: float = 0.1
    dropout: float = 0.0
    gradient_norm: float = 1.0
    eval_steps: int = 250
    eval_rows: int = 250
    patience: int = 3
    checkpoint_steps: int = 50
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("unlabelled_share", "warmup_share", "dropout"):
            value, below = getattr(self, name), name in ("unlabelled_share", "dropout")
            if not 0 <= value <= 1 or (below and value == 1):
                raise EncoderError(f"{name} must be at least 0 and {'below' if below else 'at most'} 1, not {value}")
        for name in ("keep", "rebuild", "sampling_power", "weight_decay", "patience", "seed"):
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
        if max(self.learning_rate, self.head_learning_rate) > MOST_LEARNING_RATE:
            raise EncoderError(f"learning_rate and head_learning_rate must be at most {MOST_LEARNING_RATE:g}")
        if self.seed >= 2**63:
            raise EncoderError(f"seed must be below 2**63, not {self.seed}")

    def rate(self, step: int) -> float:
        """Return the factor of the learning rates at `step`, counted from 0: it rises, then falls to zero in a line."""
        warmup = round(self.warmup_share * self.steps)
        if step < warmup:
            return (step + 1) / (warmup + 1)
        return (self.steps - step) / max(1, self.steps - warmup)

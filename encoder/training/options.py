"""The options of training an encoder. Needs no torch, so that a command line can show the defaults."""

from __future__ import annotations

import dataclasses

from encoder.base import EncoderError
from encoder.declare import check, option

MAX_LEARNING_RATE = 1e30  # float32 represents a step of it


@dataclasses.dataclass(frozen=True)
class TrainOptions:
    """Options of training an encoder. What cannot be decided here (pooling, bits) is an argument of `train`.

    The encoder must not forget what tasks unlike the training tasks need. The terms of `similarity_weight` and
    `reconstruction_weight` regularise towards the base model, best with unlabelled texts like those to be encoded; so do few
    `train_layers`, few `steps` and a small `learning_rate`. The defaults are the best of what was measured
    (docs/training.md). Embeddings are never trained.
    """

    # Rank 128 keeps 93 % of the squared differences of all-MiniLM-L6-v2 in half the bytes. The model's width keeps all.
    rank: int = option(
        128, metavar="N", above=0, help="rank that the weight differences are truncated to after training"
    )
    # Fewer layers train faster and forget less.
    train_layers: int | None = option(
        None,
        metavar="N",
        above=0,
        default_text="down to the lowest pooled layer",
        help="number of layers to train, counted down from the highest pooled layer",
    )
    # Each term is divided by its value without information, as a task's loss is: 0.3 to 3 is the range to try.
    similarity_weight: float = option(
        0.6,
        metavar="WEIGHT",
        minimum=0,
        help="weight of the loss that keeps the base model's similarities between texts; 0 disables it",
    )
    reconstruction_weight: float = option(
        0.6,
        metavar="WEIGHT",
        minimum=0,
        help="weight of the loss of reconstructing the base model's highest pooled layer from the bits; 0 disables it",
    )
    unlabelled_share: float = option(
        0.15,
        metavar="SHARE",
        minimum=0,
        below=1,
        help="share of unlabelled texts in a batch, if there are --unlabelled files",
    )
    sampling_power: float = option(
        0.0,
        metavar="POWER",
        minimum=0,
        help="tasks are sampled in proportion to their size to this power: 0 uniformly, 1 by size",
    )
    steps: int = option(1000, metavar="N", minimum=1, help="number of batches on which the encoder is trained")
    batch_texts: int = option(
        32, metavar="N", minimum=2, help="number of texts of a batch; the similarity loss needs at least 32"
    )
    # Bounds memory. A larger batch takes several passes of as many texts each.
    batch_tokens: int = option(
        8192,
        metavar="N",
        minimum=1,
        help="number of tokens of a pass, padding included; the similarity loss compares the texts of one pass, which "
        "must hold 16 texts of --train_tokens",
    )
    train_tokens: int = option(
        128,
        metavar="N",
        minimum=8,
        help="longer texts are truncated to this many tokens in training, whatever the bundle reads later",
    )
    learning_rate: float = option(3e-4, metavar="RATE", above=0, help="learning rate of the encoder and the projection")
    # For signs scaled by bits ** -0.5; at 1,152 bits the default is 2e-4 on plain signs.
    head_learning_rate: float = option(
        6.8e-3, metavar="RATE", above=0, help="learning rate of the training heads and of the decoder"
    )
    weight_decay: float = option(0.0, metavar="DECAY", minimum=0, help="weight decay of the training heads")
    warmup_share: float = option(
        0.1,
        metavar="SHARE",
        minimum=0,
        maximum=1,
        help="share of --steps on which the learning rate rises; after them it falls linearly to zero",
    )
    dropout: float = option(0.0, metavar="SHARE", minimum=0, below=1, help="dropout in the layers that are trained")
    gradient_norm: float = option(
        1.0, metavar="NORM", above=0, help="maximum norm of the encoder's gradient; a larger one is scaled down"
    )
    eval_steps: int = option(250, metavar="N", minimum=1, help="number of steps between validations")
    eval_rows: int = option(
        250,
        metavar="N",
        minimum=1,
        help="maximum number of validation rows of a task, the same ones at each validation",
    )
    # The default steps hold four validations: there it ends nothing early, and the best of the four is kept.
    patience: int = option(
        3,
        metavar="N",
        minimum=0,
        help="number of validations without a better mean score after which training stops; 0: never",
    )
    checkpoint_steps: int = option(50, metavar="N", minimum=1, help="number of steps between checkpoints")
    seed: int = option(0, metavar="N", minimum=0, help="seed of everything that is drawn at random")

    def __post_init__(self) -> None:
        check(self, EncoderError)
        if max(self.learning_rate, self.head_learning_rate) > MAX_LEARNING_RATE:
            raise EncoderError(f"learning_rate and head_learning_rate must be at most {MAX_LEARNING_RATE:g}")
        if self.seed >= 2**63:
            raise EncoderError(f"seed must be below 2**63, not {self.seed}")

    def rate(self, step: int) -> float:
        """Return the factor of the learning rates at `step`, counted from 0: it rises, then falls to zero in a line."""
        warmup = round(self.warmup_share * self.steps)
        if step < warmup:
            return (step + 1) / (warmup + 1)
        return (self.steps - step) / max(1, self.steps - warmup)

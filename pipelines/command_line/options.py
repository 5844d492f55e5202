"""Declare the options of the commands that read and write stores, and make their command lines."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from encoder.declare import OptionError, check, like, option
from pipelines.command_line.config import add_common_options, expand_config
from pipelines.command_line.parser import Parser, add_fields, from_arguments, values_of
from transforms.options import CutRules, EncodeOptions, ReadOptions

__all__ = [
    "ALL_HEADS",
    "NO_HEADS",
    "AnnotateOptions",
    "OptionError",
    "PruneOptions",
    "StatusOptions",
    "VerifyOptions",
    "annotate_parser",
    "parse_annotate",
    "parse_prune",
    "parse_status",
    "parse_verify",
    "prune_parser",
    "status_parser",
    "verify_parser",
]

ALL_HEADS = "all"
NO_HEADS = "none"
_BEAM_EPILOG = (
    "Unrecognised options are passed to Beam: --runner (default FnApiRunner), --direct_num_workers, --direct_running_mode, "
    "--flink_master, --project, --region, --temp_location, ..."
)


@dataclasses.dataclass(frozen=True)
class AnnotateOptions:
    """Options of annotate, encode and label.

    Attributes:
        reading: how shards are read.
        encoding: on what device texts are encoded.
        cut_rules: values of `CutRules` that were asked for; the others are the store's, or the defaults of a new store.
        beam_args: options that are Beam's.
    """

    store: str = option(metavar="DIR", kind="path", help="output folder; it is created if it does not exist")
    input: tuple[str, ...] = option(
        (),
        metavar="PATTERN",
        kind="path",
        help="shards: files, patterns with * and **, or folders (the files directly in them, except those named _* or .*); "
        ".txt .jsonl .csv .tsv, alone or with .gz .zst .bz2 .xz, .parquet and .arrow",
    )
    encoder: str = option(
        "default",
        metavar="ENCODER",
        kind="path",
        suggestions=("default",),
        help="default (the bundled encoder), the folder of a bundle or model, a Hugging Face id, or the first six or more "
        "digits of a fingerprint in the store",
    )
    heads: tuple[str, ...] = option(
        (ALL_HEADS,),
        metavar="HEAD",
        kind="path",
        suggestions=(ALL_HEADS, NO_HEADS),
        help="names of bundled heads, or folders of other heads; all selects every bundled head, none no head",
    )
    reading: ReadOptions = dataclasses.field(default_factory=ReadOptions)
    encoding: EncodeOptions = dataclasses.field(default_factory=EncodeOptions)
    cut_rules: Mapping[str, int] = dataclasses.field(default_factory=dict)
    max_reject_share: float = option(
        0.1,
        metavar="SHARE",
        minimum=0,
        maximum=1,
        help="a larger share of rejected rows ends the run with exit code 4; everything written is kept",
    )
    input_root: str | None = option(
        None,
        metavar="DIR",
        kind="path",
        default_text="that of the store; for a new store, the folder that all patterns share",
        help="folder that the paths of the shards are relative to",
    )
    limit: int | None = option(
        None,
        metavar="N",
        minimum=1,
        default_text="all rows",
        help="try first: read only the first N rows, in the order of the paths, into a --store of their own",
    )
    sample: float | None = option(
        None,
        metavar="SHARE",
        above=0,
        maximum=1,
        default_text="all units",
        help="try first: process about this share of the units, always the same ones; a run without it does the others",
    )
    prune: bool = option(False, help="after the run, remove shards whose files are gone, and labels of earlier heads")
    dry_run: bool = option(
        False, help="print what the run would do, with its time and size from a measurement of some seconds, and stop"
    )
    measure: bool = option(True, help="with --dry_run, estimate no time and size: the encoder is not loaded then")
    progress: bool = option(True, help="show no progress bar")
    beam_args: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        from transforms.filesystem import files

        check(self)
        CutRules(**self.cut_rules)
        object.__setattr__(self, "store", files.absolute(self.store))
        if self.limit is not None and self.sample is not None:
            raise OptionError(
                "--limit and --sample cannot be combined: one reads the first rows, the other whole units"
            )
        if len(set(self.heads)) > 1 and NO_HEADS in self.heads:
            raise OptionError(f"--heads takes heads or {NO_HEADS}, not both: {' '.join(self.heads)}")


@dataclasses.dataclass(frozen=True)
class StatusOptions:
    """Options of status; `beam_args` are Beam's."""

    store: str = like(AnnotateOptions, "store", help="the store")
    input_root: str | None = like(
        AnnotateOptions,
        "input_root",
        default_text="that of the store",
        help="folder that the paths of the shards are relative to now",
    )
    json: bool = option(False, help="print the status as JSON, a list of folders")
    beam_args: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check(self)


@dataclasses.dataclass(frozen=True)
class VerifyOptions:
    """Options of verify; `beam_args` are Beam's."""

    store: str = like(AnnotateOptions, "store", help="the store")
    input: tuple[str, ...] = like(
        AnnotateOptions,
        "input",
        help="shards to read again, to check that every row was coded or rejected; patterns as for annotate",
    )
    reading: ReadOptions = dataclasses.field(default_factory=ReadOptions)
    input_root: str | None = like(StatusOptions, "input_root")
    encoder: str | None = like(
        AnnotateOptions,
        "encoder",
        default=None,
        default_text="every encoder of the store",
        help="compare the shards with the codes of this encoder only",
    )
    beam_args: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check(self)


@dataclasses.dataclass(frozen=True)
class PruneOptions:
    """Options of prune; `beam_args` are Beam's."""

    store: str = like(AnnotateOptions, "store", help="the store")
    input: tuple[str, ...] = like(
        AnnotateOptions, "input", help="also remove shards that these patterns would match but whose files are gone"
    )
    input_root: str | None = like(StatusOptions, "input_root")
    yes: bool = option(False, help="remove shards even if they hold more than 20 % of the documents")
    dry_run: bool = option(False, help="print what would be removed, and stop")
    beam_args: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check(self)
        if self.dry_run and self.yes:
            raise OptionError("--dry_run and --yes cannot be combined: a dry run removes nothing")


_DESCRIPTIONS = {
    "annotate": "Encode every new document once and label it with every head. Only what the store lacks is computed.",
    "encode": "Encode every new document once, without labels: the half of annotate that benefits from a GPU.",
    "label": "Label the codes in a store: the half of annotate that needs neither a GPU nor the text.",
}
_EXAMPLES = {
    "annotate": (
        "encode-once annotate --input 'corpus/*.txt' --store my-store",
        "encode-once annotate --input 'corpus/*.jsonl.gz' --store my-store --text_field body --id_field id --heads topic mine",
        "encode-once annotate --input 'gs://bucket/*.parquet' --store gs://bucket/store --runner DataflowRunner "
        "--project my-project --region europe-west1 --temp_location gs://bucket/tmp",
    ),
    "encode": ("encode-once encode --input 'corpus/*.parquet' --store my-store --device cuda",),
    "label": ("encode-once label --store my-store --heads topic sentiment my-head",),
}


def annotate_parser(command: str = "annotate") -> Parser:
    """Make the parser of annotate, encode or label."""
    parser = Parser(f"encode-once {command}", _DESCRIPTIONS[command], _EXAMPLES[command], _BEAM_EPILOG)
    group = parser.add_argument_group
    data = group("input and output")
    if command == "label":
        add_fields(data, AnnotateOptions, "store", help="the store")
    else:
        add_fields(data, AnnotateOptions, "input", required=True)
        add_fields(data, AnnotateOptions, "store")
        add_fields(data, ReadOptions)
        add_fields(data, AnnotateOptions, "max_reject_share", "input_root")
    heads = () if command == "encode" else ("heads",)
    add_fields(group("encoder and heads" if heads else "encoder"), AnnotateOptions, "encoder", *heads)
    if command != "label":
        add_fields(group("speed"), EncodeOptions)
        add_fields(group("units, blocks and files, fixed when the store is created"), CutRules, default=None)
    trial = ("sample",) if command == "label" else ("limit", "sample")
    prune = ("prune",) if command == "annotate" else ()
    add_fields(group("running"), AnnotateOptions, *trial, *prune, "dry_run", "measure", "progress")
    return add_common_options(parser)


def encode_parser() -> Parser:
    """Make the parser of encode."""
    return annotate_parser("encode")


def label_parser() -> Parser:
    """Make the parser of label."""
    return annotate_parser("label")


def parse_annotate(argv: Sequence[str], command: str) -> AnnotateOptions:
    """Parse the arguments of annotate, encode or label; unrecognised ones are Beam's.

    Raises:
        OptionError: names the first option whose value is not valid, and the valid values.
    """
    parser = annotate_parser(command)
    argv = expand_config(argv, parser)
    # --dry_run=VALUE is an option of Dataflow's runner; ours takes no value.
    ours = [argument for argument in argv if not argument.startswith("--dry_run=")]
    theirs = [argument for argument in argv if argument.startswith("--dry_run=")]
    known, beam_args = parser.parse_known_args(ours)
    if command == "encode":
        known.heads = (NO_HEADS,)
    rules = {name: value for name, value in values_of(CutRules, known).items() if value is not None}
    return from_arguments(AnnotateOptions, known, cut_rules=rules, beam_args=(*beam_args, *theirs))


def status_parser() -> Parser:
    """Make the parser of status."""
    description = "Print what a store holds, what is incomplete and what is stale."
    parser = Parser("encode-once status", description, ("encode-once status --store my-store",), _BEAM_EPILOG)
    add_fields(parser, StatusOptions)
    return add_common_options(parser)


def parse_status(argv: Sequence[str]) -> StatusOptions:
    """Parse the arguments of status; unrecognised ones are Beam's."""
    parser = status_parser()
    known, beam_args = parser.parse_known_args(expand_config(argv, parser))
    return from_arguments(StatusOptions, known, beam_args=tuple(beam_args))


def verify_parser() -> Parser:
    """Make the parser of verify."""
    examples = (
        "encode-once verify --store my-store",
        "encode-once verify --store my-store --input 'corpus/*.jsonl.gz' --text_field body --id_field id",
    )
    description = "Read a whole store and check that it is complete and undamaged; exit code 1 if it is not."
    parser = Parser("encode-once verify", description, examples, _BEAM_EPILOG)
    add_fields(parser, VerifyOptions)
    add_fields(parser.add_argument_group("reading --input, with the options of annotate"), ReadOptions)
    return add_common_options(parser)


def parse_verify(argv: Sequence[str]) -> VerifyOptions:
    """Parse the arguments of verify; unrecognised ones are Beam's."""
    parser = verify_parser()
    known, beam_args = parser.parse_known_args(expand_config(argv, parser))
    return from_arguments(VerifyOptions, known, beam_args=tuple(beam_args))


def prune_parser() -> Parser:
    """Make the parser of prune."""
    description = (
        "Remove from a store what is no longer needed: labels of earlier heads, leftover parts, and with --input, shards "
        "that are gone."
    )
    examples = (
        "encode-once prune --store my-store",
        "encode-once prune --store my-store --input 'corpus/*.jsonl.gz' --dry_run",
    )
    parser = Parser("encode-once prune", description, examples, _BEAM_EPILOG)
    add_fields(parser, PruneOptions)
    return add_common_options(parser)


def parse_prune(argv: Sequence[str]) -> PruneOptions:
    """Parse the arguments of prune; unrecognised ones are Beam's."""
    parser = prune_parser()
    known, beam_args = parser.parse_known_args(expand_config(argv, parser))
    return from_arguments(PruneOptions, known, beam_args=tuple(beam_args))

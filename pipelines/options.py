"""Declare the options of the programs: dataclasses that validate, and the command-line arguments that fill them."""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import os
import re
from collections.abc import Sequence
from typing import NoReturn

from transforms.filesystem import files

FORMATS = ("auto", "text", "jsonl", "csv", "tsv", "parquet")
ALL_HEADS = "all"
NO_HEADS = "none"


class OptionError(ValueError):
    """Say which option is wrong."""


def check_path(option: str, path: str | None) -> None:
    """Raise OptionError for an empty path, which is what a shell makes of a variable that is not set; None is no path."""
    if path is not None and not path.strip():
        raise OptionError(f"{option} is empty; is a variable of the shell not set?")


def count(text: str) -> int:
    """Read a number of things, for argparse."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"must be a whole number, 0 or more, not {text!r}")
    return int(text)


def local_path(text: str) -> str:
    """Read a path of this machine, for argparse; the shell expands no `~` after a `=`."""
    if not files.is_local(text):
        raise argparse.ArgumentTypeError(f"{text} is not on this machine; only shards and stores may lie elsewhere")
    return os.path.expanduser(text)


class _Store(argparse._StoreAction):
    """Store a value; files and names of a list that is given twice are added, not replaced: `--input a --input b` is both."""

    def __call__(self, parser, namespace, values, option_string=None) -> None:
        before = getattr(namespace, self.dest)
        is_list = self.nargs == "+" and self.type in (None, local_path) and not self.choices
        if is_list and before is not None and before is not self.default:
            values = [*before, *values]
        setattr(namespace, self.dest, values)


class Parser(argparse.ArgumentParser):
    """Parse arguments as every program here does: no abbreviations, defaults shown in the help, typos answered."""

    def __init__(self, prog: str, description: str, epilog: str | None = None) -> None:
        super().__init__(
            prog=prog,
            description=description,
            epilog=epilog,
            allow_abbrev=False,
            formatter_class=lambda prog: _Formatter(prog, max_help_position=32, width=110),
        )
        self.register("action", None, _Store)
        self.register("action", "store", _Store)

    def error(self, message: str) -> NoReturn:
        """Say what is wrong, with the option that was meant where one is close, and exit with 2."""
        if unknown := re.match(r"unrecognized arguments: (--[^\s=]+)", message):
            close = difflib.get_close_matches(unknown[1], self._option_string_actions, 1, 0.8)
            hint = f"did you mean {close[0]}?" if close else f"{self.prog} --help lists the options"
            self.exit(2, f"{self.prog}: error: unknown option {unknown[1]!r}; {hint}\n")
        super().error(message)


class _Formatter(argparse.HelpFormatter):
    """Add defaults to the help as they would be typed; none where there is nothing to type."""

    def _get_help_string(self, action: argparse.Action) -> str:
        default = " ".join(map(str, action.default)) if isinstance(action.default, (list, tuple)) else action.default
        about = action.help or ""
        if not action.option_strings or default in (None, "", argparse.SUPPRESS) or default is False:
            return about
        return f"{about} (default: {str(default).replace('%', '%%')})"


BEAM_EPILOG = (
    "Beam's own options pass through: --runner (default FnApiRunner), --direct_num_workers, --direct_running_mode, "
    "--flink_master, --project, --region, --temp_location, ..."
)


@dataclasses.dataclass(frozen=True)
class AnnotateOptions:
    """Say what annotate, encode and label do.

    Attributes:
        store: the output folder. Keep one store for one corpus, for years.
        input: patterns of shards; empty for label, which reads stored codes.
        encoder: "default", a bundle's folder, a model's folder, a Hugging Face id, or the fingerprint's beginning of an
            encoder the store has.
        heads: bundled tasks' names and folders of heads; "all" stands for the bundled ones, ("none",) for none.
        max_reject_share: a larger share of rejected rows ends the run with exit code 4; everything is kept.
        beam_args: options that are Beam's.
    """

    store: str
    input: tuple[str, ...] = ()
    encoder: str = "default"
    heads: tuple[str, ...] = (ALL_HEADS,)
    format: str = "auto"
    text_field: str = "text"
    id_field: str | None = None
    max_text_bytes: int = 1 << 20
    max_reject_share: float = 0.1
    input_root: str | None = None
    device: str = "auto"
    precision: str = "auto"
    batch_tokens: int | None = None
    threads: int | None = None
    accelerator: str = ""
    unit_bytes: int | None = None
    block_rows: int | None = None
    block_text_bytes: int | None = None
    file_bytes: int | None = None
    part_seconds: float = 1.0
    prune: bool = False
    dry_run: bool = False
    progress: bool = True
    beam_args: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_path("--store", self.store)
        for pattern in self.input:
            check_path("--input", pattern)
        check_path("--input_root", self.input_root)
        object.__setattr__(self, "store", files.absolute(self.store))
        if not 0 <= self.max_reject_share <= 1:
            raise OptionError(f"--max_reject_share must lie between 0 and 1, not {self.max_reject_share}")
        for name in (
            "max_text_bytes",
            "batch_tokens",
            "threads",
            "unit_bytes",
            "block_rows",
            "block_text_bytes",
            "file_bytes",
        ):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise OptionError(f"--{name} must be at least 1, not {value}")
        if len(set(self.heads)) > 1 and NO_HEADS in self.heads:
            raise OptionError(f"--heads takes heads or {NO_HEADS}, not both: {' '.join(self.heads)}")


def annotate_parser(command: str) -> Parser:
    """Make the parser of annotate, encode or label."""
    descriptions = {
        "annotate": "Encode every new document once, label it with every head; what is in the store is not done again.",
        "encode": "Encode every new document once, without labels (the half that wants a GPU).",
        "label": "Label the codes in a store (the half that needs neither a GPU nor the text).",
    }
    parser = Parser(f"encode-once {command}", descriptions[command], BEAM_EPILOG)
    data = parser.add_argument_group("data")
    if command != "label":
        data.add_argument(
            "--input",
            nargs="+",
            required=True,
            metavar="PATTERN",
            help="shards: files, patterns with * and **, folders (the files directly in them, but none named _* or .*); "
            ".txt .jsonl .csv .tsv (or these with .gz .zst .bz2 .xz), .parquet",
        )
    store = "the store" if command == "label" else "output folder; made where it is missing"
    data.add_argument("--store", required=True, metavar="DIR", help=store)
    if command != "label":
        data.add_argument(
            "--format",
            choices=FORMATS,
            default="auto",
            help="what shards hold; auto goes by the endings of their names: text, where it knows the ending for nothing else",
        )
        add_shared(data, "text_field")
        data.add_argument("--id_field", metavar="F", help="field or column with the id; default: path and position")
        data.add_argument("--max_text_bytes", type=int, default=1 << 20, metavar="N", help="longer texts are cut here")
        data.add_argument(
            "--max_reject_share",
            type=float,
            default=0.1,
            metavar="SHARE",
            help="a larger share of rejected rows ends the run with exit code 4",
        )
        data.add_argument(
            "--input_root",
            metavar="DIR",
            help="folder the shards' names are relative to; default: the store's; of a new one what all patterns share",
        )
    models = parser.add_argument_group("encoder and heads")
    models.add_argument(
        "--encoder",
        default="default",
        metavar="E",
        help="default, a bundle's folder, a model's folder, a Hugging Face id, or the beginning of a fingerprint in the store",
    )
    if command != "encode":
        models.add_argument(
            "--heads",
            nargs="+",
            default=[ALL_HEADS],
            metavar="H",
            help="bundled heads by name and folders of others; all: every bundled head, also beside others; none",
        )
    if command != "label":
        speed = parser.add_argument_group("speed")
        add_shared(speed, "device", "precision")
        speed.add_argument(
            "--batch_tokens", type=int, metavar="N", help="tokens a forward pass, padding included; default: by device"
        )
        speed.add_argument(
            "--threads", type=int, metavar="N", help="CPU threads a worker; default: cores / local workers"
        )
        speed.add_argument(
            "--accelerator", default="", metavar="HINT", help="Beam's accelerator hint for the encoding stage"
        )
        speed.add_argument(
            "--part_seconds",
            type=float,
            default=1.0,
            metavar="S",
            help="save a block that took at least so long to encode, so that a killed run does not encode it again",
        )
        cutting = parser.add_argument_group("cutting (fixed when the store is made)")
        cutting.add_argument(
            "--unit_bytes", type=int, metavar="N", help="bytes a worker takes at a time; a new store's: 16 MiB"
        )
        cutting.add_argument("--block_rows", type=int, metavar="N", help="most rows a block; a new store's: 4096")
        cutting.add_argument(
            "--block_text_bytes", type=int, metavar="N", help="most text a block; a new store's: 4 MiB"
        )
        cutting.add_argument(
            "--file_bytes", type=int, metavar="N", help="bytes of codes of a file; a new store's: 64 MiB"
        )
    running = parser.add_argument_group("running")
    if command == "annotate":
        running.add_argument(
            "--prune", action="store_true", help="afterwards, remove shards that are gone and labels of earlier heads"
        )
    running.add_argument("--dry_run", action="store_true", help="say what would be done, and stop")
    running.add_argument("--no_progress", action="store_true", help="no progress bar")
    return parser


def parse_annotate(argv: Sequence[str], command: str) -> AnnotateOptions:
    """Parse the arguments of annotate, encode or label; what is not theirs is Beam's."""
    # With a value, --dry_run is a runner's own option; ours has none.
    ours = [argument for argument in argv if not argument.startswith("--dry_run=")]
    theirs = [argument for argument in argv if argument.startswith("--dry_run=")]
    known, beam_args = annotate_parser(command).parse_known_args(ours)
    values = vars(known)
    values["progress"] = not values.pop("no_progress")
    if command == "encode":
        values["heads"] = (NO_HEADS,)
    for name in ("input", "heads"):
        if name in values:
            values[name] = tuple(values[name])
    return AnnotateOptions(**values, beam_args=(*beam_args, *theirs))


_SHARED = {
    "text_field": {"default": "text", "metavar": "F", "help": "field or column with the text"},
    "label_field": {"default": "label", "metavar": "F", "help": "field or column with the label"},
    "encoder": {"default": "default", "metavar": "E", "help": "the encoder whose codes the head will read"},
    "device": {"default": "auto", "help": "auto, cpu, cuda, cuda:N or mps"},
    "precision": {"default": "auto", "choices": ("auto", "float32", "bfloat16"), "help": "of the model's products"},
}


def add_shared(parser: argparse._ActionsContainer, *names: str) -> None:
    """Add options that several programs have, by name."""
    for name in names:
        parser.add_argument(f"--{name}", **_SHARED[name])


def parse_train_head(argv: Sequence[str]) -> argparse.Namespace:
    parser = Parser(
        "encode-once train-head",
        "Fit a linear head on the codes of labelled rows, calibrate it, and report what it is worth.",
    )
    parser.add_argument("--name", required=True, metavar="TASK", help="the task's name: small letters, digits, _")
    parser.add_argument(
        "--train", type=local_path, required=True, metavar="FILE", help=".parquet, .jsonl, .csv or .tsv"
    )
    parser.add_argument(
        "--validation", type=local_path, required=True, metavar="FILE", help="chooses the strength and calibrates"
    )
    parser.add_argument(
        "--test", type=local_path, metavar="FILE", help="the report is made on it; default: on the validation file"
    )
    add_shared(parser, "text_field", "label_field")
    parser.add_argument("--kind", default="single", choices=("single", "multi", "regression"), help="of labels")
    add_shared(parser, "encoder")
    parser.add_argument("--source", default="", metavar="TEXT", help="where the rows are from")
    add_shared(parser, "device", "precision")
    parser.add_argument("--output", type=local_path, required=True, metavar="DIR", help="the head's folder")
    return parser.parse_args(list(argv))

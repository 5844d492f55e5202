"""Train the bundled heads from a folder of labelled tasks, and write the table in `heads/README.md`.

python -m pipelines.models.bundled_heads --data DATA        (make heads)
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import encoder
import heads
from encoder.choices import LabelKind, Precision
from encoder.declare import OptionError, like, option
from heads import Head
from pipelines.command_line.cli import main_of
from pipelines.command_line.parser import Parser, add_fields, from_arguments
from pipelines.models.labelled import DataError, read_labelled
from pipelines.models.train_head import train_head
from transforms.options import EncodeOptions


@dataclasses.dataclass(frozen=True)
class Recipe:
    """The data of a bundled head."""

    task: str
    data: str
    kind: LabelKind
    labels_what: str


RECIPES = (
    Recipe("sentiment", "sst2", "single", "sentiment of a film review's sentence"),
    Recipe("fine_sentiment", "sst5", "single", "the same in five steps"),
    Recipe("topic", "ag_news", "single", "topic of a news item"),
    Recipe("question_type", "trec", "single", "what a question asks for"),
    Recipe("emotion", "tweet_emotion", "single", "emotion of a post"),
    Recipe("offensive", "tweet_offensive", "single", "offensive language in a post"),
    Recipe("opinion_polarity", "mpqa", "single", "polarity of a short opinion phrase"),
    Recipe("news_topics", "reuters_topics", "multi", "topics of a newswire report, none to many"),
)
SPLITS = ("train", "validation", "test")


@dataclasses.dataclass(frozen=True)
class BundledHeadsOptions:
    """Options of this program."""

    data: str = option(metavar="DIR", kind="local_path", help="folder of labelled tasks")
    tasks: tuple[str, ...] = option((), metavar="TASK", help="train only these heads")
    device: str = like(EncodeOptions, "device")
    precision: Precision = like(EncodeOptions, "precision")

    def __post_init__(self) -> None:
        known = [recipe.task for recipe in RECIPES]
        for task in self.tasks:
            if task not in known:
                raise OptionError(f"unknown --tasks {task!r}; choose from {', '.join(known)}")


def run(argv: Sequence[str]) -> list[Head]:
    """Train the bundled heads that were asked for, or all, and return all that exist afterwards."""
    options = from_arguments(BundledHeadsOptions, _parser().parse_args(list(argv)))
    wanted = [recipe for recipe in RECIPES if not options.tasks or recipe.task in options.tasks]
    folders = {recipe.task: Path(options.data, recipe.data) for recipe in wanted}
    for folder in folders.values():
        if not (folder / "info.json").is_file():
            raise DataError(f"{folder} holds no info.json; --data needs the folder of labelled tasks")
    model = encoder.load("default", options.device, options.precision)
    for recipe in wanted:
        folder = folders[recipe.task]
        info = json.loads((folder / "info.json").read_text(encoding="utf-8"))
        splits = {s: read_labelled(str(folder / f"{s}.parquet"), "text", "label", recipe.kind) for s in SPLITS}
        source = {"data": recipe.data, "from": info.get("source", ""), "labels": recipe.labels_what}
        head, report = train_head(
            model, recipe.task, recipe.kind, splits, source, classes=[label.strip() for label in info["labels"]]
        )
        head.save(heads.BUNDLED_FOLDER / recipe.task)
        print(report, flush=True)
    made = [heads.load(recipe.task) for recipe in RECIPES if recipe.task in heads.bundled()]
    readme = Path(heads.__file__).with_name("README.md")
    readme.write_text(_table(made, model), encoding="utf-8")
    return made


def _parser() -> Parser:
    parser = Parser("python -m pipelines.models.bundled_heads", "Train the heads that ship on the default encoder.")
    add_fields(parser, BundledHeadsOptions)
    return parser


def _table(made: list[Head], model: encoder.Encoder) -> str:
    """Return the text of `heads/README.md`: the bundled heads, their data and their accuracy."""
    lines = [
        "# Bundled heads",
        "",
        f"These heads read the codes of the default encoder (`{model.fingerprint[:12]}`, {model.bits} bits). `make heads` fits",
        "them and writes this page.",
        "",
        "All figures are measured on the test split, which was not used for any choice. `float` is the same model, fitted on",
        "the same features before they were binarised: the difference is the cost of the bits. ECE is the expected calibration",
        "error of the scores on bits.",
        "",
        "| task | labels | classes | data | rows (train / test) | figure | bits | float | macro F1 bits | ECE |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for head in made:
        bits, floats = head.metrics["test"], head.metrics["test_float"]
        name, key = ("micro F1", "micro_f1") if head.kind == "multi" else ("accuracy", "accuracy")
        lines.append(
            f"| `{head.task}` | {head.source['labels']} | {len(head.labels)} | {head.source['data']} | "
            f"{head.metrics['training_rows']:,} / {bits['rows']:,} | {name} | {bits[key]:.3f} | {floats[key]:.3f} | "
            f"{bits['macro_f1']:.3f} | {bits['expected_calibration_error']:.3f} |"
        )
    lines += ["", "Sources:", ""]
    lines += [f"- {head.source['data']}: {head.source['from']}" for head in made]
    lines += [
        "",
        "Limits:",
        "",
        "- `fine_sentiment` and `sentiment` were fitted on the same sentences.",
        "- `offensive` was fitted on posts that are offensive. Like every head, it reproduces the judgements and biases of the",
        "  people who labelled its data.",
        "- 27 % of the test texts of `opinion_polarity`, which are short phrases, are also training texts. Its figure is too",
        "  high.",
        "- A head labels every document, also texts that are unlike its training data.",
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main_of(run))

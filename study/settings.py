"""Settings of the study: the data, the sizes and the seeds."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from encoder.base import DEFAULT_BASE
from encoder.choices import Precision
from encoder.declare import check, option

TASKS = (
    "sst2",
    "sst5",
    "mpqa",
    "movie_reviews_long",
    "tweet_offensive",
    "tweet_hate",
    "hate_offensive",
    "trec",
    "ag_news",
    "reuters_topics",
    "tweet_emotion",
    "tweet_sentiment",
    "tweet_emoji",
)


@dataclasses.dataclass(frozen=True)
class Settings:
    """Settings of the study. The defaults suit a GPU; `for_cpu` returns those for two slow cores."""

    data: Path = option(metavar="DIR", kind="path", help="folder of labelled tasks")
    work: Path = option(metavar="DIR", kind="path", help="folder of computed results; a study continues from them")
    tasks: tuple[str, ...] = option(
        TASKS, metavar="TASK", help="names of tasks, in the order in which costs and means over T tasks add them"
    )
    unlabelled: Path | None = option(None, metavar="FILE", help="Parquet file of texts for the training of encoders")
    base: str = option(DEFAULT_BASE, metavar="MODEL", kind="path", help="base model")
    device: str = option("auto", metavar="DEVICE", help="device of all models")
    precision: Precision = option("auto", help="precision of all models")
    seeds: tuple[int, ...] = option(
        (0, 1, 2),
        metavar="N",
        help="seeds of encoders trained without a group of tasks, and of the samples of few examples",
    )
    rival_seeds: tuple[int, ...] = option(
        (0, 1, 2), metavar="N", help="seeds of fine-tuned models, students, and encoders trained on all tasks"
    )
    rival_tasks: tuple[str, ...] = option(
        TASKS, metavar="TASK", help="tasks for which fine-tuned models and students are trained"
    )
    train_rows: int = option(4000, metavar="N", help="maximum number of training rows of a task, a fixed sample")
    validation_rows: int = option(1000, metavar="N", help="maximum number of validation rows of a task, a fixed sample")
    test_rows: int = option(2000, metavar="N", help="maximum number of test rows of a task, a fixed sample")
    max_tokens: int = option(
        128, metavar="N", help="texts are truncated to this many tokens, except in the comparison of long texts"
    )
    calibrate_rows: int = option(4000, metavar="N", help="number of texts to which thresholds and rotations are fitted")
    shots: tuple[int, ...] = option(
        (16, 64, 256), metavar="N", help="numbers of examples per class of the few-shot heads"
    )
    train_steps: int | None = option(
        None,
        metavar="N",
        help="number of batches an encoder is trained on; None: the default of TrainOptions, as for the bundled encoder",
    )
    held_out_steps: int | None = option(
        None,
        metavar="N",
        help="number of batches of encoders trained without a group of tasks; None: as many as the others",
    )
    unlabelled_rows: int = option(
        8000, metavar="N", help="maximum number of unlabelled texts an encoder is trained with"
    )
    positions: tuple[str, ...] = option(
        ("cls", "mean", "max", "last", "first_4"), metavar="POOLING", help="poolings over tokens that are compared"
    )
    pooling_rows: int = option(
        2000, metavar="N", help="number of training rows of each task in the comparison of poolings"
    )
    pooling_test_rows: int = option(
        2000, metavar="N", help="number of test rows of each task in the comparison of poolings"
    )
    trained_poolings: int = option(3, metavar="N", help="number of poolings that are trained as well, best first")
    size_rows: int = option(2000, metavar="N", help="number of training rows of each task in the comparison of sizes")
    sizes: tuple[int, ...] = option(
        (128, 256, 512, 1024, 2048, 4096), metavar="N", help="numbers of bits of a code that are compared"
    )
    learned_sizes: tuple[int, ...] = option(
        (256, 1024), metavar="N", help="numbers of bits of codes whose projection is trained; each costs one encoder"
    )
    rates: tuple[float, ...] = option((3e-5, 5e-5, 1e-4), metavar="RATE", help="learning rates of fine-tuned models")
    student_rates: tuple[float, ...] = option((1e-4, 2e-4, 4e-4), metavar="RATE", help="learning rates of students")
    epochs: int = option(
        4,
        metavar="N",
        help="maximum number of epochs of fine-tuned models and students; the best one on validation is kept",
    )
    cost_documents: int = option(1024, metavar="N", help="number of documents per round of the timing")
    rounds: int = option(5, metavar="N", help="number of interleaved rounds of the timing")
    long_tasks: tuple[str, ...] = option(
        ("movie_reviews_long", "reuters_topics"),
        metavar="TASK",
        help="tasks on which windows are compared with truncation",
    )
    long_rows: int = option(
        1400, metavar="N", help="number of training and of test rows of each task in that comparison"
    )
    stability_rows: int = option(
        100, metavar="N", help="number of documents of each task that are encoded in other ways"
    )

    def __post_init__(self) -> None:
        check(self)

    def for_cpu(self) -> Settings:
        """Return settings for a CPU: fewer trained encoders and rivals, on fewer rows."""
        return dataclasses.replace(
            self,
            seeds=self.seeds[:1],
            rival_seeds=self.rival_seeds[:1],
            # reuters_topics takes as long as six other tasks.
            rival_tasks=tuple(name for name in self.rival_tasks if name != "reuters_topics"),
            train_rows=2000,
            validation_rows=500,
            held_out_steps=400,
            unlabelled_rows=4000,
            pooling_rows=500,
            pooling_test_rows=1000,
            trained_poolings=0,
            learned_sizes=(1024,),
            rates=(5e-5, 1e-4),
            epochs=3,
            cost_documents=512,
            long_rows=1000,
        )

    def quick(self) -> Settings:
        """Return tiny settings, to check that everything runs; the figures are meaningless."""
        return dataclasses.replace(
            self,
            seeds=self.seeds[:2],
            train_rows=100,
            validation_rows=60,
            test_rows=60,
            max_tokens=32,
            calibrate_rows=200,
            shots=(4, 8),
            train_steps=4,
            unlabelled_rows=64,
            positions=("mean", "first_4"),
            pooling_rows=60,
            pooling_test_rows=40,
            size_rows=60,
            sizes=(64,),
            rates=(1e-3,),
            student_rates=(1e-3,),
            rival_seeds=self.rival_seeds[:1],
            trained_poolings=0,
            learned_sizes=(),
            epochs=1,
            cost_documents=64,
            rounds=2,
            long_rows=60,
            stability_rows=10,
        )

    def decisive(self) -> dict[str, Any]:
        """Return the settings that can change a figure, as JSON values. The rows are not among them: they have a digest."""
        excluded = ("data", "work", "unlabelled", "tasks", "rival_tasks")
        return {name: value for name, value in dataclasses.asdict(self).items() if name not in excluded}

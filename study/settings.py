"""Hold what the whole study is given: where the data is, and how much of everything."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from encoder.base import DEFAULT_BASE
from encoder.forward.model import Precision

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
    """Say on what and how much to measure. The defaults suit a GPU; `on_a_processor` is what two slow cores can do.

    Attributes:
        data: folder of labelled tasks.
        work: folder of what was computed; a study goes on from what lies there.
        tasks: names of tasks, in the order in which costs and means over T tasks add them.
        unlabelled: a Parquet file of texts for the training of encoders; None: none.
        base: the base model.
        device, precision: of all that runs a model.
        seeds: of encoders trained without a group of tasks and of the draws of few examples.
        rival_seeds: of fine-tuned models and students, and of encoders trained on all tasks, as rivals are what these are for.
        rival_tasks: tasks that these are trained for.
        train_rows, validation_rows, test_rows: most rows of each split, a fixed sample.
        max_tokens: texts are cut here, but where long texts are looked at.
        calibrate_rows: texts that thresholds and rotations are fitted on.
        shots: examples a class of the few-shot heads.
        train_steps: batches an encoder is trained on; None takes the default of `TrainOptions`, as the bundled one does.
        held_out_steps: batches of encoders trained without a group of tasks; None: as many as the others.
        unlabelled_rows: most unlabelled texts an encoder is trained with.
        positions: poolings over tokens that are compared.
        pooling_rows, pooling_test_rows: rows of each task in the comparison of poolings.
        trained_poolings: how many of the poolings are trained as well, best first.
        size_rows: training rows of each task in the comparison of sizes.
        sizes: bits a code.
        learned_sizes: bits of codes whose projection is trained; each costs one encoder.
        rates: learning rates a fine-tuned model is tried with.
        student_rates: learning rates a student is tried with.
        epochs: most passes of fine-tuned models and students over their rows; the best one on validation is kept.
        cost_documents: documents a round of the timing.
        rounds: interleaved rounds of the timing.
        long_tasks: tasks on which windows are compared with truncation.
        long_rows: training and test rows of each in that comparison.
        stability_rows: documents a task encoded in other ways.
    """

    data: Path
    work: Path
    tasks: tuple[str, ...] = TASKS
    unlabelled: Path | None = None
    base: str = DEFAULT_BASE
    device: str = "auto"
    precision: Precision = "auto"
    seeds: tuple[int, ...] = (0, 1, 2)
    rival_seeds: tuple[int, ...] = (0, 1, 2)
    rival_tasks: tuple[str, ...] = TASKS
    train_rows: int = 4000
    validation_rows: int = 1000
    test_rows: int = 2000
    max_tokens: int = 128
    calibrate_rows: int = 4000
    shots: tuple[int, ...] = (16, 64, 256)
    train_steps: int | None = None
    held_out_steps: int | None = None
    unlabelled_rows: int = 8000
    positions: tuple[str, ...] = ("cls", "mean", "max", "last", "first_4")
    pooling_rows: int = 2000
    pooling_test_rows: int = 2000
    trained_poolings: int = 3
    size_rows: int = 2000
    sizes: tuple[int, ...] = (128, 256, 512, 1024, 2048, 4096)
    learned_sizes: tuple[int, ...] = (256, 1024)
    rates: tuple[float, ...] = (3e-5, 5e-5, 1e-4)
    student_rates: tuple[float, ...] = (1e-4, 2e-4, 4e-4)
    epochs: int = 4
    cost_documents: int = 1024
    rounds: int = 5
    long_tasks: tuple[str, ...] = ("movie_reviews_long", "reuters_topics")
    long_rows: int = 1400
    stability_rows: int = 100

    def on_a_processor(self) -> Settings:
        """Return the same with less of what costs most: trained encoders and rivals, on fewer rows."""
        return dataclasses.replace(
            self,
            seeds=self.seeds[:1],
            rival_seeds=self.rival_seeds[:1],
            # It takes as long as six others.
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
        """Return the same with everything so small that its figures mean nothing: to see that it runs."""
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
        """Return what can change a figure, as JSON holds it; the rows themselves have their own digest."""
        places = ("data", "work", "unlabelled", "tasks", "rival_tasks")
        return {name: value for name, value in dataclasses.asdict(self).items() if name not in places}

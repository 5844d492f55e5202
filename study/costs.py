"""Time all rivals in one interleaved run, and compute from how many tasks the shared encoder is cheaper."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from typing import Any

import numpy as np

import encoder
from benchmarks import machine
from benchmarks.harness import Contender, interleave
from benchmarks.kernel import random_head
from encoder import Encoder
from heads import HeadBank
from pipelines.models.labelled import sample_balanced
from study import encoders, tfidf
from study.cache import Step
from study.context import Study

COSTS = Step("costs", 4)
OURS = "encoder and heads"
HEAD_REPEATS = 32  # heads label a few documents in microseconds: repeat the codes


def run(study: Study) -> dict[str, Any]:
    this_machine = machine.describe()
    s = study.settings
    inputs = {"documents": s.cost_documents, "rounds": s.rounds, "max_tokens": s.max_tokens, "base": study.base_hashes}
    inputs |= {"device": s.device, "precision": s.precision, "tasks": [task.digest for task in study.tasks.values()]}
    inputs |= {
        "processor": this_machine["processor"],
        "cores": this_machine["cores"],
        "threads": this_machine["torch_threads"],
    }
    return study.cache.value(COSTS, "all", inputs, lambda: _measure(study))


def cost(model: dict[str, float], tasks: int) -> float:
    """Return the seconds per document for a number of tasks."""
    return model["shared"] + tasks * model["each"]


def cheaper_up_to(ours: dict[str, float], rival: dict[str, float]) -> int | None:
    """Return the largest number of tasks for which ours costs no more than the rival; None if there is none, or no limit."""
    if ours["each"] <= rival["each"] or cost(ours, 1) > cost(rival, 1):
        return None
    return math.floor((rival["shared"] - ours["shared"]) / (ours["each"] - rival["each"]))


def break_even(ours: dict[str, float], rival: dict[str, float]) -> int | None:
    """Return the smallest number of tasks from which ours always costs no more than the rival; None if there is none."""
    if ours["each"] >= rival["each"]:
        return None
    if cost(ours, 1) <= cost(rival, 1):
        return 1
    tasks = math.ceil((ours["shared"] - rival["shared"]) / (rival["each"] - ours["each"]))
    return tasks if cost(ours, tasks) <= cost(rival, tasks) else tasks + 1  # rounding


def models_of(seconds: dict[str, float], documents: int, tasks: int) -> dict[str, dict[str, float]]:
    """Return the seconds per document of ours and every rival, "shared" once and for "each" task, from measured times."""
    each = {name: value / documents for name, value in seconds.items()}
    head, float_head = (each[name] / HEAD_REPEATS / tasks for name in ("heads", "float heads"))
    return {
        OURS: {"shared": each["encoder"], "each": head},
        "fine-tuned": {"shared": 0.0, "each": each["fine-tuned"]},
        "student": {"shared": 0.0, "each": each["student"]},
        "sentence embedding": {"shared": each["fine-tuned"], "each": float_head},
        "TF-IDF": {"shared": 0.0, "each": each["TF-IDF"] / tasks},
    }


def verdicts(models: dict[str, dict[str, float]]) -> dict[str, dict[str, int | None]]:
    """Return for how many tasks ours is cheaper than each rival: "break_even" and "cheaper_up_to"."""
    ours = models[OURS]
    return {
        name: {"break_even": break_even(ours, model), "cheaper_up_to": cheaper_up_to(ours, model)}
        for name, model in models.items()
        if name != OURS
    }


def by_round(seconds: dict[str, list[float]], documents: int, tasks: int) -> dict[str, list[dict[str, int | None]]]:
    """Return the verdicts of each single round, by rival; they show the effect of the spread of the times."""
    rounds = [dict(zip(seconds, values)) for values in zip(*seconds.values())]
    judged = [verdicts(models_of(one, documents, tasks)) for one in rounds]
    return {name: [of_round[name] for of_round in judged] for name in judged[0]}


def _measure(study: Study) -> dict[str, Any]:
    settings = study.settings
    tasks = list(study.tasks.values())
    texts = sample_balanced([task.splits["test"].texts for task in tasks], settings.cost_documents, seed=0)
    top = study.layers[-1]
    half = tuple(range(1, max(1, top // 2) + 1))
    ours, whole, student = (
        encoder.load(encoders.frozen(study, layers, rotation="layers"), settings.device, settings.precision)
        for layers in (study.layers, (top,), (half[-1],))
    )
    bank = HeadBank([random_head(ours.bits, len(task.classes), seed) for seed, task in enumerate(tasks)])
    codes = np.tile(ours.encode(texts).bits, (HEAD_REPEATS, 1))
    vectors = np.tile(whole.features(texts), (HEAD_REPEATS, 1))
    rng = np.random.default_rng(0)
    linear = [rng.standard_normal((study.width, len(task.classes))).astype(np.float32) for task in tasks]
    pipelines = []
    for task in tasks:
        pipelines.append(tfidf.fit(task, **tfidf.measure(study, task)["recipe"]))

    def one_model(model: Encoder) -> Callable[[], Any]:
        # Rivals run on the same encoder as ours, on every device; its bits are computed and not used.
        return lambda: (model.encode(texts), (vectors[: len(texts)] @ linear[0]).argmax(1))

    contenders = [
        Contender("encoder", lambda: ours.encode(texts), lambda: ours.encode(texts[:64])),
        Contender("heads", lambda: [h.predict_from(logits) for h, logits in zip(bank.heads, bank.logits(codes))]),
        Contender("fine-tuned", one_model(whole), one_model(whole)),
        Contender("student", one_model(student), one_model(student)),
        Contender("float heads", lambda: [(vectors @ weights).argmax(1) for weights in linear]),
        Contender("TF-IDF", lambda: [pipeline.predict_proba(texts) for pipeline in pipelines]),
    ]
    timing = interleave(contenders, settings.rounds)
    if timing.absent:
        raise RuntimeError(f"the timing failed for {timing.absent}")
    medians = {name: statistics.median(values) for name, values in timing.seconds.items()}
    models = models_of(medians, len(texts), len(tasks))
    cheaper = verdicts(models)
    return {
        "ours": OURS,
        "models": models,
        "break_even": {name: verdict["break_even"] for name, verdict in cheaper.items()},
        "cheaper_up_to": {name: verdict["cheaper_up_to"] for name, verdict in cheaper.items()},
        "by_round": by_round(timing.seconds, len(texts), len(tasks)),
        "ten_over_one": cost(models[OURS], 10) / cost(models[OURS], 1),
        "documents": len(texts),
        "rounds": settings.rounds,
        "round_seconds": timing.seconds,
        "machine": f"{machine.line()}; {ours.device}, {str(ours.dtype).removeprefix('torch.')}",
    }

"""Measure the alternatives to the method: fine-tuned models, students, sentence embeddings, TF-IDF, label names."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np

from encoder.base import find
from encoder.forward.model import choose_device, choose_precision
from heads import zero_shot
from heads.calibrate import probabilities
from study import encoders, tfidf
from study.cache import Step
from study.context import Study
from study.measure import LAST_LAYER, view
from study.progress import Progress
from study.records import Record
from study.rivals_finetune import Recipe, train
from study.scoring import NO_ENCODER, figures, measure_scores
from study.tasks import Labelled

CLASSIFIER = Step("classifier", 2)
ZERO_SHOT = Step("zero-shot", 1)
FINE_TUNED, STUDENT = "fine-tuned", "student"
# Cost of one training step on a text, in forward passes.
STEP_PASSES = 3
MAX_CHARACTERS = 600  # about 128 tokens


def run(study: Study) -> dict[str, Any]:
    records = []
    for name in study.settings.tasks:
        records += [*_sentence_embedding(study, study.tasks[name]), *_zero_shot(study, study.tasks[name])]
        records.append(_record(study.tasks[name], "TF-IDF", None, tfidf.measure(study, study.tasks[name])))
        study.report(f"sentence embedding, label names and TF-IDF, {name}: measured")
    return {"records": [*records, *_trainings(study)]}


def student_layers(count: int) -> list[tuple[int, ...]]:
    """Return the sets of layers to try for a student: the first half, and every second one."""
    half = max(1, count // 2)
    return list(dict.fromkeys([tuple(range(1, half + 1)), tuple(range(1, 2 * half, 2))]))


def _trainings(study: Study) -> list[Record]:
    """Train every task's teacher and student. The first seed chooses the recipe, and further seeds repeat it."""
    settings = study.settings
    progress = Progress(study.report, _all_work(study))
    records = []
    for task in _trained_for(study).values():
        chosen: dict[str, Recipe] = {}
        for seed in settings.rival_seeds:
            teacher: tuple[Recipe, np.ndarray] | None = None
            for role in (FINE_TUNED, STUDENT):
                recipes = list(_recipes(study, role, seed))
                if role in chosen:
                    recipes = [dataclasses.replace(chosen[role], seed=seed)]
                tried = [(recipe, _classifier(study, task, role, recipe, teacher, progress)) for recipe in recipes]
                recipe, logits = max(tried, key=lambda pair: pair[1]["scores"].max())
                chosen.setdefault(role, recipe)
                epoch = int(logits["scores"].argmax()) + 1
                chosen_recipe = {"layers_kept": recipe.layers, "rate": recipe.rate, "epoch": epoch}
                records.append(_record(task, role, seed, measure_logits(task, logits) | {"recipe": chosen_recipe}))
                teacher = recipe, logits["train"]
    return records


def _trained_for(study: Study) -> dict[str, Labelled]:
    """Return the tasks that fine-tuned models and students are trained for."""
    return {name: task for name, task in study.tasks.items() if name in study.settings.rival_tasks}


def measure_logits(task: Labelled, logits: dict[str, np.ndarray]) -> dict[str, Any]:
    """Measure the logits of the splits "validation" and "test"."""
    validation, test = (probabilities(logits[split], task.kind, 1.0) for split in ("validation", "test"))
    return measure_scores(task, validation, test)


def _recipes(study: Study, role: str, seed: int) -> Iterator[Recipe]:
    settings = study.settings
    count = study.layers[-1]
    whole = [tuple(range(1, count + 1))]
    layers, rates = (whole, settings.rates) if role == FINE_TUNED else (student_layers(count), settings.student_rates)
    for kept, rate in itertools.product(layers, rates):
        yield Recipe(kept, rate, settings.epochs, seed)


def _classifier(
    study: Study,
    task: Labelled,
    role: str,
    recipe: Recipe,
    teacher: tuple[Recipe, np.ndarray] | None,
    progress: Progress,
) -> dict[str, np.ndarray]:
    settings = study.settings
    label = f"{role}-{task.name}-{recipe.seed}-{recipe.rate:g}-{'+'.join(map(str, recipe.layers))}"
    recipe_key = dataclasses.asdict(recipe)
    inputs = {"task": task.digest, "recipe": recipe_key, "base": study.base_hashes, "max_tokens": settings.max_tokens}
    inputs |= {"device": settings.device, "precision": settings.precision, "classes": task.classes}
    taught = None
    if role == STUDENT and teacher is not None:
        inputs["teacher"], taught = dataclasses.asdict(teacher[0]), teacher[1]

    def make() -> dict[str, np.ndarray]:
        device = choose_device(settings.device)
        half = choose_precision(settings.precision, device).itemsize == 2
        folder = find(settings.base).folder
        return train(folder, task, recipe, settings.max_tokens, device, half, taught)

    with progress.part(label, _work(task, recipe)):
        return study.cache.arrays(CLASSIFIER, label, inputs, make)


def _work(task: Labelled, recipe: Recipe) -> float:
    """Return the work of a training: layers times the characters that pass through them."""
    read = {name: sum(min(len(text), MAX_CHARACTERS) for text in split.texts) for name, split in task.splits.items()}
    passes = recipe.epochs * (STEP_PASSES * read["train"] + read["validation"]) + sum(read.values())
    return len(recipe.layers) * passes


def _all_work(study: Study) -> float:
    """Return the work of all trainings: every recipe with the first seed, one recipe with each further seed."""
    work = 0.0
    for task in _trained_for(study).values():
        for role in (FINE_TUNED, STUDENT):
            recipes = list(_recipes(study, role, 0))
            again = (len(study.settings.rival_seeds) - 1) * recipes[:1]
            work += sum(_work(task, recipe) for recipe in [*recipes, *again])
    return work


def _sentence_embedding(study: Study, task: Labelled) -> Iterator[Record]:
    """Measure logistic regression on the frozen base's sentence embedding."""
    key, floats = view(study, study.features(encoders.frozen(study), "frozen", task), LAST_LAYER, "floats")

    def inputs(split: str) -> np.ndarray:
        vectors = floats(split)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    measured = study.head("sentence-embedding", task, key | {"scaled": "to length one"}, inputs)
    yield _record(task, "sentence embedding", None, measured)


def _zero_shot(study: Study, task: Labelled) -> Iterator[Record]:
    """Measure a zero-shot head made from the names of the labels, if these are words."""
    if task.kind != "single" or not all(
        any("a" <= letter <= "z" for letter in label.lower()) for label in task.classes
    ):
        return
    bundle = encoders.frozen(study)
    features = study.features(bundle, "frozen", task)

    def make(unlabelled: np.ndarray | None) -> dict[str, Any]:
        parts = [study.load(bundle).features(zero_shot.prompts(label)) - bundle.thresholds for label in task.classes]
        head = zero_shot.make(
            parts, task.classes, task=task.name, encoder_fingerprint=NO_ENCODER, unlabelled=unlabelled
        )
        return figures(task, head, features.bits("test"), "test")

    measured = study.cache.value(ZERO_SHOT, task.name, features.key, lambda: make(features.bits("train")))
    yield _record(task, "label names", None, measured)
    key = features.key | {"unlabelled": None}
    yield _record(task, "label names alone", None, study.cache.value(ZERO_SHOT, task.name, key, lambda: make(None)))


def _record(task: Labelled, rival: str, seed: int | None, figures: dict[str, Any]) -> Record:
    return {"task": task.name, "rival": rival, "metric": task.metric, "seed": seed} | figures

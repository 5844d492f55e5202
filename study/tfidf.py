"""Fit and measure TF-IDF with logistic regression, using scikit-learn."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from heads.labels import to_targets
from study.cache import Step
from study.context import Study
from study.scoring import measure_scores
from study.tasks import Labelled

TFIDF = Step("tfidf", 1)
ANALYSERS = {"words": ("word", (1, 2)), "letters": ("char_wb", (2, 5))}
STRENGTHS = (1.0, 10.0, 100.0)  # scikit-learn's C


def measure(study: Study, task: Labelled) -> dict[str, Any]:
    """Measure the pipeline that is best on validation; "recipe" names its parameters."""
    return study.cache.value(TFIDF, task.name, {"task": task.digest}, lambda: _measure(task))


def fit(task: Labelled, analyser: str, strength: float) -> Any:
    """Fit a pipeline whose `predict_proba` takes texts and returns (n, classes)."""
    try:
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression
        from sklearn.multiclass import OneVsRestClassifier
        from sklearn.pipeline import make_pipeline
    except ImportError:
        raise ValueError("TF-IDF needs scikit-learn: pip install 'encode-once[bench]'") from None
    kind, spans = ANALYSERS[analyser]
    model = LogisticRegression(C=strength, max_iter=1000)
    if task.kind == "multi":
        model = OneVsRestClassifier(model)
    vectors = TfidfVectorizer(analyzer=kind, ngram_range=spans, min_df=2, sublinear_tf=True)
    split = task.splits["train"]
    return make_pipeline(vectors, model).fit(split.texts, to_targets(split.labels, task.kind, task.classes).values)


def scores(pipeline: Any, task: Labelled, texts: list[str]) -> np.ndarray:
    """Return the scores (n, classes) float32 of texts."""
    return pipeline.predict_proba(texts).astype(np.float32).reshape(len(texts), len(task.classes))


def _measure(task: Labelled) -> dict[str, Any]:
    recipes = list(itertools.product(ANALYSERS, STRENGTHS))
    validation = {}
    for recipe in recipes:
        validation[recipe] = scores(fit(task, *recipe), task, task.splits["validation"].texts)
    best = max(recipes, key=lambda recipe: measure_scores(task, validation[recipe])["validation"] or 0.0)
    test = scores(fit(task, *best), task, task.splits["test"].texts)
    return measure_scores(task, validation[best], test) | {"recipe": dict(zip(("analyser", "strength"), best))}

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import encoder
from encoder.training.options import TrainOptions
from study import encoders, pooling
from study.cache import Step
from study.context import Study


@pytest.fixture
def study(tiny_settings) -> Study:
    return Study(tiny_settings)


def test_held_out_tasks_give_no_row_and_no_text_to_the_training(study, tiny_bundle, monkeypatch):
    given = {}

    def train(base, tasks, sample, **more):
        given.update(tasks=tasks, sample=sample, unlabelled=more["unlabelled"])
        return encoder.describe(str(tiny_bundle))

    monkeypatch.setattr("encoder.training.train.train", train)
    encoders.trained(study, 0, held_out=("trec", "reuters_topics"))
    assert [task.name for task in given["tasks"]] == ["sst2"]
    own = set(study.tasks["sst2"].splits["train"].texts)
    assert set(given["sample"]) <= own
    assert not set(given["tasks"][0].train.texts) - own
    assert given["unlabelled"] == study.unlabelled


def test_frozen_features_at_hand_change_no_bit_of_what_is_trained(study, monkeypatch):
    made = encoders.trained(study, 0)
    texts = study.tasks["trec"].splits["test"].texts
    expected = study.load(made).encode(texts).bits
    monkeypatch.setattr(encoders, "_frozen_features", lambda *_: None)
    monkeypatch.setattr(encoders, "TRAINED", Step("trained-again", 1))
    assert np.mean(study.load(encoders.trained(study, 0)).encode(texts).bits != expected) < 1e-3


@pytest.mark.parametrize(("max_tokens", "given"), [(128, True), (129, False)])
def test_frozen_features_of_more_tokens_than_training_reads_are_not_taken(
    study, tiny_bundle, monkeypatch, max_tokens, given
):
    found = {}
    monkeypatch.setattr(
        "encoder.training.train.train", lambda *_, **more: found.update(more) or encoder.describe(str(tiny_bundle))
    )
    study.settings = dataclasses.replace(study.settings, max_tokens=max_tokens)
    encoders.trained(study, 0)
    assert (found["frozen_features"] is not None) is given


def test_trainings_follow_the_options_defaults(study):
    assert encoders.train_options(study, 3) == TrainOptions(seed=3, steps=4, train_layers=2)
    study.settings = dataclasses.replace(study.settings, train_steps=None)
    assert encoders.train_options(study, 3) == TrainOptions(seed=3, train_layers=2)


def test_a_pooling_cut_out_of_the_wide_features_is_that_pooling(study):
    wide = encoders.frozen(study, (1, 2, 3), ("cls", "mean", "max", "last", "first_4"))
    texts = study.tasks["sst2"].splits["test"].texts
    found = study.load(wide).features(texts)
    for layers, position in [((3,), "cls"), ((2, 3), "mean"), ((1, 2, 3), "first_4"), ((3,), "last")]:
        alone = encoders.frozen(study, layers, (position,))
        kept = pooling.columns(wide, study.width, layers, position)
        np.testing.assert_allclose(found[:, kept], study.load(alone).features(texts), atol=1e-5)
        np.testing.assert_allclose(wide.thresholds[kept], alone.thresholds, atol=1e-5)


def test_bits_and_floats_are_of_the_same_pass(study):
    bundle = encoders.frozen(study)
    task = study.tasks["trec"]
    features = study.features(bundle, "frozen", task)
    np.testing.assert_array_equal(features.bits("test"), study.load(bundle).encode(task.splits["test"].texts).bits)
    np.testing.assert_allclose(
        features.floats("test"), study.load(bundle).features(task.splits["test"].texts), rtol=1e-3, atol=1e-3
    )

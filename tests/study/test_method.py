"""Tests of the method: which rows choose, which rows are seen, what is divided by what. Each catches one error."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import encoder
from encoder.training.options import TrainOptions
from study import costs, encoders, frozen, rivals, rivals_finetune, scoring, size, stability, tfidf, trained
from study.codes import Code, as_floats
from study.context import Study
from study.measure import ALL_LAYERS, LAST_LAYER, ROTATED_BITS, view
from study.rivals_finetune import SOFT_SHARE, Recipe, loss_of
from study.tasks import few_shot, held_out_plan, label_names


@pytest.fixture
def study(tiny_settings) -> Study:
    return Study(tiny_settings)


def test_an_encoder_is_measured_on_the_tasks_it_did_not_see_as_left_out_and_on_all_as_multi_task(study, monkeypatch):
    measured = []
    monkeypatch.setattr(
        encoders,
        "trained",
        lambda study, seed, held=(): SimpleNamespace(held=held, training={"without": held, "seed": seed}),
    )
    study.settings = dataclasses.replace(study.settings, seeds=(0, 1), rival_seeds=(1, 2))
    monkeypatch.setattr(
        trained,
        "encoder_records",
        lambda study, bundle, name, tasks, fields, **_: measured.append((bundle.held, tuple(tasks), fields)) or [],
    )
    history = trained.run(study)["training"]
    tasks, plan = study.settings.tasks, held_out_plan(study.settings.tasks)
    expected = {("left out", seed): [(group, group) for group in plan] for seed in (0, 1)}
    expected |= {
        ("multi-task", seed): [((), tasks)] for seed in (1, 2)
    }  # compared with rivals, so they have their seeds
    found = {}
    for held, on, fields in measured:
        found.setdefault((fields["encoder"], fields["seed"]), []).append((held, on))
    assert found == expected
    for seed in (1, 2):
        assert history[f"multi-task, seed {seed}"] == {"without": (), "seed": seed}


def test_encoders_without_a_group_may_be_trained_shorter_and_others_as_train_encoder_does(
    study, tiny_bundle, monkeypatch
):
    asked = []

    def train(*_, options, **__):
        asked.append(options)
        return encoder.describe(str(tiny_bundle))

    monkeypatch.setattr("encoder.training.train.train", train)
    study.settings = dataclasses.replace(study.settings, train_steps=None, held_out_steps=7)
    encoders.trained(study, 0)
    encoders.trained(study, 0, ("trec",))
    assert [options.steps for options in asked] == [TrainOptions().steps, 7]
    assert dataclasses.replace(asked[0], steps=7) == asked[1]


def test_the_frozen_base_is_measured_rotated_as_the_trained_encoders_are(study):
    records = frozen.run(study)["records"]
    bits = {code: {r["task"]: r["value"] for r in records if r["code"] == code and "shots" not in r
                   and r["layers"] == ALL_LAYERS} for code in ("bits", ROTATED_BITS)}  # fmt: skip
    assert bits[ROTATED_BITS].keys() == bits["bits"].keys() == set(study.settings.tasks)
    assert bits[ROTATED_BITS] != bits["bits"]


def inputs_of(features, *allowed: str):
    """Return a function that gives the bits of the allowed splits and fails for any other."""

    def inputs(split: str) -> np.ndarray:
        assert split in allowed, f"{split} was read"
        return features.bits(split)

    return inputs


@pytest.mark.parametrize("few", [False, True])
def test_a_head_is_fitted_without_a_look_at_the_test_split(study, few):
    task = study.tasks["trec"]
    features = study.features(encoders.frozen(study), "frozen", task)
    fit, choose = few_shot(task, 8, 0)
    rows = {"fit": fit.tolist(), "choose": choose.tolist()} if few else {}
    allowed = ("train",) if few else ("train", "validation")
    head = scoring.fit_head(task, inputs_of(features, *allowed), rows)
    expected = scoring.figures(task, head, features.bits("test"), "test")
    found = scoring.fit_and_measure(task, features.bits, rows)
    assert {name: found[name] for name in expected} == expected
    assert ("validation" in found) is not few


def test_the_strength_is_chosen_on_the_rows_that_choose(study, monkeypatch):
    given = []
    monkeypatch.setattr(scoring.heads, "fit", lambda bits, labels, **more: given.append((bits, labels, more)))
    task = study.tasks["trec"]
    features = study.features(encoders.frozen(study), "frozen", task)
    scoring.fit_head(task, features.bits, {})
    scoring.fit_head(task, features.bits, {"fit": [0, 3, 5, 7], "choose": [1, 2]})
    (all_bits, labels, more), (few_bits, few_labels, few_more) = given
    split = task.splits["train"]
    np.testing.assert_array_equal(all_bits, features.bits("train"))
    assert labels == split.labels
    np.testing.assert_array_equal(more["validation"][0], features.bits("validation"))
    assert more["validation"][1] == task.splits["validation"].labels
    np.testing.assert_array_equal(few_bits, features.bits("train")[[0, 3, 5, 7]])
    assert few_labels == [split.labels[i] for i in (0, 3, 5, 7)]
    known = label_names(few_labels, "single")
    assert few_more["validation"][1] == [split.labels[i] for i in (1, 2) if split.labels[i] in known]


def test_the_last_layer_is_the_last_columns_of_the_bundle_at_hand(study):
    features = study.features(encoders.frozen(study), "frozen", study.tasks["sst2"])
    width = features.width
    assert features.floats("test").shape[1] == 4 * width  # the embeddings and three layers
    for code, whole, columns in (("floats", features.floats, width), ("bits", features.bits, width // 8)):
        _, last = view(study, features, LAST_LAYER, code)
        _, everything = view(study, features, ALL_LAYERS, code)
        np.testing.assert_array_equal(last("test"), whole("test")[:, -columns:])
        np.testing.assert_array_equal(everything("test"), whole("test"))


def test_codes_are_fitted_on_training_texts_alone(study, monkeypatch):
    sample = []
    code = Code("kept", 1.0, lambda found: sample.append(found) or as_floats)
    monkeypatch.setattr(size, "all_codes", lambda *_: [code])
    bundle = encoders.frozen(study)
    records = size.code_records(study, bundle, "frozen", {"encoder": "frozen"})
    names = study.settings.tasks
    assert [record["task"] for record in records] == list(names)
    each = -(-study.settings.calibrate_rows // len(names))
    training = [study.features(bundle, "frozen", study.tasks[name]).floats("train")[:each] for name in names]
    np.testing.assert_array_equal(np.concatenate(sample), np.concatenate(training))


@pytest.mark.parametrize("kind", ["single", "multi"])
def test_a_teacher_pulls_towards_its_logits_and_nowhere_from_them(kind):
    generator = torch.Generator().manual_seed(0)
    logits, teacher = (torch.randn(6, 3, generator=generator) for _ in range(2))
    truth = torch.randint(0, 3, (6,), generator=generator) if kind == "single" else torch.rand(6, 3) > 0.5
    labels_alone = loss_of(logits, truth, None, kind)
    assert loss_of(logits, truth, teacher, kind) != labels_alone

    def pull(at: torch.Tensor) -> torch.Tensor:
        """Return the gradient that the teacher adds to that of the labels."""
        at = at.clone().requires_grad_()
        taught = loss_of(at, truth, teacher, kind) - (1 - SOFT_SHARE) * loss_of(at, truth, None, kind)
        return torch.autograd.grad(taught, at)[0]

    assert pull(teacher).abs().max() < 1e-6
    assert pull(logits).abs().max() > 1e-2
    nearer = logits - 0.1 * pull(logits)
    assert (nearer - teacher).norm() < (logits - teacher).norm()


def test_a_classifier_keeps_its_best_epoch(study, tiny_base, monkeypatch):
    said, seen = iter([0.2, 0.9, 0.4]), []
    monkeypatch.setattr(rivals_finetune, "score", lambda task, logits: seen.append(logits.copy()) or next(said))
    task = study.tasks["sst2"]
    found = rivals_finetune.train(tiny_base, task, Recipe((1,), 1e-2, 3, 0), 32, torch.device("cpu"), half=False)
    assert found["scores"].tolist() == [0.2, 0.9, 0.4]
    np.testing.assert_array_equal(found["validation"], seen[1])
    assert not np.array_equal(seen[1], seen[2])


def test_rivals_take_their_best_recipe_on_validation_and_students_the_best_teacher(study, monkeypatch):
    study.settings = dataclasses.replace(
        study.settings, rates=(1e-3, 2e-3, 3e-3), student_rates=(1e-4, 2e-4), rival_seeds=(0, 1), rival_tasks=("sst2",)
    )
    best = {rivals.FINE_TUNED: 2e-3, rivals.STUDENT: 1e-4}
    asked = []

    def classifier(study, task, role, recipe, teacher, progress):
        asked.append(
            (role, recipe.seed, recipe.rate, None if teacher is None else teacher[0].rate + float(teacher[1][0, 0]))
        )
        scores = np.array([0.1, 0.8 if recipe.rate == best[role] else 0.3])
        mark = np.full((1, 2), recipe.rate + recipe.seed, np.float32)
        return {"scores": scores, "train": mark, "validation": mark, "test": mark}

    monkeypatch.setattr(rivals, "_classifier", classifier)
    monkeypatch.setattr(rivals, "measure_logits", lambda task, logits: {"value": float(logits["test"][0, 0])})
    found = rivals._trainings(study)
    assert [(r["rival"], r["seed"], pytest.approx(r["value"])) for r in found] == [
        ("fine-tuned", 0, 2e-3), ("student", 0, 1e-4), ("fine-tuned", 1, 1 + 2e-3), ("student", 1, 1 + 1e-4)
    ]  # fmt: skip
    assert {r["recipe"]["epoch"] for r in found} == {2}
    teachers = {(seed, teacher) for role, seed, _, teacher in asked if role == rivals.STUDENT}
    assert sorted(teachers) == [(0, pytest.approx(4e-3)), (1, pytest.approx(1 + 4e-3))]
    again = {rate for role, seed, rate, _ in asked if seed == 1 and role == rivals.FINE_TUNED}
    assert again == {2e-3}  # further seeds repeat what the first chose


def test_tf_idf_takes_its_best_recipe_on_validation(study, monkeypatch):
    task = study.tasks["sst2"]
    monkeypatch.setattr(tfidf, "fit", lambda task, *recipe: recipe)
    monkeypatch.setattr(tfidf, "scores", lambda recipe, task, texts: (recipe, texts))
    best = (list(tfidf.ANALYSERS)[-1], tfidf.STRENGTHS[0])

    def measure(task, validation, test=None):
        recipe, texts = validation
        assert texts == task.splits["validation"].texts
        assert test is None or test[1] == task.splits["test"].texts
        return {"validation": 0.9 if recipe == best else 0.5} | ({} if test is None else {"value": test[0] == best})

    monkeypatch.setattr(tfidf, "measure_scores", measure)
    found = tfidf._measure(task)
    assert found["value"] is True
    assert found["recipe"] == dict(zip(("analyser", "strength"), best))


def test_a_sentence_embedding_is_the_last_layer_of_length_one(study, monkeypatch):
    given = []
    monkeypatch.setattr(Study, "head", lambda self, label, task, key, inputs: given.append(inputs("test")) or {})
    task = study.tasks["sst2"]
    list(rivals._sentence_embedding(study, task))
    last = study.features(encoders.frozen(study), "frozen", task).floats("test")[:, -study.width :]
    np.testing.assert_allclose(given[0], last / np.linalg.norm(last, axis=1, keepdims=True), rtol=1e-5)


def test_costs_are_a_documents_and_a_tasks(study, monkeypatch):
    seconds = {"encoder": 8.0, "heads": 6.0, "fine-tuned": 5.0, "student": 3.0, "float heads": 2.0, "TF-IDF": 9.0}

    def interleave(contenders, rounds):
        assert [contender.name for contender in contenders] == list(seconds)
        for contender in contenders:
            contender.run()
        return SimpleNamespace(
            absent={},
            seconds={name: [value * factor for factor in (2, 1, 1)] for name, value in seconds.items()},
        )

    monkeypatch.setattr(costs, "interleave", interleave)
    monkeypatch.setattr(tfidf, "measure", lambda study, task: {"recipe": {"analyser": "words", "strength": 1.0}})
    monkeypatch.setattr(
        tfidf,
        "fit",
        lambda task, analyser, strength: SimpleNamespace(predict_proba=lambda texts: np.zeros((len(texts), 2))),
    )
    found = costs._measure(study)
    documents, tasks = found["documents"], len(study.tasks)
    each = {"heads": 6 / documents / costs.HEAD_REPEATS / tasks, "float": 2 / documents / costs.HEAD_REPEATS / tasks}
    assert found["models"] == {
        "encoder and heads": {"shared": pytest.approx(8 / documents), "each": pytest.approx(each["heads"])},
        "fine-tuned": {"shared": 0.0, "each": pytest.approx(5 / documents)},
        "student": {"shared": 0.0, "each": pytest.approx(3 / documents)},
        "sentence embedding": {"shared": pytest.approx(5 / documents), "each": pytest.approx(each["float"])},
        "TF-IDF": {"shared": 0.0, "each": pytest.approx(9 / documents / tasks)},
    }
    assert found["round_seconds"]["encoder"] == [16.0, 8.0, 8.0]
    assert found["break_even"]["student"] == 3
    assert [one["break_even"] for one in found["by_round"]["student"]] == [3, 3, 3]
    assert found["ten_over_one"] == pytest.approx((8 + 60 / 32 / tasks) / (8 + 6 / 32 / tasks))


def test_what_changes_between_ways_of_encoding_is_counted(study, monkeypatch):
    bundle = encoders.frozen(study)
    kept = study.settings.stability_rows
    real = stability.encoder.load

    def load(bundle, device, precision, batch_tokens=None):
        model = real(bundle, device, "float32", batch_tokens)
        if batch_tokens != stability.FEW_TOKENS:
            return model

        def encode(texts):  # flips every bit of the first text of each task
            codes = model.encode(texts)
            codes.bits[0] ^= 255
            return codes

        return SimpleNamespace(encode=encode)

    monkeypatch.setattr(stability.encoder, "load", load)
    monkeypatch.setattr(stability, "same_labels", lambda head, a, b: (a == b).all(1))
    found = {way["name"]: way for way in stability._variants(study, bundle)}
    same, turned = found["the same again"], found[f"batches of {stability.FEW_TOKENS} tokens"]
    assert (same["bits_differ"], same["labels_differ"]) == (0, 0)
    assert turned["documents"] == kept * len(study.tasks)
    assert (turned["bits_differ"], turned["labels_differ"]) == (pytest.approx(1 / kept), pytest.approx(1 / kept))

from __future__ import annotations

import json
import re

import numpy as np
import pytest
import torch

from heads import Head, HeadError, evaluate, fit, fit_features, linear
from heads.score import quantize, weight_limit
from tests.heads.data import ENCODER, KINDS, LABELS, fitted, labelled_codes, random_codes

FIGURE = {"single": ("accuracy", 0.6), "multi": ("micro_f1", 0.7), "regression": ("pearson", 0.65)}


def signs(codes):
    return np.unpackbits(codes, axis=1).astype(np.float32) * 2 - 1


def logistic(x, y, l2):
    [rough] = linear.logistic_path(torch.from_numpy(x), y, 3, [l2])
    _, weights, bias = linear.logistic(torch.from_numpy(x), y, rough)
    return weights, bias


@pytest.mark.parametrize("kind", KINDS)
def test_fitted_head_finds_what_can_be_learnt(kind):
    head = fitted(kind, rows=1500)
    figures = evaluate.evaluate(head, *labelled_codes(kind, 1000, seed=2))
    name, least = FIGURE[kind]
    assert figures[name] > least
    assert (head.kind, head.labels, head.encoder_fingerprint) == (kind, LABELS[kind], ENCODER)


@pytest.mark.parametrize("kind", KINDS)
def test_fitting_again_gives_the_same_head(kind):
    assert fitted(kind).fingerprint == fitted(kind).fingerprint


@pytest.mark.parametrize("kind", KINDS)
def test_fitted_head_saves_and_reads_back(kind, tmp_path):
    head = fitted(kind, source={"data": "made up"})
    head.save(tmp_path / "mood")
    again = Head.read(tmp_path / "mood")
    assert again.fingerprint == head.fingerprint
    assert again.metrics == json.loads(json.dumps(head.metrics))
    assert again.source == {"data": "made up"}
    assert again.metrics["validation"]["rows"] == 300


@pytest.mark.parametrize("kind", KINDS)
def test_float_head_on_the_same_signs_agrees_with_the_head_on_bits(kind):
    codes, labels = labelled_codes(kind, 800)
    validation, test = labelled_codes(kind, 400, seed=1), labelled_codes(kind, 400, seed=2)
    head = fitted(kind, rows=800)
    held_out = signs(validation[0]), validation[1]
    floats = fit_features(signs(codes), labels, kind=kind, validation=held_out)
    name = FIGURE[kind][0]
    on_bits = evaluate.evaluate(head, *test)[name]
    on_floats = evaluate.evaluate(floats, signs(test[0]), test[1])[name]
    assert abs(on_bits - on_floats) < 0.02
    assert floats.score(signs(test[0])).shape == head.score(test[0]).shape


def test_features_of_any_scale_and_constant_columns_are_standardised():
    codes, labels = labelled_codes("single", 800)
    check, check_labels = labelled_codes("single", 400, seed=1)

    def stretch(bits):
        x = signs(bits) * np.geomspace(1e-3, 1e3, 64, dtype=np.float32) + 5
        return np.hstack([x, np.full((len(x), 1), 0.1, np.float32)])

    plain = fit_features(signs(codes), labels, validation=(signs(check), check_labels))
    other = fit_features(stretch(codes), labels, validation=(stretch(check), check_labels))
    same = plain.predict(signs(check)).label_index == other.predict(stretch(check)).label_index
    assert same.mean() > 0.99


def test_classes_fixes_the_order():
    order = ("good", "bad", "fair")
    assert fitted("single", classes=order).labels == order
    codes = random_codes(50, 64)
    default, turned = fitted("single"), fitted("single", classes=order)
    names = [turned.labels[i] for i in turned.predict(codes).label_index]
    agree = [default.labels[i] for i in default.predict(codes).label_index]
    assert np.mean([a == b for a, b in zip(names, agree)]) > 0.95


def test_weaker_penalties_are_not_tried_once_validation_worsens(monkeypatch):
    tried = []
    path = linear.logistic_path

    def watched(*args):
        for solution in path(*args):
            tried.append(solution[0])
            yield solution

    monkeypatch.setattr(linear, "logistic_path", watched)
    head = fitted("single", rows=3000)
    assert tried[-1] > 0.001
    assert head.metrics["l2"] == tried[-3]


def test_the_penalty_that_is_kept_is_refined(monkeypatch):
    rough = fitted("single", l2_grid=[0.03])
    monkeypatch.setattr(linear, "PATH_TOLERANCE", 0.1)
    rougher = fitted("single", l2_grid=[0.03])
    difference = rough.weights * rough.scale[:, None] - rougher.weights * rougher.scale[:, None]
    assert np.abs(difference).max() < 2e-3


def test_progress_is_told_after_each_penalty():
    told = []
    fitted("single", l2_grid=[1.0, 0.3], progress=lambda: told.append(1))
    fitted("regression", l2_grid=[1.0, 0.3, 0.1], progress=lambda: told.append(1))
    assert len(told) == 5


def test_single_logistic_agrees_with_scikit_learn():
    linear_model = pytest.importorskip("sklearn.linear_model")
    codes, labels = labelled_codes("single", 800)
    x, y = signs(codes), np.array([LABELS["single"].index(name) for name in labels])
    reference = linear_model.LogisticRegression(C=1 / (800 * 0.03), max_iter=1000, tol=1e-6)
    reference.fit(x, y)
    weights, bias = logistic(x, y, 0.03)
    np.testing.assert_allclose(weights, reference.coef_, atol=2e-3)
    np.testing.assert_allclose(bias - bias.mean(), reference.intercept_, atol=2e-3)


def test_multi_logistic_agrees_with_scikit_learn_one_against_the_rest():
    linear_model = pytest.importorskip("sklearn.linear_model")
    codes, labels = labelled_codes("multi", 800)
    x = signs(codes)
    y = np.array([[name in row for name in LABELS["multi"]] for row in labels])
    weights, bias = logistic(x, y, 0.03)
    for column in range(3):
        reference = linear_model.LogisticRegression(C=1 / (800 * 0.03), max_iter=1000, tol=1e-6)
        reference.fit(x, y[:, column])
        np.testing.assert_allclose(weights[column], reference.coef_[0], atol=2e-3)
        np.testing.assert_allclose(bias[column], reference.intercept_[0], atol=2e-3)


@pytest.mark.parametrize("l2", [1.0, 0.01])
def test_ridge_agrees_with_scikit_learn(l2):
    linear_model = pytest.importorskip("sklearn.linear_model")
    codes, labels = labelled_codes("regression", 500)
    x, y = signs(codes), np.array(labels)
    reference = linear_model.Ridge(alpha=500 * l2).fit(x.astype(np.float64), y)
    [(_, weights, bias)] = linear.ridge_path(torch.from_numpy(x), y, [l2])
    np.testing.assert_allclose(weights[0], reference.coef_, atol=1e-5)
    np.testing.assert_allclose(bias[0], reference.intercept_, atol=1e-5)


def test_path_warm_started_ends_where_a_cold_start_ends():
    codes, labels = labelled_codes("single", 500)
    x = torch.from_numpy(signs(codes))
    y = np.array([LABELS["single"].index(name) for name in labels])
    *_, end = linear.logistic_path(x, y, 3, [0.01, 1.0, 0.1])
    l2, warm, _ = linear.logistic(x, y, end)
    cold, _ = logistic(signs(codes), y, 0.01)
    assert l2 == 0.01
    np.testing.assert_allclose(warm, cold, atol=5e-3)


def test_fitting_works_where_gradients_are_off():
    with torch.no_grad():
        assert fitted("single").kind == "single"


@pytest.mark.parametrize("bits", [64, 1152])
def test_quantised_weights_use_the_whole_grid_and_lose_little(bits):
    weights = np.random.default_rng(0).standard_normal((4, bits)).astype(np.float32)
    weights[3] = 0
    integers, scale = quantize(weights)
    limit = weight_limit(bits)
    assert np.abs(integers).max(axis=1).tolist() == [limit, limit, limit, 0]
    assert np.abs(integers * scale[:, None] - weights).max() <= scale[:3].max() * 0.51


def refuse(message, codes=None, labels=None, validation=None, function=fit, **settings):
    made = labelled_codes("single", 30)
    codes, labels = made[0] if codes is None else codes, made[1] if labels is None else labels
    if function is fit:
        settings = {"task": "mood", "encoder_fingerprint": ENCODER} | settings
    with pytest.raises(HeadError, match=message):
        function(codes, labels, validation=validation or made, **settings)


@pytest.mark.parametrize(
    ("message", "changes"),
    [
        ("training has one class only, 'bad'", {"labels": ["bad"] * 30}),
        ("training has 30 rows but 2 labels", {"labels": ["bad", "good"]}),
        ("training is empty", {"codes": random_codes(0, 64), "labels": []}),
        ("validation is empty", {"validation": (random_codes(0, 64), [])}),
        ("validation has 2 rows but 1 labels", {"validation": (random_codes(2, 64), ["bad"])}),
        (
            "validation has labels that training never saw: 'awful', 'odd'",
            {"validation": (random_codes(3, 64), ["odd", "bad", "awful"])},
        ),
        (
            "rows have 8 columns but validation rows have 16",
            {"validation": (random_codes(1, 128), ["bad"])},
        ),
        ("differ by: 'fine'", {"classes": ["bad", "fair", "good", "fine"]}),
        ("differ by: 'good'", {"classes": ["bad", "fair"]}),
        ("classes repeat", {"classes": ["bad", "fair", "good", "bad"]}),
        ("kind 'ordinal' is none of", {"kind": "ordinal"}),
        ("must be a string, but got 3", {"labels": [3] * 30}),
        ("must be a string, but got None", {"labels": [None] * 30}),
        ("must be a string, but got .'bad'.", {"labels": [["bad"]] * 30}),
        ("must be a list of strings, but got 'bad'", {"kind": "multi", "labels": ["bad"] * 30}),
        ("no label on any row", {"kind": "multi", "labels": [[]] * 30}),
        ("must be a finite number, but got nan", {"kind": "regression", "labels": [np.nan] * 30}),
        ("must be a finite number, but got 'fair'", {"kind": "regression"}),
        (r"training codes must be .* uint8.* got \(30, 64\) float32", {"codes": "floats"}),
        ("penalties in l2_grid must be above 0", {"l2_grid": [1.0, 0.0]}),
        ("penalties in l2_grid must be above 0", {"l2_grid": []}),
        ("task name 'A B' does not match", {"task": "A B"}),
        ("'abc' is not 64 hex digits", {"encoder_fingerprint": "abc"}),
    ],
)
def test_what_cannot_be_fitted_is_refused(message, changes):
    if changes.get("codes") is not None and isinstance(changes["codes"], str):
        changes = {**changes, "codes": np.zeros((30, 64), np.float32)}
    refuse(message, **changes)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_features_with_nan_or_infinity_are_refused(value):
    features = np.zeros((30, 4), np.float32)
    features[3, 2] = value
    good = (np.zeros((30, 4), np.float32), labelled_codes("single", 30)[1])
    refuse("training features hold NaN or infinity", features, None, good, fit_features)
    bad = (features, good[1])
    refuse("validation features hold NaN or infinity", good[0], None, bad, fit_features)


def test_features_of_another_type_are_refused():
    features = np.zeros((30, 4))
    message = re.escape("training features must be (n, dim) float32, but got (30, 4) float64")
    refuse(message, features, None, (features, ["bad"] * 30), fit_features)


def test_values_too_large_to_square_are_refused():
    codes = random_codes(40)
    labels = [1e300 * (-1) ** row for row in range(40)]
    with pytest.raises(HeadError, match="no head can be fitted"), np.errstate(all="ignore"):
        fit(codes, labels, task="stars", kind="regression", validation=(codes, labels), encoder_fingerprint=ENCODER)

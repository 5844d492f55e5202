"""What turns logits into scores, and scores into labels: temperatures and thresholds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from heads import evaluate, fit
from heads.calibrate import fit_temperature, fit_threshold, probabilities
from tests.heads.data import ENCODER, fitted, labelled_codes


@pytest.mark.parametrize("true_temperature", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("kind", ["single", "multi"])
def test_temperature_is_found_again(kind, true_temperature):
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (4000, 4)).astype(np.float32)
    if kind == "single":
        targets = (logits + rng.gumbel(size=logits.shape)).argmax(axis=1)
    else:
        targets = logits + rng.logistic(size=logits.shape) > 0
    found, _ = fit_temperature(logits * np.float32(true_temperature), targets, kind)
    assert found == pytest.approx(true_temperature, rel=0.1)


def test_temperature_gives_the_log_loss_it_reached():
    metrics = pytest.importorskip("sklearn.metrics")
    logits = np.random.default_rng(0).normal(0, 2, (200, 3)).astype(np.float32)
    targets = np.arange(200) % 3
    temperature, loss = fit_temperature(logits, targets, "single")
    scores = probabilities(logits, "single", temperature).astype(np.float64)
    scores /= scores.sum(axis=1, keepdims=True)
    assert loss == pytest.approx(metrics.log_loss(targets, scores), abs=1e-5)


def test_temperature_stays_in_bounds_where_validation_is_split_perfectly():
    logits = np.float32([[5, -5], [-5, 5]])
    assert 0.04 < fit_temperature(logits, np.array([0, 1]), "single")[0] < 0.06
    assert 19 < fit_temperature(logits, np.array([1, 0]), "single")[0] < 21


def test_calibration_lowers_the_calibration_error():
    codes, labels = labelled_codes("single", 150)
    test = labelled_codes("single", 2000, seed=3)
    head = fit(
        codes,
        labels,
        task="mood",
        encoder_fingerprint=ENCODER,
        validation=labelled_codes("single", 1000, seed=1),
        l2_grid=[0.001],
    )
    raw = replace(head, temperature=1.0)
    name = "expected_calibration_error"
    calibrated = evaluate.evaluate(head, *test)[name]
    assert calibrated < 0.05
    assert calibrated < evaluate.evaluate(raw, *test)[name] / 2


def test_threshold_is_the_best_of_all():
    rng = np.random.default_rng(0)
    scores = rng.random((60, 4)).astype(np.float32).round(2)
    targets = scores + rng.normal(0, 0.3, scores.shape) > 0.6

    def f1(threshold):
        given = scores >= threshold
        return 2 * (given & targets).sum() / (given.sum() + targets.sum())

    threshold, best = fit_threshold(scores, targets)
    assert f1(np.float32(threshold)) == pytest.approx(best)
    assert best == pytest.approx(max(f1(t) for t in np.unique(scores)))


def test_a_threshold_between_neighbours_in_float32_takes_the_upper_one_alone():
    upper, lower = np.float32(0.99999994), np.float32(0.9999999)
    scores = np.array([[upper], [lower], [lower], [lower]], np.float32)
    threshold, f1 = fit_threshold(scores, np.array([[True], [False], [False], [False]]))
    assert f1 == 1.0
    assert (scores >= np.float32(threshold)).ravel().tolist() == [True, False, False, False]


def test_multi_head_uses_one_threshold_for_all_classes():
    thresholds = fitted("multi").thresholds
    assert thresholds.shape == (3,)
    assert len(set(thresholds.tolist())) == 1
    assert 0 < thresholds[0] < 1

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import pytest

from heads import HeadError, metrics
from heads.evaluate import NOT_IN_TRAINING, evaluate, format_report

RNG = np.random.default_rng(0)
TRUTH, PREDICTED = RNG.integers(0, 5, 300), RNG.integers(0, 4, 300)
GIVEN, WANTED = RNG.random((200, 6)) > 0.7, RNG.random((200, 6)) > 0.8


@dataclass
class Fixed:
    """A stand-in for a head that returns given scores."""

    kind: str
    labels: tuple[str, ...]
    scores: list
    thresholds: np.ndarray = field(default_factory=lambda: np.float32([0.5, 0.5]))

    def score(self, inputs):
        return np.float32(self.scores)[: len(inputs)]


def rows(count):
    return np.zeros((count, 4), np.uint8)


def test_confusion_and_f1_agree_with_scikit_learn():
    sk = pytest.importorskip("sklearn.metrics")
    confusion = metrics.confusion_matrix(TRUTH, PREDICTED, 5)
    assert np.array_equal(confusion, sk.confusion_matrix(TRUTH, PREDICTED))
    by_class = np.diagonal(confusion), confusion.sum(axis=0), confusion.sum(axis=1)
    wanted = sk.f1_score(TRUTH, PREDICTED, average="macro", zero_division=0)
    assert metrics.macro_f1(*by_class) == pytest.approx(wanted)
    assert metrics.accuracy(TRUTH, PREDICTED) == sk.accuracy_score(TRUTH, PREDICTED)


def test_macro_f1_leaves_out_classes_that_never_occur():
    sk = pytest.importorskip("sklearn.metrics")
    confusion = metrics.confusion_matrix(TRUTH, PREDICTED, 9)
    by_class = np.diagonal(confusion), confusion.sum(axis=0), confusion.sum(axis=1)
    wanted = sk.f1_score(TRUTH, PREDICTED, average="macro", zero_division=0)
    assert metrics.macro_f1(*by_class) == pytest.approx(wanted)


@pytest.mark.parametrize("average", ["micro", "macro"])
def test_multi_label_f1_agrees_with_scikit_learn(average):
    sk = pytest.importorskip("sklearn.metrics")
    counts = (GIVEN & WANTED).sum(axis=0), GIVEN.sum(axis=0), WANTED.sum(axis=0)
    function = {"micro": metrics.micro_f1, "macro": metrics.macro_f1}[average]
    assert function(*counts) == pytest.approx(sk.f1_score(WANTED, GIVEN, average=average))


def test_f1_of_nothing_is_zero():
    none = np.zeros(3, np.int64)
    assert metrics.micro_f1(none, none, none) == metrics.macro_f1(none, none, none) == 0


@pytest.mark.parametrize("decimals", [0, 1, 6])
def test_correlations_agree_with_scipy_with_and_without_ties(decimals):
    stats = pytest.importorskip("scipy.stats")
    x = RNG.normal(size=100).round(decimals)
    y = (x + RNG.normal(size=100)).round(decimals)
    assert metrics.pearson(x, y) == pytest.approx(stats.pearsonr(x, y)[0])
    assert metrics.spearman(x, y) == pytest.approx(stats.spearmanr(x, y)[0])


def test_correlation_with_a_constant_is_undefined():
    assert math.isnan(metrics.pearson(np.ones(4), np.arange(4)))
    assert math.isnan(metrics.spearman(np.arange(4), np.ones(4)))


def test_rmse_is_the_root_of_the_mean_square():
    assert metrics.rmse(np.array([1.0, 2.0]), np.array([4.0, 6.0])) == pytest.approx(12.5**0.5)


def test_calibration_error_of_known_cases():
    confidence = np.float32([0.9] * 10 + [0.5] * 10)
    right = np.array([True] * 9 + [False] + [True] * 5 + [False] * 5)
    assert metrics.expected_calibration_error(confidence, right) == pytest.approx(0, abs=1e-6)
    always_wrong = np.zeros(20, bool)
    assert metrics.expected_calibration_error(confidence, always_wrong) == pytest.approx(0.7)


def test_calibration_error_agrees_with_a_loop_over_bins():
    confidence, right = RNG.random(500), RNG.random(500) > 0.4
    edges, wanted = np.linspace(0, 1, metrics.ECE_BINS + 1), 0.0
    for low, high in pairwise(edges):
        inside = (confidence > low) & (confidence <= high)
        wanted += abs(confidence[inside].sum() - right[inside].sum()) / 500
    assert metrics.expected_calibration_error(confidence, right) == pytest.approx(wanted)


def test_calibration_error_takes_confidences_of_zero_and_one():
    assert metrics.expected_calibration_error(np.float32([0, 1]), np.array([False, True])) == 0


def test_single_figures():
    head = Fixed("single", ("a", "b"), [[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.7, 0.3]])
    figures = evaluate(head, rows(4), ["a", "b", "b", "a"])
    assert figures["rows"] == 4
    assert figures["accuracy"] == 0.75
    assert figures["confusion"] == [[2, 0], [1, 1]]
    assert figures["confusion_rows"] == ["a", "b"]
    assert figures["macro_f1"] == pytest.approx((0.8 + 2 / 3) / 2, abs=1e-6)


def test_label_that_training_never_saw_counts_as_wrong():
    head = Fixed("single", ("a", "b"), [[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]])
    figures = evaluate(head, rows(3), ["a", "b", "new"])
    assert figures["accuracy"] == pytest.approx(2 / 3, abs=1e-6)
    assert figures["macro_f1"] == pytest.approx((2 / 3 + 1 + 0) / 3, abs=1e-6)
    assert figures["confusion"] == [[1, 0], [0, 1], [1, 0]]
    assert figures["confusion_rows"][-1] == NOT_IN_TRAINING


def test_multi_figures_count_unseen_labels_as_missed():
    head = Fixed("multi", ("a", "b"), [[0.9, 0.1], [0.9, 0.8], [0.1, 0.1]])
    seen = evaluate(head, rows(3), [["a"], ["a", "b"], []])
    assert (seen["micro_f1"], seen["macro_f1"], seen["exact_match"]) == (1, 1, 1)
    unseen = evaluate(head, rows(3), [["a", "new"], ["a", "b"], []])
    assert unseen["micro_f1"] == pytest.approx(6 / 7, abs=1e-6)
    assert unseen["macro_f1"] == unseen["exact_match"] == pytest.approx(2 / 3, abs=1e-6)


def test_multi_figures_use_the_thresholds():
    head = Fixed("multi", ("a", "b"), [[0.3, 0.3]], np.float32([0.2, 0.4]))
    assert evaluate(head, rows(1), [["a"]])["exact_match"] == 1


def test_regression_figures():
    head = Fixed("regression", (), [[1.0], [2.0], [4.0]])
    figures = evaluate(head, rows(3), [1, 2, 3.0])
    assert figures == {"rows": 3, "pearson": 0.981981, "spearman": 1.0, "rmse": 0.57735}


def test_undefined_figures_are_none_so_that_json_can_hold_them():
    figures = evaluate(Fixed("regression", (), [[1.0], [1.0]]), rows(2), [1, 2])
    assert figures["pearson"] is figures["spearman"] is None
    json.dumps(figures, allow_nan=False)
    assert "Pearson" in format_report(figures, title="t")


@pytest.mark.parametrize("labels", [[], ["a"]])
def test_sizes_that_differ_and_empty_sets_are_refused(labels):
    head = Fixed("single", ("a", "b"), [[0.9, 0.1]])
    with pytest.raises(HeadError, match=f"on {2 * len(labels)} rows with {len(labels)} labels"):
        evaluate(head, rows(2 * len(labels)), labels)


def test_report_shows_bits_and_float_side_by_side_and_the_confusion():
    head = Fixed("single", ("bad", "good"), [[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.7, 0.3]])
    better = Fixed("single", ("bad", "good"), [[0.9, 0.1], [0.2, 0.8], [0.4, 0.6], [0.7, 0.3]])
    labels = ["bad", "good", "good", "bad"]
    report = format_report(
        evaluate(head, rows(4), labels),
        title="mood, test",
        float_figures=evaluate(better, rows(4), labels),
    )
    assert report.splitlines() == [
        "mood, test: 4 rows",
        "",
        "                                 bits    float     cost",
        "accuracy                       0.7500   1.0000  +0.2500",
        "macro F1                       0.7333   1.0000  +0.2667",
        "expected calibration error     0.3000   0.2500  -0.0500",
        "",
        "confusion (rows: truth, columns: predicted, by the rows' numbers)",
        "            1    2   recall precision",
        " 1 bad      2    0    1.000     0.667",
        " 2 good     1    1    0.500     1.000",
    ]


def test_report_without_float_figures_has_one_column():
    figures = evaluate(Fixed("multi", ("a", "b"), [[0.9, 0.1]]), rows(1), [["a"]])
    lines = format_report(figures, title="topics").splitlines()
    assert lines[2] == "micro F1                       1.0000"
    assert "float" not in "".join(lines)


def test_report_shows_rows_of_labels_not_in_training():
    figures = evaluate(Fixed("single", ("a", "b"), [[0.9, 0.1]]), rows(1), ["new"])
    last = format_report(figures, title="t").splitlines()[-1]
    assert last.startswith(f" - {NOT_IN_TRAINING}")
    assert last.split()[-4:] == ["1", "0", "0.000", "-"]


def test_of_many_classes_the_pairs_confused_most_stand_for_the_matrix():
    names = tuple(f"c{number:03}" for number in range(200))
    truth = [names[number % 200] for number in range(2000)] + ["unheard of"]
    scores = np.zeros((2001, 200), np.float32)
    scores[np.arange(2001), [number % 200 for number in range(2000)] + [7]] = 1
    scores[:10, 5] = 2  # c000 to c009 once for c005 each, c005 rightly
    scores[200, 9], scores[400, 9] = 2, 2  # c000 twice for c009
    figures = evaluate(Fixed("single", names, scores), rows(2001), truth)
    assert figures["accuracy"] == pytest.approx(1989 / 2001, abs=1e-6)
    assert "confusion" not in figures
    assert figures["most_confused"][0] == ["c000", "c009", 2]
    assert ["(not in training)", "c007", 1] in figures["most_confused"]
    assert len(figures["most_confused"]) == 11
    report = format_report(figures, title="many")
    assert "       2: c000 → c009" in report
    assert len(report.splitlines()) < 30

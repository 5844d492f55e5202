from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from heads import HeadBank, HeadError, score
from heads.calibrate import KINDS, decide, decide_logits, probabilities
from tests.heads.data import make_head, random_codes


@pytest.mark.parametrize("kernel", ["matmul", "lookup_table", "int8"])
def test_heads_scored_together_give_the_same_bytes_as_alone(kernel, monkeypatch):
    monkeypatch.setattr(score, "prefer_int8", lambda: kernel == "int8" and score.has_int8_instructions())
    monkeypatch.setattr(score, "prefer_lookup_table", lambda classes, bits: kernel == "lookup_table")
    heads = [make_head(kind, bits=64) for kind in KINDS]
    codes = random_codes(300, 64)
    together = HeadBank(heads).logits(codes)
    assert len(together) == len(heads)
    for head, logits in zip(heads, together):
        assert logits.tobytes() == head.logits(codes).tobytes()


def test_heads_whose_classes_fit_no_table_together_give_the_same_bytes(monkeypatch):
    heads = [make_head(kind, bits=64) for kind in KINDS]
    most = max(len(head.weights) for head in heads)
    monkeypatch.setattr(score, "prefer_int8", lambda: False)
    monkeypatch.setattr(score, "MAX_TABLE_BYTES", 64 * 32 * 4 * most)
    assert score.prefer_lookup_table(most, 64)
    codes = random_codes(50, 64)
    alone = [head.logits(codes).tobytes() for head in heads]
    assert [logits.tobytes() for logits in HeadBank(heads).logits(codes)] == alone


def test_heads_of_two_encoders_are_refused_together():
    head = make_head()
    other = dataclasses.replace(head, encoder_fingerprint="f" * 64)
    with pytest.raises(HeadError, match="heads of different encoders"):
        HeadBank([head, other])


def test_codes_of_another_width_are_refused():
    with pytest.raises(HeadError, match="reads codes of shape"):
        HeadBank([make_head(bits=64)]).logits(random_codes(3, 128))


def test_a_bank_without_heads_gives_nothing():
    assert HeadBank([]).logits(random_codes(3)) == []


@pytest.mark.parametrize("threshold", [0.0, 1e-12, 0.02, 0.5, 0.98, 1.0])
def test_labels_from_logits_are_those_of_the_scores_at_every_threshold(threshold):
    head = make_head("multi")
    thresholds = np.full(len(head.weights), threshold, np.float32)
    logits = np.random.default_rng(0).normal(0, 12, (4000, len(head.weights))).astype(np.float32)
    logits[:10] = 60  # scores that round to one
    scores = probabilities(logits, "multi", head.temperature)
    for found, wanted in zip(
        decide_logits(logits, "multi", head.temperature, thresholds), decide(scores, "multi", thresholds)
    ):
        assert found.dtype == wanted.dtype
        assert np.array_equal(found, wanted)


@pytest.mark.parametrize("place", [0, 0.2, 0.5, 0.8, 1])
def test_labels_from_logits_are_those_of_the_scores_where_thresholds_are_scores(place):
    """Just below one, and in the smallest numbers, many logits round to the threshold itself."""
    head = make_head("multi")
    rng = np.random.default_rng(1)
    for spread in (1, 12, 18, 60):
        logits = rng.normal(0, spread, (500, len(head.weights))).astype(np.float32)
        scores = probabilities(logits, "multi", head.temperature)
        thresholds = np.quantile(scores, place, axis=0, method="nearest")
        for found, wanted in zip(
            decide_logits(logits, "multi", head.temperature, thresholds), decide(scores, "multi", thresholds)
        ):
            assert np.array_equal(found, wanted)


def test_a_score_on_its_threshold_counts():
    head = make_head("multi")
    logits = head.logits(random_codes(200))
    scores = head.score(random_codes(200))
    thresholds = scores[7].copy()  # exactly a score that occurs
    offsets, index, _ = decide_logits(logits, "multi", head.temperature, thresholds)
    assert sorted(index[offsets[7] : offsets[8]]) == list(range(len(thresholds)))


def test_the_earlier_class_wins_a_tie_from_logits():
    label_index, score_ = decide_logits(np.float32([[1, 2, 2]]), "single", 1.0, np.float32([]))
    assert label_index.tolist() == [1]
    assert label_index.dtype == np.int32
    assert score_.dtype == np.float32

from __future__ import annotations

import numpy as np
import pytest

from heads import Head, HeadError, zero_shot
from heads.evaluate import evaluate

BITS = 256
FINGERPRINT = "ab" * 32
LABELS = ("calm", "loud", "odd")
RNG = np.random.default_rng(0)
CENTRES = RNG.standard_normal((3, BITS)).astype(np.float32)
NOISE = RNG.standard_normal((40, BITS)).astype(np.float32)  # what texts differ in besides their class


def features(classes: np.ndarray, noise: float, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    mixed = rng.standard_normal((len(classes), 40)).astype(np.float32) @ NOISE / 40**0.5
    return CENTRES[classes] + noise * mixed


def codes(values: np.ndarray) -> np.ndarray:
    return np.packbits(values > 0, axis=1)


def make(**changes) -> Head:
    prompts = [features(np.full(3, c), 0.3, seed=c) for c in range(3)]
    arguments = {"task": "mood", "encoder_fingerprint": FINGERPRINT} | changes
    return zero_shot.make(arguments.pop("features", prompts), arguments.pop("labels", LABELS), **arguments)


@pytest.mark.parametrize("with_texts", [False, True])
def test_a_head_made_of_prompts_tells_classes_it_has_no_rows_of(with_texts):
    truth = np.random.default_rng(5).integers(0, 3, 300)
    unlabelled = codes(features(np.random.default_rng(6).integers(0, 3, 400), 1.0, seed=7)) if with_texts else None
    figures = evaluate(make(unlabelled=unlabelled), codes(features(truth, 1.0, seed=8)), [LABELS[c] for c in truth])
    assert figures["accuracy"] > 0.9
    assert figures["expected_calibration_error"] < 0.5


def test_its_metrics_say_that_it_is_zero_shot_and_survive_saving(tmp_path):
    unlabelled = codes(features(np.arange(90) % 3, 1.0, seed=1))
    make(unlabelled=unlabelled).save(tmp_path / "h")
    metrics = Head.read(tmp_path / "h").metrics
    assert metrics == {
        "zero_shot": True, "training_rows": 0, "prompts": 9, "unlabelled_rows": 90, "calibrated": False
    }  # fmt: skip


def test_the_same_prompts_make_the_same_head():
    assert make().fingerprint == make().fingerprint


def test_directions_in_which_texts_do_not_differ_are_left_out():
    signs = np.ones((100, 8))
    signs[::2, :4] = -1
    product = zero_shot.root_covariance_product(np.ones((1, 8)), signs)
    assert (product[0, :4] > 0.5).all()
    np.testing.assert_allclose(product[0, 4:], 0, atol=1e-9)


def test_a_class_that_lies_in_a_crowded_place_is_held_back():
    crowded = features(np.zeros(200, np.int64), 1.0, seed=3)
    head = make(unlabelled=codes(crowded))
    assert head.bias.argmin() == 0


def test_prompts_are_descriptions_or_names_put_into_templates():
    assert zero_shot.prompts("Sci/Tech_news", templates=["On {}."]) == ["On sci tech news."]
    assert len(zero_shot.prompts("sports")) == len(zero_shot.TEMPLATES)
    assert zero_shot.prompts("sports", ["The match ended 2:1."]) == ["The match ended 2:1."]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": ("a", "a", "b")}, "two or more distinct labels"),
        ({"labels": ("a", "b")}, "each with prompts"),
        ({"task": "No Good"}, "does not match"),
        ({"unlabelled": np.zeros((10, BITS // 8), np.uint8)}, "10 unlabelled texts are too few; give 64 or more"),
        ({"unlabelled": np.zeros((100, 3), np.uint8)}, r"must be \(n, 32\) uint8, but got \(100, 3\)"),
        (
            {"features": [np.ones((1, BITS), np.float32)] * 3},
            "the prompts of 'calm' say nothing that the others do not",
        ),
    ],
)
def test_what_makes_no_head_is_refused(change, message):
    with pytest.raises(HeadError, match=message):
        make(**change)

from __future__ import annotations

import pickle
import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from heads import HeadError
from heads.calibrate import decide
from tests.heads.data import ENCODER, KINDS, make_head, random_codes


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("labels", ("bad", "fair", "fine")),
        ("labels", ("fair", "bad", "good")),
        ("temperature", 1.5),
        ("encoder_fingerprint", "7" * 64),
        ("bias", np.float32([0, 0, 0])),
        ("scale", np.float32([1, 1, 1])),
        ("weights", np.ones((3, 256), np.int16)),
        ("weights", np.ones((3, 128), np.int16)),
    ],
)
def test_fingerprint_changes_with_all_that_changes_the_output(part, value):
    head = make_head()
    assert replace(head, **{part: value}).fingerprint != head.fingerprint


def test_fingerprint_changes_with_thresholds():
    head = make_head("multi")
    lower = replace(head, thresholds=np.float32([0.4, 0.4, 0.1]))
    assert lower.fingerprint != head.fingerprint


def test_fingerprint_is_blind_to_task_and_notes():
    head = make_head()
    other = replace(head, task="tone", metrics={"a": 1}, source={"b": 2}, created_by={"c": 3})
    assert other.fingerprint == head.fingerprint


def test_fingerprint_is_pinned_so_that_stores_stay_readable():
    assert make_head().fingerprint.startswith("75824ee49d0f")


def test_check_encoder_names_both_fingerprints():
    head = make_head()
    head.check_encoder(ENCODER)
    wanted = (
        "head 'mood' was fitted on encoder 3f9a2c1b, not on 77de01aa, whose codes it would read; "
        "fit it again with train-head, or point --encoder at 3f9a2c1b"
    )
    with pytest.raises(HeadError, match=re.escape(wanted)):
        head.check_encoder("77de01aa" + "1" * 56)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"task": "Mood!"}, "task name 'Mood!' does not match"),
        ({"task": "a" * 65}, "at most 64"),
        ({"kind": "ordinal"}, "'ordinal' is none of single, multi, regression"),
        ({"labels": ("one",)}, "cannot have 1 labels"),
        ({"labels": ("a", "a", "b")}, "labels repeat"),
        ({"labels": ("a", "b", 3)}, "labels must be strings"),
        ({"labels": ("a", "b")}, r"weights must be \(2, 256\) int16 .* got \(3, 256\) int16"),
        ({"weights": np.ones((3, 256), np.int32)}, r"must be .*int16.* got \(3, 256\) int32"),
        ({"weights": np.ones((3, 12), np.int16)}, "multiple of 8, but weights have 12"),
        ({"weights": np.full((3, 1152), 14564, np.int16)}, "reach 14564, .* exact to 14563"),
        ({"scale": np.float32([1, 2])}, r"scale must be \(3,\) float32 .* got \(2,\)"),
        ({"bias": np.float32([1, np.nan, 2])}, "bias holds NaN"),
        ({"thresholds": np.float32([0.5] * 3)}, r"thresholds must be \(0,\)"),
        ({"temperature": 0.0}, "temperature must be above 0, but is 0.0"),
        ({"temperature": float("nan")}, "temperature must be above 0"),
        ({"encoder_fingerprint": "abc"}, "'abc' is not 64 hex digits"),
    ],
)
def test_parts_that_do_not_fit_are_refused(parts, message):
    with pytest.raises(HeadError, match=message):
        replace(make_head(), **parts)


@pytest.mark.parametrize(
    ("codes", "message"),
    [
        (random_codes(3, 128), r"shape \(n, 32\) uint8, but got \(3, 16\) uint8"),
        (random_codes(3).astype(np.int16), r"but got \(3, 32\) int16"),
        (random_codes(3)[0], r"but got \(32,\) uint8; pack bits with numpy.packbits"),
        (random_codes(0, 128), r"but got \(0, 16\) uint8"),
    ],
)
def test_wrong_codes_are_refused_with_both_shapes(codes, message):
    with pytest.raises(HeadError, match=message):
        make_head().score(codes)


def test_single_prediction_is_the_highest_score():
    head, codes = make_head(), random_codes(50)
    scores = head.score(codes)
    label_index, score = head.predict(codes)
    assert (label_index.dtype, score.dtype) == (np.int32, np.float32)
    assert np.array_equal(label_index, scores.argmax(axis=1))
    assert np.array_equal(score, scores.max(axis=1))
    np.testing.assert_allclose(scores.sum(axis=1), 1, atol=1e-6)


def test_multi_prediction_lists_labels_by_falling_score_then_class_order():
    scores = np.float32([[0.2, 0.9, 0.5], [0.1, 0.1, 0.1], [0.7, 0.7, 0.8], [0.5, 0, 0]])
    offsets, label_index, found = decide(scores, "multi", np.float32([0.5, 0.5, 0.5]))
    assert offsets.tolist() == [0, 2, 2, 5, 6]
    assert label_index.tolist() == [1, 2, 2, 0, 1, 0]
    assert found.tolist() == np.float32([0.9, 0.5, 0.8, 0.7, 0.7, 0.5]).tolist()
    assert (offsets.dtype, label_index.dtype, found.dtype) == (np.int32, np.int32, np.float32)


def test_single_tie_goes_to_the_earlier_class():
    label_index, _ = decide(np.float32([[0.2, 0.4, 0.4]]), "single", np.float32([]))
    assert label_index.tolist() == [1]


def test_regression_prediction_is_the_values():
    head, codes = make_head("regression"), random_codes(5)
    assert head.score(codes).shape == (5, 1)
    assert np.array_equal(head.predict(codes), head.score(codes)[:, 0])


@pytest.mark.parametrize("kind", KINDS)
def test_no_rows_give_no_labels(kind):
    head = make_head(kind)
    assert head.score(random_codes(0)).shape == (0, len(head.weights))
    predicted = head.predict(random_codes(0))
    if kind == "regression":
        assert predicted.shape == (0,)
    elif kind == "single":
        assert [part.shape for part in predicted] == [(0,), (0,)]
    else:
        assert predicted.offsets.tolist() == [0]


def test_head_pickles_without_what_its_kernel_derives():
    head, codes = make_head(bits=1152), random_codes(4, 1152)
    before = len(pickle.dumps(head))
    wanted = head.score(codes)
    assert len(pickle.dumps(head)) < before + 200
    assert np.array_equal(pickle.loads(pickle.dumps(head)).score(codes), wanted)


def test_codes_may_be_read_only_or_strided():
    head, codes = make_head(), random_codes(40)
    wanted = head.score(codes[::2])
    frozen = codes.copy()
    frozen.flags.writeable = False
    assert np.array_equal(head.score(frozen)[::2], wanted)


def test_loading_and_scoring_import_neither_torch_nor_beam_nor_arrow(tmp_path):
    folder = tmp_path / "mood"
    make_head(bits=64).save(folder)
    program = (
        "import sys, numpy as np, heads\n"
        f"heads.load({str(folder)!r}).predict(np.zeros((3, 8), np.uint8))\n"
        "print(sorted({'torch', 'apache_beam', 'pyarrow'} & set(sys.modules)))"
    )
    run = [sys.executable, "-c", program]
    assert subprocess.run(run, capture_output=True, text=True, check=True).stdout == "[]\n"

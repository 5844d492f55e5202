from __future__ import annotations

import json
import pickle
import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

import heads
from heads import Head, HeadError
from heads.calibrate import decide
from tests.heads.data import ENCODER, KINDS, LABELS, make_head, random_codes


def saved(tmp_path, kind="single", **parts):
    folder = tmp_path / "mood"
    make_head(kind, **parts).save(folder)
    return folder


def edit(folder, **fields):
    path = folder / "head.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


@pytest.mark.parametrize("kind", KINDS)
def test_saved_head_reads_back_with_the_same_scores_and_fingerprint(kind, tmp_path):
    head, codes = make_head(kind), random_codes(20)
    head.save(tmp_path / "a" / "mood")
    again = Head.read(tmp_path / "a" / "mood")
    assert again.fingerprint == head.fingerprint
    assert again.score(codes).tobytes() == head.score(codes).tobytes()
    assert (again.task, again.kind, again.labels) == ("mood", kind, LABELS[kind])
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == ["mood"]


def test_metadata_survive_in_order(tmp_path):
    notes = {"metrics": {"z": 1, "a": None}, "source": {"data": "né"}, "created_by": {"by": "me"}}
    head = make_head(**notes)
    head.save(tmp_path / "mood")
    again = Head.read(tmp_path / "mood")
    assert {name: getattr(again, name) for name in notes} == notes
    assert list(again.metrics) == ["z", "a"]
    assert '\n  "source": {\n    "data": "né"' in (tmp_path / "mood/head.json").read_text("utf-8")


def test_saving_twice_gives_the_same_bytes(tmp_path):
    make_head().save(tmp_path / "a")
    make_head().save(tmp_path / "b")
    for name in ("head.json", "weights.safetensors"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_save_replaces_an_older_head_and_leaves_nothing_behind(tmp_path):
    folder = saved(tmp_path)
    newer = make_head("multi")
    newer.save(folder)
    assert Head.read(folder).fingerprint == newer.fingerprint
    assert [p.name for p in tmp_path.iterdir()] == ["mood"]


@pytest.mark.parametrize("what", ["folder", "file"])
def test_save_refuses_to_replace_what_is_not_a_head(what, tmp_path):
    place = tmp_path / "mine"
    if what == "folder":
        place.mkdir()
        (place / "thesis.txt").write_text("years of work")
    else:
        place.write_text("years of work")
    with pytest.raises(HeadError, match="is not a head's folder; choose another"):
        make_head().save(place)
    assert "years" in (place / "thesis.txt" if what == "folder" else place).read_text()


def test_save_that_fails_leaves_the_older_head(tmp_path):
    folder = saved(tmp_path)
    with pytest.raises(TypeError):
        make_head("multi", metrics={"oops": object()}).save(folder)
    assert Head.read(folder).kind == "single"
    assert [p.name for p in tmp_path.iterdir()] == ["mood"]


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
        "head 'mood' was fitted on encoder 3f9a2c1b but the store holds codes of 77de01aa; "
        "fit it again with train-head or point --encoder at 3f9a2c1b"
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


def test_newer_format_is_refused(tmp_path):
    folder = saved(tmp_path)
    edit(folder, format=2)
    with pytest.raises(HeadError, match=r"format 2, but .* reads formats up to 1; upgrade"):
        Head.read(folder)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"temperature": 2.0}, "damaged: head.json says fingerprint .*, its parts give"),
        ({"labels": ["x", "y", "z"]}, "damaged: head.json says fingerprint"),
        ({"labels": ["x"]}, "damaged: a head of kind single cannot have 1 labels"),
        ({"labels": None}, "damaged"),
        ({"labels": [["x"], "y", "z"]}, "damaged: labels must be strings"),
        ({"kind": ["single"]}, "damaged"),
        ({"temperature": "hot"}, "damaged"),
        ({"bits": 512}, "head.json says bits 512, its parts give 256"),
        ({"format": "one"}, "names no format"),
    ],
)
def test_edited_head_json_is_refused(fields, message, tmp_path):
    folder = saved(tmp_path)
    edit(folder, **fields)
    with pytest.raises(HeadError, match=message):
        Head.read(folder)


def test_flipped_weight_is_refused(tmp_path):
    folder = saved(tmp_path)
    path = folder / "weights.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(HeadError, match="damaged"):
        Head.read(folder)


def test_cut_or_missing_files_are_refused(tmp_path):
    folder = saved(tmp_path)
    weights = folder / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(HeadError, match=r"cannot read .*weights.safetensors"):
        Head.read(folder)
    weights.unlink()
    with pytest.raises(HeadError, match=r"cannot read .*weights.safetensors"):
        Head.read(folder)
    (folder / "head.json").write_text("{")
    with pytest.raises(HeadError, match=r"head.json is damaged"):
        Head.read(folder)
    (folder / "head.json").write_text('{"format": 1}')
    with pytest.raises(HeadError, match="it lacks bits, created_by, encoder_fingerprint"):
        Head.read(folder)
    (folder / "head.json").unlink()
    with pytest.raises(HeadError, match=r"cannot read head.json \(No such file"):
        Head.read(folder)


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


def test_head_pickles_without_its_table():
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


def test_a_head_is_saved_where_one_stands(tmp_path, monkeypatch):
    make_head().save(tmp_path / "mine")
    monkeypatch.chdir(tmp_path / "mine")
    heads.check_new("mood", ".")
    make_head().save(".")
    assert heads.load(str(tmp_path / "mine"))


def test_load_reads_a_folder(tmp_path):
    folder = saved(tmp_path)
    assert heads.load(folder).fingerprint == heads.load(str(folder)).fingerprint


def test_load_takes_a_bundled_name(tmp_path, monkeypatch):
    saved(tmp_path)
    monkeypatch.setattr(heads, "BUNDLED_FOLDER", tmp_path)
    assert heads.bundled() == ["mood"]
    assert heads.load("mood").task == "mood"


def test_load_of_an_unknown_name_lists_the_bundled_ones(tmp_path, monkeypatch):
    saved(tmp_path)
    monkeypatch.setattr(heads, "BUNDLED_FOLDER", tmp_path)
    with pytest.raises(HeadError, match=r"unknown head 'moo': .* bundled are: mood"):
        heads.load("moo")
    monkeypatch.setattr(heads, "BUNDLED_FOLDER", tmp_path / "nowhere")
    with pytest.raises(HeadError, match=r"bundled are: \(none\)"):
        heads.load("moo")


def test_load_of_a_name_that_is_also_a_folder_asks_which(tmp_path, monkeypatch):
    saved(tmp_path)
    monkeypatch.setattr(heads, "BUNDLED_FOLDER", tmp_path)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(HeadError, match=r"both a bundled head and a folder here; write './mood'"):
        heads.load("mood")
    assert heads.load("./mood").task == "mood"


def test_loading_and_scoring_import_neither_torch_nor_beam_nor_arrow(tmp_path):
    folder = saved(tmp_path, bits=64)
    program = (
        "import sys, numpy as np, heads\n"
        f"heads.load({str(folder)!r}).predict(np.zeros((3, 8), np.uint8))\n"
        "print(sorted({'torch', 'apache_beam', 'pyarrow'} & set(sys.modules)))"
    )
    run = [sys.executable, "-c", program]
    assert subprocess.run(run, capture_output=True, text=True, check=True).stdout == "[]\n"

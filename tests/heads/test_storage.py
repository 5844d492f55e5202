"""The folders of heads: written whole or not at all, read back as they were, refused where they are damaged."""

from __future__ import annotations

import json
import os

import pytest

import heads
from heads import Head, HeadError
from tests.heads.data import KINDS, LABELS, make_head, random_codes


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


def test_a_full_disk_leaves_the_older_head(tmp_path, largest_file):
    folder = saved(tmp_path)
    before = Head.read(folder).fingerprint
    with largest_file(1024), pytest.raises(HeadError, match="mood cannot be written: File too large"):
        make_head("multi").save(folder)
    assert Head.read(folder).fingerprint == before
    assert sorted(p.name for p in folder.iterdir()) == ["head.json", "weights.safetensors"]


@pytest.mark.parametrize("older", [False, True])
@pytest.mark.parametrize("moment", range(2))
def test_what_a_killed_save_left_is_no_head_and_is_written_again(tmp_path, monkeypatch, moment, older):
    folder, head = tmp_path / "mood", make_head("multi")
    if older:
        make_head().save(folder)
    renames = []

    def killed(path, to):
        if len(renames) == moment:
            raise KeyboardInterrupt
        renames.append(to)
        os.replace(path, to)

    with monkeypatch.context() as patched:
        patched.setattr("pathlib.Path.replace", killed)
        with pytest.raises(KeyboardInterrupt):
            head.save(folder)
    if older and moment == 0:
        assert Head.read(folder).fingerprint == make_head().fingerprint
    else:
        with pytest.raises(HeadError, match="is damaged" if older else "no head in"):
            Head.read(folder)
    heads.check_new("mood", folder)
    head.save(folder)
    assert Head.read(folder).fingerprint == head.fingerprint
    assert sorted(p.name for p in folder.iterdir()) == ["head.json", "weights.safetensors"]


def test_other_files_beside_a_head_are_kept(tmp_path):
    folder = saved(tmp_path)
    (folder / "README.md").write_text("a card")
    make_head("multi").save(folder)
    assert (folder / "README.md").read_text() == "a card"


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


def test_save_where_nothing_can_be_written_is_said_in_one_line(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(HeadError, match=f"{tmp_path}/file is not a folder that one may write to"):
        heads.check_new("mood", tmp_path / "file" / "mine")
    with pytest.raises(HeadError, match="cannot be written"):
        make_head("single").save(tmp_path / "file" / "mine")
    monkeypatch.setattr("os.access", lambda path, mode: False)
    with pytest.raises(HeadError, match=f"{tmp_path} is not a folder that one may write to"):
        heads.check_new("mood", tmp_path / "new" / "mine")

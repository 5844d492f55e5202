"""Folders of tasks: which rows are read, of which kind, under which name."""

from __future__ import annotations

import shutil

from pipelines.models.task_folders import find_folders, read_task
from tests.conftest import random_texts
from tests.pipelines.labelled_folders import write_split, write_task


def test_rows_without_text_are_left_out_with_a_warning(tasks, tmp_path, caplog):
    shutil.copytree(tasks / "held", tmp_path / "held")
    write_split(tmp_path / "held", "train", ["good film", "", "dull", None], ["some", "some", "none", "none"])
    task = read_task(tmp_path / "held")
    assert task.train.texts == ["good film", "dull"]
    assert task.train.targets.tolist() == [1, 0]
    assert "2 of 4 rows have no usable text and are skipped" in caplog.text


def test_kinds_are_those_of_the_labels_where_the_description_does_not_say(tasks, tmp_path):
    for kind in ("single", "multi", "regression"):
        folder = write_task(tmp_path / kind, kind)
        assert read_task(folder).kind == kind
    numbers = write_task(tmp_path / "numbers", labels=[0, 1])
    for split in ("train", "validation"):
        write_split(numbers, split, random_texts(40), [0, 1] * 20)
    assert read_task(numbers).kind == "single"
    assert read_task(numbers).classes == ("0", "1")
    (numbers / "info.json").write_text("{}")
    assert read_task(numbers).kind == "regression"


def test_a_task_is_called_what_its_folder_is_called(tasks, monkeypatch):
    monkeypatch.chdir(tasks / "held")
    assert find_folders(["."])[0].name == "held"

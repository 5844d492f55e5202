from __future__ import annotations

import glob
import os

import pytest

from transforms.filesystem.expand import expand


@pytest.fixture
def tree(tmp_path):
    for path in ("a/x.txt", "a/b/y.txt", "a/b/c/z.csv", "d/x.txt", ".hidden/x.txt", "top.txt", "[a]/x.txt"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("x\n")
    return tmp_path


@pytest.mark.parametrize(
    "pattern", ["*", "**", "**/*.txt", "a/**", "a/**/*.txt", "*/*.txt", "**/b/**", "**/b/*", "d/x.txt"]
)
def test_without_links_files_are_those_of_pythons_glob(tree, pattern):
    ours, repeated = expand(str(tree / pattern))
    theirs = set(glob.glob(str(tree / pattern), recursive=True))
    assert [path for path in ours if os.path.isfile(path)] == sorted(path for path in theirs if os.path.isfile(path))
    assert repeated == []


def test_links_that_lead_in_circles_are_not_followed(tree):
    (tree / "a" / "up").symlink_to("..")
    (tree / "a" / "b" / "up").symlink_to("../..")
    (tree / "first").symlink_to("a")
    paths, repeated = expand(str(tree / "**" / "*.txt"))
    assert [os.path.relpath(path, tree) for path in paths] == [
        "[a]/x.txt",
        "a/b/y.txt",
        "a/x.txt",
        "d/x.txt",
        "top.txt",
    ]
    assert [os.path.relpath(path, tree) for path in repeated] == ["a/b/up", "a/up", "first"]


def test_a_folder_that_only_a_link_leads_to_is_read(tree):
    paths, repeated = expand(str(tree / "a" / "**" / "*.txt"))
    (tree / "a" / "other").symlink_to("../d")
    more, still = expand(str(tree / "a" / "**" / "*.txt"))
    assert set(more) - set(paths) == {str(tree / "a" / "other" / "x.txt")}
    assert repeated == still == []

from __future__ import annotations

import re

import pytest

from tests import module_map
from tests.module_map import PAGE, REPOSITORY

TEXT = PAGE.read_text(encoding="utf-8")


def test_the_map_holds_every_module_with_the_first_sentence_of_its_docstring():
    assert module_map.with_map(TEXT, module_map.module_map()) == TEXT, "the map is out of date: run `make map`"


@pytest.mark.parametrize("package", module_map.packages())
def test_every_module_says_what_it_does(package):
    silent = [
        path.name
        for path in module_map.modules(REPOSITORY / package)
        if not module_map.first_sentence(path.read_text(encoding="utf-8"))
    ]
    assert not silent


def test_the_map_has_all_product_packages():
    assert {"encode_once", "pipelines", "transforms", "heads", "encoder"} <= set(module_map.packages())
    listed = re.findall(r"^- `([\w/.]+)`: \S", module_map.module_map(), re.MULTILINE)
    found = [path for name in module_map.packages() for path in (REPOSITORY / name).rglob("*.py")]
    assert len(listed) == len(set(listed)) == len(found)


def test_every_file_that_the_page_names_exists():
    paths = set(re.findall(r"`((?:[\w.-]+/)+[\w.-]*)`", TEXT)) - {".venv/"}
    assert len(paths) > 100
    assert [path for path in sorted(paths) if not (REPOSITORY / path).exists() and not path.startswith("../")] == []


def test_every_target_of_make_that_the_page_names_exists():
    rules = set(re.findall(r"^([\w-]+):", (REPOSITORY / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = set(re.findall(r"(?:`|^)make ([\w-]+)", TEXT, re.MULTILINE))
    assert {"test", "lint"} <= named <= rules


def test_a_sentence_ends_before_the_next_one_begins():
    assert module_map.first_sentence('"""Read a.txt, e.g. lines. Needs no torch."""') == "Read a.txt, e.g. lines."
    assert module_map.first_sentence("x = 1") == ""

"""The documentation: every link leads somewhere, the site builds, and it loads nothing from the network."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.command_line.cli import COMMANDS

REPOSITORY = Path(__file__).parents[1]
PAGES = [
    *(REPOSITORY / name for name in ("README.md", "CHANGELOG.md", "heads/README.md", "examples/README.md")),
    REPOSITORY / "encoder/bundles/default/README.md",
    *sorted((REPOSITORY / "docs").rglob("*.md")),
]
MAX_README_WORDS = 1200

_spec = importlib.util.spec_from_file_location("site_hooks", REPOSITORY / "docs" / "site_hooks.py")
site_hooks = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(site_hooks)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_every_link_of_a_page_leads_to_a_file(page):
    for link in site_hooks.links(page.read_text(encoding="utf-8")):
        assert (page.parent / link.partition("#")[0]).exists(), f"{page} links to {link}"


def test_the_readme_is_short():
    assert len((REPOSITORY / "README.md").read_text(encoding="utf-8").split()) < MAX_README_WORDS


def test_every_command_has_a_section_and_every_mark_names_a_command():
    page = (REPOSITORY / "docs" / "reference" / "commands.md").read_text(encoding="utf-8")
    for command in COMMANDS:
        assert f"\n## {command}\n" in page
        assert f"encode-once {command}" in page or f"<!-- options of {command} -->" in page
    assert set(re.findall("<!-- options of (.*) -->", page)) <= COMMANDS.keys()


@pytest.mark.parametrize(
    ("link", "source", "uri", "expected"),
    [
        ("docs/design.md", "README.md", "index.md", "design.md"),
        ("../heads/README.md#sources", "docs/training.md", "training.md", "reference/bundled-heads.md#sources"),
        ("../../README.md", "docs/how-to/add-a-label.md", "how-to/add-a-label.md", "../index.md"),
        ("../design.md", "docs/reference/store.md", "reference/store.md", "../design.md"),
        (
            "../../../docs/results.md",
            "encoder/bundles/default/README.md",
            "reference/bundled-encoder.md",
            "../results.md",
        ),
        ("LICENSE", "README.md", "index.md", None),
        ("no-such-file.md", "README.md", "index.md", "no-such-file.md"),
    ],
)
def test_links_between_files_become_links_between_pages(link, source, uri, expected):
    assert site_hooks.site_link(link, source, uri) == expected


def test_links_in_code_stay():
    text = "[a](docs/design.md)\n```\n[b](docs/design.md)\n```\n[c](LICENSE) [d](https://example.org)\n"
    expected = "[a](design.md)\n```\n[b](docs/design.md)\n```\nc [d](https://example.org)\n"
    assert site_hooks.translate_links(text, "README.md", "index.md") == expected


@pytest.fixture
def mkdocs():
    pytest.importorskip("mkdocs", reason="mkdocs is not installed: pip install '.[docs]'")
    return [sys.executable, "-m", "mkdocs", "build", "--strict"]  # with --quiet, --strict counts no warnings


def test_the_site_builds_and_loads_nothing_from_the_network(mkdocs, tmp_path):
    subprocess.run([*mkdocs, "--site-dir", str(tmp_path)], cwd=REPOSITORY, check=True, capture_output=True)
    pages = {str(path.relative_to(tmp_path)): path.read_text(encoding="utf-8") for path in tmp_path.rglob("*.html")}
    assert {"index.html", "tutorial.html", "how-to/add-a-label.html", "reference/bundled-heads.html"} <= pages.keys()
    loaded = re.compile(r"<(?:script|link|img)\b[^>]*\b(?:src|href)=[\"'](?:https?:)?//[^>]*>")
    assert not [(name, found) for name, page in pages.items() for found in loaded.findall(page)]
    assert "--text_field" in pages["reference/commands.html"]


def test_a_broken_link_or_anchor_fails_the_build(mkdocs, tmp_path):
    for name in ("mkdocs.yml", *(str(page.relative_to(REPOSITORY)) for page in PAGES), "LICENSE"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(REPOSITORY / name, tmp_path / name)
    for path in (REPOSITORY / "docs").iterdir():
        if path.is_file():
            shutil.copy(path, tmp_path / "docs" / path.name)
    commands = tmp_path / "docs" / "reference" / "commands.md"  # without options: there is no package here
    commands.write_text(re.sub("<!-- .* -->", "", commands.read_text(encoding="utf-8")), encoding="utf-8")
    with (tmp_path / "README.md").open("a", encoding="utf-8") as readme:
        readme.write("\n[one](docs/no-such-page.md) [two](docs/design.md#no-such-section)\n")
    done = subprocess.run(mkdocs, cwd=tmp_path, check=False, capture_output=True, text=True)
    assert done.returncode != 0
    assert "no-such-page.md" in done.stderr
    assert "no-such-section" in done.stderr

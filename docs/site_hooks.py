"""Complete the documentation site when mkdocs builds it: add the pages outside docs/, and the options of every command.

All links in the repository are relative, so that they work where the files are read as they are. `site_link` translates
them for the site; mkdocs then checks that every link and every anchor exists.
"""

from __future__ import annotations

import posixpath
import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # the options are those of this checkout, whatever is installed
# Pages of the site by their file in the repository, for files outside docs/.
PAGES_OUTSIDE = {
    "README.md": "index.md",
    "CHANGELOG.md": "changes.md",
    "heads/README.md": "reference/bundled-heads.md",
    "encoder/bundles/default/README.md": "reference/bundled-encoder.md",
    "examples/README.md": "reference/example-corpus.md",
}
_SOURCES = {page: source for source, page in PAGES_OUTSIDE.items()}
_FENCED = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(?P<text>!?\[[^\]]*\])\((?P<link>[^)\s]+)\)")
_EXTERNAL = re.compile(r"[a-z][a-z0-9+.-]*:|#")
_OPTIONS_MARK = re.compile(r"^<!-- options of (?P<command>[a-z-]+) -->$", re.MULTILINE)


def on_files(files: Any, config: Any) -> Any:
    """Add the pages that lie outside docs/ (called by mkdocs)."""
    from mkdocs.structure.files import File

    for source, page in PAGES_OUTSIDE.items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / source)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Translate a page's links and insert the options of commands (called by mkdocs)."""
    uri = page.file.src_uri
    return insert_options(translate_links(markdown, _SOURCES.get(uri, f"docs/{uri}"), uri))


def links(markdown: str) -> list[str]:
    """Return the relative links of a page, images included."""
    prose = "".join(_FENCED.split(markdown)[::2])
    return [match["link"] for match in _LINK.finditer(prose) if not _EXTERNAL.match(match["link"])]


def translate_links(markdown: str, source: str, uri: str) -> str:
    """Replace links between files of the repository with links between pages of the site.

    Args:
        markdown: the text of the page.
        source: the page's file, relative to the repository.
        uri: the page's file, relative to docs/.
    """

    def translate(match: re.Match) -> str:
        if _EXTERNAL.match(match["link"]):
            return match[0]
        link = site_link(match["link"], source, uri)
        return match["text"].lstrip("!").strip("[]") if link is None else f"{match['text']}({link})"

    parts = _FENCED.split(markdown)
    return "".join(part if index % 2 else _LINK.sub(translate, part) for index, part in enumerate(parts))


def site_link(link: str, source: str, uri: str) -> str | None:
    """Return a link of the site, or None where the target exists in the repository but is not part of the site.

    A link to a missing file is returned unchanged: mkdocs reports it.
    """
    path, _, anchor = link.partition("#")
    target = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
    if target in PAGES_OUTSIDE:
        page = PAGES_OUTSIDE[target]
    elif target.startswith("docs/"):
        page = target.removeprefix("docs/")
    else:
        return None if (ROOT / target).exists() else link
    return posixpath.relpath(page, posixpath.dirname(uri) or ".") + (f"#{anchor}" if anchor else "")


def insert_options(markdown: str) -> str:
    """Replace each `<!-- options of COMMAND -->` with the options that the command declares."""
    return _OPTIONS_MARK.sub(lambda match: command_options(match["command"]), markdown)


def command_options(command: str) -> str:
    """Return the options of a command as Markdown, from this checkout."""
    from pipelines.command_line.option_tables import options_table

    return options_table(command)

"""Write the map of modules in `CONTRIBUTING.md`: the first sentence of each module's docstring. Run by `make map`."""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
PAGE = REPOSITORY / "CONTRIBUTING.md"
BEGIN, END = "<!-- map: written by `make map` -->\n", "<!-- end of map -->\n"
ORDER = ("pipelines", "transforms", "heads", "encoder")  # as imports go


def packages(repository: Path = REPOSITORY) -> list[str]:
    """Return the product packages, which carry py.typed, the callers first."""
    names = {marker.parent.name for marker in repository.glob("*/py.typed")}
    return sorted(names - set(ORDER)) + [name for name in ORDER if name in names]


def modules(package: Path) -> Iterator[Path]:
    """Yield the modules of a package: its own by name, then those of its subfolders."""
    yield from sorted(package.glob("*.py"))
    for folder in sorted(path.parent for path in package.glob("*/__init__.py")):
        yield from modules(folder)


def first_sentence(source: str) -> str:
    """Return the first sentence of a module's docstring; nothing for a module without one."""
    paragraph = (ast.get_docstring(ast.parse(source)) or "").split("\n\n")[0]
    return re.split(r"(?<=[.!?])\s+(?=[A-Z`])", " ".join(paragraph.split()))[0]


def module_map(repository: Path = REPOSITORY) -> str:
    """Return the map as Markdown: a list for each package, one item for each module."""
    parts = []
    for name in packages(repository):
        items = []
        for path in modules(repository / name):
            relative = path.relative_to(repository)
            shown = f"{relative.parent}/" if path.name == "__init__.py" else str(relative)
            text = f"`{shown}`: {first_sentence(path.read_text(encoding='utf-8'))}"
            items.append(
                textwrap.fill(
                    text,
                    120,
                    initial_indent="- ",
                    subsequent_indent="  ",
                    break_long_words=False,
                    break_on_hyphens=False,
                )
            )
        parts.append(f"**{name}**\n\n" + "\n".join(items) + "\n")
    return "\n".join(parts)


def with_map(page: str, map_: str) -> str:
    """Return a page with the map between its two marks."""
    before, rest = page.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n{map_}\n{END}{after}"


def main() -> None:
    PAGE.write_text(with_map(PAGE.read_text(encoding="utf-8"), module_map()), encoding="utf-8")


if __name__ == "__main__":
    main()

"""Write the tables of the reference: the options of each command, as Markdown.

python -m pipelines.command_line.option_tables            all commands
python -m pipelines.command_line.option_tables annotate   one
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from pipelines.command_line.cli import COMMANDS, main_of, parser_of
from pipelines.command_line.options import OptionError
from pipelines.command_line.parser import Parser, default_text, value_text


def options_table(command: str) -> str:
    """Return the options of a command as Markdown: a description, examples, and a table for each group of options."""
    parser = parser_of(command)
    parts = [parser.description or ""]
    if parser.examples:
        parts.append("```bash\n" + "\n".join(parser.examples) + "\n```")
    for title, actions in parser.groups():
        rows = []
        for action in actions:
            name = " ".join(filter(None, [*action.option_strings[:1], value_text(action)]))
            default = "required" if action.required else default_text(action)
            rows.append(f"| `{_cell(name)}` | {_cell(default)} | {_cell(action.help or '')} |")
        heading = "" if title in ("options", "positional arguments") else f"**{title[:1].upper()}{title[1:]}**\n\n"
        parts.append(heading + "\n".join(["| option | default | description |", "|---|---|---|", *rows]))
    if parser.epilog:
        parts.append(parser.epilog)
    return "\n\n".join(parts) + "\n"


def run(argv: Sequence[str]) -> str:
    """Print the tables of some commands, or of all, and return them."""
    parser = Parser("python -m pipelines.command_line.option_tables", "Print the options of commands as Markdown.")
    parser.add_argument("commands", nargs="*", metavar="COMMAND", help="all commands if none is given")
    commands = parser.parse_args(list(argv)).commands or list(COMMANDS)
    for command in commands:
        if command not in COMMANDS:
            raise OptionError(f"no command {command!r}; choose from {', '.join(COMMANDS)}")
    text = "\n".join(f"## encode-once {command}\n\n{options_table(command)}" for command in commands)
    print(text, end="")
    return text


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("*", "\\*").replace("<", "&lt;")


if __name__ == "__main__":
    sys.exit(main_of(run))

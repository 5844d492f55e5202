"""Read options from a TOML file: what a scheduler repeats. Options on the command line take precedence.

store = "my-store"          # options of every command that has them
heads = ["all", "mine"]

[verify]                    # options of one command
text_field = "body"

[beam]                      # options that are passed to Beam
runner = "FlinkRunner"
"""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import os
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from encoder.declare import OptionError, option
from pipelines.command_line.cli import COMMANDS, parser_of
from pipelines.command_line.logs import LogFormat
from pipelines.command_line.parser import Parser, add_fields, takes_value

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

CONFIG = "--config"
_BEAM = "beam"
_BEAM_COMMANDS = ("annotate", "encode", "label", "status", "verify", "prune")


@dataclasses.dataclass(frozen=True)
class CommonOptions:
    """Options of every command."""

    config: str | None = option(
        None,
        metavar="FILE",
        kind="local_path",
        help='TOML file of options by name, such as text_field = "body"; those of the command line take precedence',
    )
    log_format: LogFormat = option(
        "text", help="format of messages on stderr; json is one object a line, the last one with the result"
    )


def add_common_options(parser: Parser) -> Parser:
    """Add the options of every command to a parser, as its last group."""
    add_fields(parser.add_argument_group("all commands"), CommonOptions)
    return parser


def expand_config(argv: Sequence[str], parser: Parser) -> list[str]:
    """Replace `--config FILE` in the arguments of a command by the options of the file that the arguments do not have.

    Raises:
        OptionError: the file cannot be read, or a key or a value in it is not valid.
    """
    path, rest = _take_path(argv)
    if path is None:
        return rest
    command = parser.prog.rpartition(" ")[2]
    given = {argument.partition("=")[0] for argument in rest if argument.startswith("--")}
    tables = _read(path)
    beam = tables.pop(_BEAM, {})
    own = tables.pop(command, {})
    for name in COMMANDS:
        tables.pop(name, None)
    found: list[str] = []
    names = _names(parser)
    for key, value in {**tables, **own}.items():
        if key in names:
            found += _arguments(f"{key} in {path}", names[key], key, value, given)
        elif key in own or not _is_of_another_command(key):
            raise OptionError(_unknown(key, path, parser, names, f"[{command}]" if key in own else ""))
    if command in _BEAM_COMMANDS:
        for key, value in beam.items():
            if f"--{key}" not in given:
                found += _beam_arguments(key, value, path, names)
    return [*found, *rest]


def _take_path(argv: Sequence[str]) -> tuple[str | None, list[str]]:
    """Return the value of --config, and the other arguments."""
    path, rest, arguments = None, [], iter(argv)
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if name != CONFIG:
            rest.append(argument)
            continue
        value = value if equals else next(arguments, "")
        if not value or value.startswith("--"):
            raise OptionError(f"{CONFIG} needs the name of a file")
        if path is not None:
            raise OptionError(f"{CONFIG} is given twice: {path} and {value}")
        path = os.path.expanduser(value)
    return path, rest


def _read(path: str) -> dict[str, Any]:
    try:
        with open(path, "rb") as file:
            return tomllib.load(file)
    except OSError as error:
        raise OptionError(f"{CONFIG} {path} cannot be read: {error.strerror or error}") from None
    except ValueError as error:  # TOMLDecodeError and UnicodeDecodeError are among these
        raise OptionError(f"{CONFIG} {path} is not TOML: {error}") from None


def _names(parser: Parser) -> dict[str, argparse.Action]:
    """Return the arguments of a command by the names that a file may use: `no_progress` and, for false, `progress`."""
    names: dict[str, argparse.Action] = {}
    for action in parser.actions():
        flags = [name for name in action.option_strings if name.startswith("--") and name not in ("--help", CONFIG)]
        names |= {name[2:]: action for name in flags}
        if flags and action.const is False:
            names[action.dest] = action
    return names


def _is_of_another_command(key: str) -> bool:
    return any(key in _names(parser_of(command)) for command in COMMANDS)


def _unknown(key: str, path: str, parser: Parser, names: Iterable[str], where: str) -> str:
    where = f"{where} in {path}" if where else path
    close = difflib.get_close_matches(key, [*names, _BEAM, *COMMANDS], 1, 0.8)
    listed = f"{parser.prog} --help lists the options; those of Beam belong in a table [{_BEAM}]"
    return f"unknown key {key!r} in {where}; " + (f"did you mean {close[0]}?" if close else listed)


def _arguments(what: str, action: argparse.Action, key: str, value: Any, given: set[str]) -> list[str]:
    """Return a key and its value as arguments; none if the command line has the option."""
    if given & set(action.option_strings):
        return []
    flag = action.option_strings[0]
    if not takes_value(action):
        if not isinstance(value, bool):
            raise OptionError(f"{what} must be true or false, not {value!r}")
        return [flag] if value == (action.const if key == action.dest else True) else []
    several = action.nargs is not None
    values = value if isinstance(value, list) else [value]
    if isinstance(value, list) and not several:
        raise OptionError(f"{what} takes one value, not a list")
    for one in values:
        if isinstance(one, bool) or not isinstance(one, (str, int, float)):
            raise OptionError(f"{what} must be text or a number, not {_as_toml(one)}")
    return [flag, *map(str, values)] if several else [f"{flag}={values[0]}"]


def _beam_arguments(key: str, value: Any, path: str, ours: Iterable[str]) -> list[str]:
    if isinstance(value, bool):
        if key in ours:
            raise OptionError(f"{key} in [{_BEAM}] in {path} is an option of encode-once; write it above the tables")
        return [f"--{key}"] if value else []
    values = value if isinstance(value, list) else [value]
    if any(isinstance(one, (bool, dict, list)) for one in values):
        raise OptionError(f"{key} in [{_BEAM}] in {path} must be text, a number, or a list of these")
    return [f"--{key}={one}" for one in values]


def _as_toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "a table" if isinstance(value, dict) else "a list" if isinstance(value, list) else repr(value)

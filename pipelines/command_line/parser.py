"""Make command lines from dataclasses whose fields declare options (`encoder.declare`)."""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import os
import re
import shutil
import typing
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn, TypeVar

from encoder.declare import Option, options_of
from pipelines.command_line.logs import write_message

MAX_WIDTH = 110
_MAX_HELP_POSITION = 32
_T = TypeVar("_T")


def add_fields(container: argparse._ActionsContainer, cls: type, *names: str, **changes: Any) -> None:
    """Add the options of a dataclass, all or those named, to a parser or a group of its arguments.

    Args:
        changes: arguments of `add_argument` that differ from the declaration: `required`, `default`, `help`, `nargs`; and
            `default_text`, which the help shows as the default.
    """
    declared = {option.name: option for option in options_of(cls)}
    for option in map(declared.__getitem__, names or declared):
        if option.value_type is bool:
            flag, constant = (option.flag, True) if not option.default else (f"no_{option.flag}", False)
            switch = {
                "dest": option.name,
                "const": constant,
                "default": option.default,
                "help": option.metadata["help"],
            }
            container.add_argument(f"--{flag}", action="store_const", **(switch | changes))
            continue
        required = option.default is dataclasses.MISSING
        arguments = {
            "dest": option.name,
            "type": _converter(option),
            "default": None if required else option.default,
            "required": required,
            "metavar": option.metadata["metavar"] or _braces(option.choices) or None,
            "help": option.metadata["help"],
        }
        if option.several:
            arguments["nargs"] = option.several if option.several is not True else "+"
        if "default" in changes:
            arguments["required"] = False
        container.add_argument(f"--{option.flag}", action=_Store, option=option, **(arguments | changes))


def from_arguments(cls: type[_T], namespace: argparse.Namespace, **given: Any) -> _T:
    """Make a dataclass from parsed arguments; fields that are dataclasses are made from the same arguments.

    Args:
        given: values of fields that replace those of the arguments.

    Raises:
        OptionError: names the first option whose value is not valid, and the valid values.
    """
    values = values_of(cls, namespace) | given
    hints = typing.get_type_hints(cls)
    for field in dataclasses.fields(cls):  # type: ignore[arg-type]
        if field.name not in values and dataclasses.is_dataclass(hints[field.name]):
            values[field.name] = from_arguments(hints[field.name], namespace)
    return cls(**values)


def values_of(cls: type, namespace: argparse.Namespace) -> dict[str, Any]:
    """Return the values of a dataclass's options that a command line has, checked.

    Raises:
        OptionError: names the first option whose value is not valid, and the valid values.
    """
    values = {}
    for option in options_of(cls):
        if hasattr(namespace, option.name):
            value = getattr(namespace, option.name)
            values[option.name] = tuple(value) if isinstance(value, list) else value
            option.check(value, f"--{option.flag}")
    return values


class Parser(argparse.ArgumentParser):
    """A parser without abbreviations. Errors are one line; the help shows defaults and examples."""

    def __init__(self, prog: str, description: str, examples: Sequence[str] = (), epilog: str | None = None) -> None:
        super().__init__(
            prog=prog, description=description, epilog=epilog, allow_abbrev=False, formatter_class=_Formatter
        )
        self.examples = examples

    def actions(self) -> list[argparse.Action]:
        """Return the arguments, in the order of the help."""
        return list(self._actions)

    def groups(self) -> Iterator[tuple[str, list[argparse.Action]]]:
        """Yield the title and the arguments of each group that has arguments, without --help."""
        for group in self._action_groups:
            actions = [action for action in group._group_actions if action.dest != "help"]
            if actions:
                yield group.title or "", actions

    def format_usage(self) -> str:
        """Return the required arguments alone: the help lists the others."""
        needed = [
            " ".join([*action.option_strings[:1], value_text(action)]) for action in self._actions if action.required
        ]
        lines = _wrap(f"usage: {' '.join([self.prog, *needed])} [options]", _width(), continued="")
        return "".join(f"{line}\n" for line in lines)

    def format_help(self) -> str:
        formatter = self._get_formatter()
        formatter.add_text(self.description)
        for group in self._action_groups:
            formatter.start_section(group.title)
            formatter.add_arguments(group._group_actions)
            formatter.end_section()
        formatter.add_text(self.epilog)
        examples = "".join(f"  {line}\n" for example in self.examples for line in _wrap(example, _width() - 2))
        parts = [self.format_usage(), formatter.format_help(), f"examples:\n{examples}" if examples else ""]
        return "\n".join(part for part in parts if part)

    def error(self, message: str) -> NoReturn:
        """Print a one-line error, with the most similar option if there is one, and exit with code 2."""
        if unknown := re.match(r"unrecognized arguments: (--[^\s=]+)", message):
            close = difflib.get_close_matches(unknown[1], self._option_string_actions, 1, 0.8)
            hint = f"did you mean {close[0]}?" if close else f"{self.prog} --help lists the options"
            message = f"unknown option {unknown[1]!r}; {hint}"
        message = re.sub(r"^argument (--[a-z_]+): must", r"\1 must", message)
        write_message(f"{self.prog}: error: {message}", message, exit_code=2)
        self.exit(2)


class _Store(argparse._StoreAction):
    """Store a value. A list of names given twice is concatenated: `--input a --input b` is both."""

    def __init__(self, *args: Any, option: Option, default_text: str = "", **more: Any) -> None:
        super().__init__(*args, **more)
        self.option = option
        self.default_text = default_text or option.metadata["default_text"]

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        before = getattr(namespace, self.dest, None)
        is_list = self.nargs == "+" and self.option.value_type is str and not self.option.choices
        if is_list and before is not None and before is not self.default:
            values = [*before, *values]
        setattr(namespace, self.dest, values)


def default_text(action: argparse.Action) -> str:
    """Return an argument's default as typed on the command line, or in words; "" if it has none."""
    if isinstance(action, _Store) and action.default_text:
        return action.default_text
    default = action.default
    if isinstance(default, (list, tuple)):
        default = " ".join(f'"{one}"' if " " in str(one) else str(one) for one in default)
    return "" if default in (None, "", argparse.SUPPRESS) or isinstance(default, bool) else str(default)


def values_to_complete(action: argparse.Action) -> tuple[tuple[str, ...], bool]:
    """Return the values that a shell may complete after an option, and whether paths may follow it."""
    option = action.option if isinstance(action, _Store) else None
    if option is None:
        return tuple(action.choices or ()), False
    return option.choices or option.metadata["suggestions"], option.metadata["kind"] != "value"


def takes_value(action: argparse.Action) -> bool:
    """Whether an option has a value; a switch has none."""
    return action.nargs != 0


class _Formatter(argparse.HelpFormatter):
    """Fit the help to the terminal, and add the defaults."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=_MAX_HELP_POSITION, width=_width())

    def _get_help_string(self, action: argparse.Action) -> str:
        text = default_text(action) if action.option_strings else ""
        help_text = (action.help or "") + (f" (default: {text})" if text else "")
        return help_text.replace("%", "%%")


def _width() -> int:
    return min(MAX_WIDTH, shutil.get_terminal_size().columns) - 1


def _wrap(command: str, width: int, continued: str = " \\") -> list[str]:
    """Break a command into lines before its options; `continued` ends each line but the last."""
    lines = [""]
    for part in re.split(r" (?=--|\[options)", command):
        if lines[-1] and len(lines[-1]) + len(part) + 3 > width:
            lines[-1] += continued
            lines.append("   ")
        lines[-1] += f" {part}" if lines[-1] else part
    return lines


def _braces(choices: Sequence[str]) -> str:
    return f"{{{','.join(choices)}}}" if choices else ""


def value_text(action: argparse.Action) -> str:
    """Return the placeholder for the values of an argument in a usage line; "" for a switch."""
    if not takes_value(action):
        return ""
    name = action.metavar if isinstance(action.metavar, str) else action.dest.upper()
    return f"{name} ..." if action.nargs == "+" else name


def _converter(option: Option) -> Callable[[str], Any]:
    if option.metadata["kind"] == "local_path":
        return _local_path
    if option.value_type in (int, float):
        return _number(option.value_type)
    return option.value_type


def _number(kind: type) -> Callable[[str], Any]:
    def convert(text: str) -> Any:
        try:
            return kind(text)
        except ValueError:
            what = "a whole number" if kind is int else "a number"
            raise argparse.ArgumentTypeError(f"must be {what}, not {text!r}") from None

    return convert


def _local_path(text: str) -> str:
    """Return a local path with `~` expanded, which the shell does not do after `=`."""
    from transforms.filesystem import files

    if not files.is_local(text):
        raise argparse.ArgumentTypeError(f"{text} is not on this machine; only shards and stores may be remote")
    return os.path.expanduser(text)

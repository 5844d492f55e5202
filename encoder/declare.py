"""Declare an option once: its default, type, bounds and help, on the dataclass field that holds it.

Command lines, validation and the tables of the reference are made from these declarations
(`pipelines.command_line.parser`). Needs the standard library only, so that a program can show its help before it imports
anything heavy.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal

Kind = Literal["value", "path", "local_path"]


class OptionError(ValueError):
    """An option has a value that cannot be used; the message names the option and the valid values."""


def option(
    default: Any = dataclasses.MISSING,
    *,
    help: str,
    metavar: str = "",
    flag: str = "",
    default_text: str = "",
    kind: Kind = "value",
    suggestions: tuple[str, ...] = (),
    minimum: float | None = None,
    maximum: float | None = None,
    above: float | None = None,
    below: float | None = None,
) -> Any:
    """Return a dataclass field that declares an option; its type annotation gives the type and the choices.

    Args:
        default: its value where none is given; without one, the option is required.
        help: one sentence for the command line and the reference.
        metavar: what stands for its value in the help.
        flag: its name on the command line, if not the field's.
        default_text: what the help shows as the default, if not the value: how a missing value is chosen.
        kind: a "path" (or a name) and a "local_path" must not be empty; the second must lie on this machine.
        suggestions: values that a shell may complete, beside others that are valid.
        minimum, maximum, above, below: bounds of a number, inclusive and exclusive.
    """
    declared = {key: value for key, value in locals().items() if key != "default"}
    return dataclasses.field(default=default, metadata=declared)


def like(cls: type, name: str, **changes: Any) -> Any:
    """Return a dataclass field that declares the same option as a field of another dataclass, with some changes."""
    field = cls.__dataclass_fields__[name]  # type: ignore[attr-defined]
    return option(changes.pop("default", field.default), **(dict(field.metadata) | changes))


@dataclasses.dataclass(frozen=True)
class Option:
    """An option as it is declared: the field, its metadata, and what its type says.

    Attributes:
        name: the field's name.
        default: `dataclasses.MISSING` if the option is required.
        value_type: the type of a value, or of each value of several.
        choices: the valid values of a `Literal`; empty if others are valid too.
        several: False for one value, True for any number of values, or the number of values.
        metadata: the arguments of `option`.
    """

    name: str
    default: Any
    value_type: type
    choices: tuple[str, ...]
    several: bool | int
    metadata: Mapping[str, Any]

    @property
    def flag(self) -> str:
        """Return the option's name on the command line, without the dashes."""
        return self.metadata["flag"] or self.name

    def check(self, value: Any, name: str, error: type[ValueError] = OptionError) -> None:
        """Check a value, or each of several; None is valid where the default is None.

        Raises:
            OptionError, or `error`: the value is out of bounds, an empty path, or none of the choices.
        """
        if value is None:
            return
        for one in value if self.several else (value,):
            if problem := self._problem(one, name):
                raise error(problem)

    def _problem(self, value: Any, name: str) -> str:
        if self.choices and value not in self.choices:
            return f"unknown {name} {value!r}; choose from {', '.join(self.choices)}"
        if self.metadata["kind"] != "value" and not str(value).strip():
            return f"{name} is empty; is a shell variable unset?"
        if self.value_type in (int, float) and not self._is_within_bounds(value):
            return f"{name} must {self._bounds()} {value}"
        return ""

    def _is_within_bounds(self, value: float) -> bool:
        bounds = self.metadata
        return (
            (isinstance(value, int) or math.isfinite(value))
            and (bounds["minimum"] is None or value >= bounds["minimum"])
            and (bounds["maximum"] is None or value <= bounds["maximum"])
            and (bounds["above"] is None or value > bounds["above"])
            and (bounds["below"] is None or value < bounds["below"])
        )

    def _bounds(self) -> str:
        words = {"minimum": "at least", "above": "above", "maximum": "at most", "below": "below"}
        given = [f"{word} {self.metadata[key]}" for key, word in words.items() if self.metadata[key] is not None]
        if given == ["at least 0"]:
            return "not be negative, but is"
        return f"be {' and '.join(given) or 'a finite number'}, not"


@functools.cache
def options_of(cls: type) -> tuple[Option, ...]:
    """Return the options that a dataclass declares, in order; fields without a declaration are left out."""
    hints = typing.get_type_hints(cls)
    found = []
    for field in dataclasses.fields(cls):
        if "help" in field.metadata:
            value_type, choices, several = _read_type(hints[field.name])
            found.append(Option(field.name, field.default, value_type, choices, several, field.metadata))
    return tuple(found)


def check(instance: Any, error: type[ValueError] = OptionError) -> None:
    """Check the options of a dataclass's instance.

    Raises:
        OptionError, or `error`: names the first option whose value is not valid, and what is.
    """
    cls: type = type(instance)
    for declared in options_of(cls):
        declared.check(getattr(instance, declared.name), declared.name, error)


def _read_type(hint: Any) -> tuple[type, tuple[str, ...], bool | int]:
    """Return the type, choices and number of values of a type annotation."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        (hint,) = (part for part in inner if part is not type(None))
        return _read_type(hint)
    if origin is tuple:
        value_type, choices, _ = _read_type(inner[0])
        return value_type, choices, True if inner[-1] is Ellipsis else len(inner)
    if origin is Literal:
        return str, inner, False
    return hint, (), False

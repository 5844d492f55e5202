"""Options that are declared on dataclasses: command lines, validation, completion and tables are made from them."""

from __future__ import annotations

import dataclasses
import pathlib
import shutil
import subprocess
import sys
from typing import Literal

import pytest

from encoder.declare import OptionError, check, like, option
from pipelines.command_line import cli, completion
from pipelines.command_line.option_tables import options_table
from pipelines.command_line.parser import Parser, add_fields, from_arguments


@dataclasses.dataclass(frozen=True)
class Inner:
    colour: Literal["red", "blue"] = option("red", help="a colour")
    sizes: tuple[int, ...] = option((1, 2), minimum=1, maximum=9, help="some sizes")

    def __post_init__(self) -> None:
        check(self)


@dataclasses.dataclass(frozen=True)
class Outer:
    place: str = option(kind="path", metavar="DIR", help="a place")
    inner: Inner = dataclasses.field(default_factory=Inner)
    share: float = option(0.5, minimum=0, below=1, flag="part", help="a share of 100 %")
    rate: float | None = option(None, above=0, default_text="depends", help="a rate")
    count: int = like(Inner, "sizes", default=3, help="a count")
    folder: pathlib.Path | None = option(None, help="a folder")
    names: tuple[str, ...] = option((), help="some names")
    pair: tuple[int, int] = option((1, 2), help="two numbers")
    quiet: bool = option(False, help="print nothing")
    colours: bool = option(True, help="use no colours")
    not_an_option: int = 7


def parse(*arguments: str) -> Outer:
    parser = Parser("try", "A program.", ("try --place here",))
    add_fields(parser, Outer)
    add_fields(parser.add_argument_group("inner"), Inner)
    return from_arguments(Outer, parser.parse_args(list(arguments)))


def test_defaults_are_those_of_the_dataclass():
    assert parse("--place", "here") == Outer("here")


def test_values_get_the_types_of_the_fields():
    options = parse(
        "--place", "here", "--part", "0.25", "--rate", "2", "--folder", "f", "--names", "a", "b", "--names", "c",
        "--pair", "3", "4", "--quiet", "--no_colours", "--colour", "blue", "--sizes", "5",
    )  # fmt: skip
    assert options == Outer(
        "here", Inner("blue", (5,)), 0.25, 2.0, 3, pathlib.Path("f"), ("a", "b", "c"), (3, 4), quiet=True, colours=False
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--place", " "], "--place is empty; is a shell variable unset?"),
        (["--colour", "green"], "unknown --colour 'green'; choose from red, blue"),
        (["--sizes", "3", "10"], "--sizes must be at least 1 and at most 9, not 10"),
        (["--part", "1"], "--part must be at least 0 and below 1, not 1.0"),
        (["--part", "nan"], "--part must be at least 0 and below 1, not nan"),
        (["--rate", "0"], "--rate must be above 0, not 0.0"),
        (["--rate", "inf"], "--rate must be above 0, not inf"),
        (["--count", "0"], "--count must be at least 1 and at most 9, not 0"),
    ],
)
def test_an_invalid_value_is_named_with_the_valid_ones(arguments, message):
    with pytest.raises(OptionError) as raised:
        parse("--place", "here", *arguments)
    assert str(raised.value) == message


def test_a_library_user_gets_the_same_check_without_dashes():
    with pytest.raises(OptionError, match=r"^sizes must be at least 1 and at most 9, not 0$"):
        Inner(sizes=(0,))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "try: error: the following arguments are required: --place"),
        (["--place", "p", "--pair", "1", "x"], "try: error: --pair must be a whole number, not 'x'"),
        (["--place", "p", "--part", "x"], "try: error: --part must be a number, not 'x'"),
        (["--place", "p", "--partt", "1"], "try: error: unknown option '--partt'; did you mean --part?"),
        (["--place", "p", "--zzz", "1"], "try: error: unknown option '--zzz'; try --help lists the options"),
    ],
)
def test_a_mistake_is_one_line(arguments, message, capsys):
    with pytest.raises(SystemExit, match="2"):
        parse(*arguments)
    assert capsys.readouterr().err == message + "\n"


def test_the_help_shows_defaults_as_one_would_type_them(capsys):
    with pytest.raises(SystemExit, match="0"):
        parse("--help")
    shown = capsys.readouterr().out
    assert shown.startswith("usage: try --place DIR [options]\n")
    for line in ("a share of 100 % (default: 0.5)", "some sizes (default: 1 2)", "a rate (default: depends)"):
        assert line in shown
    assert "a place\n" in shown
    assert "print nothing\n" in shown
    assert "{red,blue}" in shown


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_the_table_of_a_command_has_every_option(command):
    table = options_table(command)
    for action in cli.parser_of(command).actions():
        for flag in action.option_strings[:1]:
            assert (f"| `{flag}" in table) == (flag != "-h")
    widths = {line.replace("\\|", "").count("|") for line in table.splitlines() if line.startswith("|")}
    assert widths == {4}


def test_the_tables_are_a_program():
    done = subprocess.run(
        [sys.executable, "-m", "pipelines.command_line.option_tables", "label"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == f"## encode-once label\n\n{options_table('label')}"


def complete_in_bash(words: list[str], folder: pathlib.Path, shell: str = "bash") -> list[str]:
    """Return what a shell offers for the last of some words, as its completion system asks our function."""
    script = folder / f"completion.{shell}"
    script.write_text(completion.run([shell]))
    listed = " ".join(f"'{word}'" for word in words)
    ask = f"COMP_WORDS=({listed}); COMP_CWORD={len(words) - 1}; _encode_once; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    command = ["bash", "-c", f"source {script}; {ask}"]
    if shell == "zsh":  # bashcompinit asks bash's functions in this emulation
        command = ["zsh", "-fc", f"source {script}; emulate -L sh; setopt kshglob noshglob braceexpand; {ask}"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, check=True)
    assert done.stderr == ""
    offered = done.stdout.split()
    return [word for word in offered if word.startswith(words[-1])] if shell == "zsh" else offered  # as zsh itself does


def complete_in_fish(words: list[str], folder: pathlib.Path) -> list[str]:
    script = folder / "completion.fish"
    script.write_text(completion.run(["fish"]))
    ask = f'source {script}; complete -C "{" ".join(words)}"'
    done = subprocess.run(["fish", "-c", ask], capture_output=True, text=True, cwd=folder, check=True)
    return [line.split("\t")[0] for line in done.stdout.splitlines()]


CASES = [
    (["ann"], {"annotate"}, {"label"}),
    (["help", "train"], {"train-head", "train-encoder"}, {"annotate"}),
    (["annotate", "--in"], {"--input", "--input_root"}, {"--store"}),
    (["label", "--"], {"--store", "--heads", "--help"}, {"--input"}),
    (["annotate", "--format", ""], {"auto", "text", "jsonl", "csv", "tsv", "parquet"}, {"--store", "a.txt"}),
    (["annotate", "--format", "c"], {"csv"}, {"text"}),
    (["encode", "--input", "a"], {"a.txt"}, {"b.txt"}),
    (["annotate", "--heads", ""], {"all", "none"}, {"auto"}),
    (["make-encoder", "--long_texts", "w"], {"windows"}, {"truncate"}),
    (["completion", ""], {"bash", "zsh", "fish"}, {"annotate"}),
]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
@pytest.mark.parametrize(("words", "offered", "absent"), CASES)
def test_shells_complete_commands_options_choices_and_files(tmp_path, shell, words, offered, absent):
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text("")
    complete = complete_in_fish if shell == "fish" else complete_in_bash
    more = () if shell == "fish" else (shell,)
    found = set(complete(["encode-once", *words], tmp_path, *more))
    assert offered <= found
    assert not absent & found


BASH_CASES = [
    (["annotate", "--format", "=", "c"], {"csv"}, {"text", "--store"}),
    (["annotate", "--format", "="], {"csv", "text"}, {"--store"}),
    (["annotate", "--format", "csv", ""], {"--store"}, {"csv"}),
    (["annotate", "--format", "=", "csv", ""], {"--store"}, {"csv"}),
    (["annotate", "--dry_run", ""], {"--store"}, {"csv"}),
    (["annotate", "--input", "a.txt", ""], {"--store", "b.txt"}, {"csv"}),
    (["annotate", "--text_field", ""], set(), {"--store", "a.txt"}),
]


@pytest.mark.parametrize(("words", "offered", "absent"), BASH_CASES)
def test_bash_knows_where_an_option_ends(tmp_path, words, offered, absent):
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text("")
    found = set(complete_in_bash(["encode-once", *words], tmp_path))
    assert offered <= found
    assert not absent & found

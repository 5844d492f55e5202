"""The command line: `encode-once COMMAND ...`.

Imports nothing heavy: a command's options are imported to parse or show them, its program only when it runs.
"""

from __future__ import annotations

import atexit
import contextlib
import difflib
import errno
import importlib
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from pipelines.command_line.logs import LogFormat
    from pipelines.command_line.parser import Parser


class Command(NamedTuple):
    """A command: the places of `run(argv)` and of the function that makes its parser, and a summary."""

    run: str
    parser: str
    summary: str


COMMANDS = {
    "annotate": Command(
        "pipelines.annotate:run",
        "pipelines.command_line.options:annotate_parser",
        "encode every new document once and label it with every head",
    ),
    "encode": Command(
        "pipelines.annotate:run_encode",
        "pipelines.command_line.options:encode_parser",
        "the first half of annotate: texts to codes (benefits from a GPU)",
    ),
    "label": Command(
        "pipelines.annotate:run_label",
        "pipelines.command_line.options:label_parser",
        "the second half of annotate: stored codes to labels (no GPU, no text)",
    ),
    "status": Command(
        "pipelines.status:run",
        "pipelines.command_line.options:status_parser",
        "print what a store holds, what is incomplete and what is stale",
    ),
    "verify": Command(
        "pipelines.verify:run",
        "pipelines.command_line.options:verify_parser",
        "check that a store is complete and undamaged",
    ),
    "prune": Command(
        "pipelines.prune:run",
        "pipelines.command_line.options:prune_parser",
        "remove labels of earlier heads, leftover parts, and shards that are gone",
    ),
    "train-head": Command(
        "pipelines.models.train_head:run",
        "pipelines.models.options:train_head_parser",
        "fit a head for another task to labelled rows",
    ),
    "zero-shot-head": Command(
        "pipelines.models.zero_shot_head:run",
        "pipelines.models.options:zero_shot_parser",
        "make a head from the names of its labels, without labelled rows",
    ),
    "make-encoder": Command(
        "pipelines.models.make_encoder:run",
        "pipelines.models.options:make_encoder_parser",
        "make an encoder bundle from a Hugging Face encoder",
    ),
    "train-encoder": Command(
        "pipelines.models.train_encoder:run",
        "pipelines.models.options:train_encoder_parser",
        "train an encoder on labelled tasks, through the bits it stores",
    ),
    "completion": Command(
        "pipelines.command_line.completion:run",
        "pipelines.command_line.completion:completion_parser",
        "print a script that completes commands and options in a shell",
    ),
}
EXIT_FAULT = 1
EXIT_USAGE = 2
EXIT_SIGNAL = 128  # plus the signal's number, as in shells
EXIT_BROKEN_PIPE = 141
RESUMABLE_COMMANDS = ("annotate", "encode", "label", "train-encoder")
RESUME_HINT = "finished work is kept; the same command continues from there"
DISK_FULL_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    argv = sys.argv[1:] if argv is None else list(argv)
    command = argv[0] if argv and argv[0] in COMMANDS else None
    name = f"encode-once {command}" if command else "encode-once"
    shows_help = command is None or bool({"-h", "--help"} & set(argv))  # and logs nothing
    log_format = find_log_format(argv[1:], command) if command else "text"
    return guard(lambda: _run(argv), name, command, None if shows_help else log_format)


def parser_of(command: str) -> Parser:
    """Make the parser of a command."""
    return _load(COMMANDS[command].parser)()


def _run(argv: list[str]) -> Any:
    if argv and argv[0] == "help" and argv[1:]:
        argv = [argv[1], "--help"]
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(usage())
        return 0 if argv else EXIT_USAGE
    if argv[0] == "--version":
        from pipelines.command_line.versions import describe

        print(describe())
        return 0
    if argv[0] not in COMMANDS:
        close = difflib.get_close_matches(argv[0], COMMANDS, 1)
        hint = f"; did you mean {close[0]}?" if close else f"; choose from {', '.join(COMMANDS)}"
        print(f"encode-once: error: no command {argv[0]!r}{hint}", file=sys.stderr)
        return EXIT_USAGE
    if {"-h", "--help"} & set(argv[1:]):
        print(parser_of(argv[0]).format_help(), end="")
        return 0
    return _load(COMMANDS[argv[0]].run)(argv[1:])


def _load(place: str) -> Callable[..., Any]:
    module, _, function = place.partition(":")
    return getattr(importlib.import_module(module), function)


def main_of(run: Callable[[Sequence[str]], Any]) -> int:
    """Run one program as `python -m pipelines.NAME` and return the exit code."""
    name = os.path.basename(sys.argv[0])
    command = name.removesuffix(".py").replace("_", "-")
    return end_after_signal(guard(lambda: run(sys.argv[1:]), name, command, find_log_format(sys.argv[1:], command)))


def end_after_signal(code: int) -> int:
    """Return the exit code of a program; if a signal ended it, end the process at once.

    Threads of Beam's workers may still compute then. A regular end stops them inside C++ code, which aborts the process.
    """
    if code not in (EXIT_SIGNAL + signal.SIGINT, EXIT_SIGNAL + signal.SIGTERM):
        return code
    atexit._run_exitfuncs()
    with contextlib.suppress(BrokenPipeError):
        _flush()
    os._exit(code)


def find_log_format(argv: Sequence[str], command: str) -> LogFormat:
    """Find the format of messages in a command's arguments, before they are parsed: errors in them are messages too."""
    if command not in COMMANDS or not any(argument.startswith(("--log_format", "--config")) for argument in argv):
        return "text"
    from encoder.declare import OptionError
    from pipelines.command_line.config import expand_config

    with contextlib.suppress(OptionError):  # reported when the arguments are parsed
        argv = expand_config(argv, parser_of(command))
    found = [
        value if equals else following
        for argument, following in zip(argv, [*argv[1:], ""])
        for name, equals, value in [argument.partition("=")]
        if name == "--log_format"
    ]
    return "json" if found[-1:] == ["json"] else "text"


def guard(
    program: Callable[[], Any], name: str, command: str | None = None, log_format: LogFormat | None = "text"
) -> int:
    """Run a program and return its exit code. An error that the user can correct becomes one line and exit code 2.

    Args:
        name: name of the program, for messages.
        command: the command that it is, if any.
        log_format: format of messages on stderr; None to set up no logging.
    """
    from pipelines.command_line import logs

    if log_format is not None:
        logs.set_up_logging(log_format)
    started = time.monotonic()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # file names may hold characters that a terminal cannot show
    try:
        try:
            result = program()
        except SystemExit:  # of --help
            _flush()
            raise
        _flush()
        exit_code = result if isinstance(result, int) else getattr(result, "exit_code", 0)
        if command in COMMANDS:
            logs.write_end(command, exit_code, time.monotonic() - started, result)
        return exit_code
    except KeyboardInterrupt as error:
        message = f"interrupted; {RESUME_HINT}" if command in RESUMABLE_COMMANDS else "interrupted"
        exit_code = EXIT_SIGNAL + getattr(error, "number", signal.SIGINT)
        logs.write_message(f"{name}: {message}", message, command=command, exit_code=exit_code)
        return exit_code
    except BrokenPipeError:
        _discard_output()
        return EXIT_BROKEN_PIPE
    except Exception as error:
        try:
            _flush()
        except BrokenPipeError:  # the error is printed all the same
            _discard_output()
        if _is_correctable(error):
            logs.write_message(f"{name}: error: {error}", str(error), command=command, exit_code=EXIT_USAGE)
            return EXIT_USAGE
        if logs.is_json():
            logs.write_traceback(error)
            return EXIT_FAULT
        raise


def _flush() -> None:
    """Flush stdout here, so that `guard` handles the error if the reader of a pipe has closed it."""
    if sys.stdout is not None:  # closed by the shell
        sys.stdout.flush()


def _discard_output() -> None:
    """Discard further output: the pipe is closed, and the interpreter flushes again when it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def usage() -> str:
    """Return the help of the whole command line."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {command.summary}" for name, command in COMMANDS.items()]
    return "\n".join(
        [
            "usage: encode-once COMMAND [options]",
            "",
            "Encode every document once, label it for ever.",
            "",
            "commands:",
            *lines,
            "",
            "examples:",
            "  encode-once annotate --input 'corpus/*.txt' --store my-store",
            "  encode-once status --store my-store",
            "",
            "encode-once help COMMAND shows the options of a command.",
            "encode-once --version shows versions and what this machine can do.",
        ]
    )


def _is_correctable(error: Exception) -> bool:
    """Return whether the user can correct an error. A class is looked up only if its module was imported."""
    places = (
        ("encoder.base", "EncoderError"),
        ("encoder.declare", "OptionError"),
        ("heads.errors", "HeadError"),
        ("pipelines.running.interruption", "JobError"),
        ("pipelines.running.interruption", "WorkerError"),
        ("pipelines.models.labelled", "DataError"),
        ("transforms.store", "StoreError"),
        ("transforms.match", "InputError"),
    )
    classes = tuple(getattr(sys.modules[module], name) for module, name in places if module in sys.modules)
    return isinstance(error, classes) or getattr(error, "errno", None) in DISK_FULL_ERRORS


if __name__ == "__main__":
    sys.exit(end_after_signal(main()))

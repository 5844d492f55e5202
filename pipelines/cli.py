"""Start the programs: `encode-once COMMAND …`, and `python -m pipelines.…`.

Imports nothing heavy: a command's program is imported when it is run.
"""

from __future__ import annotations

import difflib
import errno
import importlib
import os
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Any

# command: (module, function, one line of help)
COMMANDS = {
    "annotate": ("pipelines.annotate", "run", "encode every new document once, label it with every head"),
    "encode": ("pipelines.annotate", "run_encode", "the first half of annotate: text to codes (wants a GPU)"),
    "label": ("pipelines.annotate", "run_label", "the second half: stored codes to labels (no GPU, no text)"),
    "status": ("pipelines.status", "run", "say what a store holds, what is incomplete, what is stale"),
    "verify": ("pipelines.verify", "run", "read a store again and prove that it is whole"),
    "prune": ("pipelines.prune", "run", "remove labels of earlier heads, leftover parts, shards that are gone"),
    "train-head": ("pipelines.models.train_head", "run", "fit a head for one more task from labelled rows"),
    "zero-shot-head": (
        "pipelines.models.zero_shot_head",
        "run",
        "make a head from the names of its labels, without labelled rows",
    ),
    "make-encoder": ("pipelines.models.make_encoder", "run", "make an encoder bundle from any Hugging Face encoder"),
    "train-encoder": (
        "pipelines.models.train_encoder",
        "run",
        "train an encoder on labelled tasks, with its bits in view",
    ),
}
EXIT_USAGE = 2
EXIT_SIGNAL = 128  # and the signal's number, as shells have it
EXIT_BROKEN_PIPE = 141
_GO_ON = ("annotate", "encode", "label", "train-encoder")
GOES_ON = "what is committed stays, the same command goes on from there"
DISK_IS_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    argv = sys.argv[1:] if argv is None else list(argv)
    command = argv[0] if argv and argv[0] in COMMANDS else None
    return guard(lambda: _run(argv), f"encode-once {command}" if command else "encode-once", command)


def _run(argv: list[str]) -> Any:
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(usage())
        return 0 if argv else EXIT_USAGE
    if argv[0] == "--version":
        from importlib.metadata import version

        print(f"encode-once {version('encode-once')}")
        return 0
    if argv[0] not in COMMANDS:
        close = difflib.get_close_matches(argv[0], COMMANDS, 1)
        hint = f"; did you mean {close[0]}?" if close else f"; choose from {', '.join(COMMANDS)}"
        print(f"encode-once: error: no command {argv[0]!r}{hint}", file=sys.stderr)
        return EXIT_USAGE
    module, function, _ = COMMANDS[argv[0]]
    return getattr(importlib.import_module(module), function)(argv[1:])


def main_of(run: Callable[[Sequence[str]], Any]) -> int:
    """Run one program as `python -m pipelines.NAME`; returns the exit code."""
    name = os.path.basename(sys.argv[0])
    return guard(lambda: run(sys.argv[1:]), name, name.removesuffix(".py").replace("_", "-"))


def guard(program: Callable[[], Any], name: str, command: str | None = None) -> int:
    """Run a program; turn what the user can mend into one line and exit code 2, and its result into an exit code."""
    _set_up_logging()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # names of files may hold what a terminal cannot show
    try:
        try:
            found = program()
        except SystemExit:  # of --help
            _flush()
            raise
        _flush()
        return found if isinstance(found, int) else getattr(found, "exit_code", 0)
    except KeyboardInterrupt as error:
        kept = f"; {GOES_ON}" if command in _GO_ON else ""
        print(f"{name}: interrupted{kept}", file=sys.stderr)
        return EXIT_SIGNAL + getattr(error, "number", signal.SIGINT)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader left: nothing more to say
        return EXIT_BROKEN_PIPE
    except Exception as error:
        try:
            _flush()
        except BrokenPipeError:  # what went wrong is said all the same
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not _is_the_users(error):
            raise
        print(f"{name}: error: {error}", file=sys.stderr)
        return EXIT_USAGE


def _flush() -> None:
    """Write out what was printed, here, where a reader that has left is no surprise."""
    if sys.stdout is not None:  # closed by the shell
        sys.stdout.flush()


def usage() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {command:<{width}}  {help}" for command, (_, _, help) in COMMANDS.items()]
    return "\n".join(
        [
            "usage: encode-once COMMAND [options]",
            "",
            "Encode every document once, label it for ever.",
            "",
            *lines,
            "",
            "encode-once COMMAND --help tells a command's options; encode-once --version the version.",
        ]
    )


def _is_the_users(error: Exception) -> bool:
    """Whether an error is one a user can mend. Its class is looked up only where its module was imported."""
    users = (
        ("encoder.base", "EncoderError"),
        ("heads.errors", "HeadError"),
        ("pipelines.models.labelled", "DataError"),
        ("pipelines.options", "OptionError"),
        ("transforms.store", "StoreError"),
        ("transforms.match", "InputError"),
    )
    classes = tuple(getattr(sys.modules[module], name) for module, name in users if module in sys.modules)
    return isinstance(error, classes) or getattr(error, "errno", None) in DISK_IS_FULL


def _set_up_logging() -> None:
    import logging

    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    # The first is said at every import of Beam without its Google extra; of a full disk Beam shows every step's code.
    known = ("apitools not found", "OSError: [Errno 28]", "[Errno 28]")
    logging.getLogger().handlers[0].addFilter(lambda record: not record.getMessage().startswith(known))


if __name__ == "__main__":
    sys.exit(main())

"""Take the options that are Beam's, and give them to Beam: to its pipelines, and to its file systems before there is one."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from pipelines.options import OptionError, annotate_parser
from transforms import files

if TYPE_CHECKING:
    from apache_beam.options.pipeline_options import PipelineOptions

DEFAULT_RUNNER = "FnApiRunner"
LOCAL_RUNNERS = (DEFAULT_RUNNER, "DirectRunner", "BundleBasedDirectRunner", "PrismRunner", "SwitchingDirectRunner")
# Runners all of whose options Beam's Python classes know. A job server may know more than they do.
_KNOWN_RUNNERS = (*LOCAL_RUNNERS, "DataflowRunner")


def prepare_files(paths: Iterable[str], beam_args: Sequence[str]) -> None:
    """Check Beam's options, and give them to its file systems where a path is not local; else Beam is not imported.

    Raises:
        OptionError: an option that nobody knows.
    """
    remote = not all(map(files.is_local, paths))
    if remote or beam_args:
        options = beam_pipeline_options(beam_args)  # a mistyped option is said before anything is done
        if remote:
            files.use_options(options)


def beam_pipeline_options(beam_args: Sequence[str]) -> PipelineOptions:
    """Make Beam's options; what neither we nor Beam know is an error, not a warning in the middle of a log.

    Raises:
        OptionError: an option that nobody knows, or on a runner that may know more, one that looks like one of ours.
    """
    from apache_beam.options.pipeline_options import PipelineOptions

    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for options_class in PipelineOptions.__subclasses__():
        try:
            options_class._add_argparse_args(parser)
        except argparse.ArgumentError:
            continue  # the same option in two of Beam's classes
    known, unknown = parser.parse_known_args(list(beam_args))
    runner = (known.runner or DEFAULT_RUNNER).rsplit(".", 1)[-1]
    for name in (arg.split("=")[0] for arg in unknown):
        close = difflib.get_close_matches(name, _our_options(), 1, 0.8) if name.startswith("--") else []
        hint = f"; did you mean {close[0]}?" if close else ""
        if close or runner in _KNOWN_RUNNERS:
            raise OptionError(
                f"unknown option {name!r}{hint or '; --help lists ours, the documentation of Beam its own'}"
            )
    more = [] if any(arg.split("=")[0] == "--runner" for arg in beam_args) else [f"--runner={DEFAULT_RUNNER}"]
    return PipelineOptions([*beam_args, *more])


def is_local(options: PipelineOptions) -> bool:
    """Whether the runner works on this machine, in processes it starts itself."""
    from apache_beam.options.pipeline_options import StandardOptions

    return (options.view_as(StandardOptions).runner or DEFAULT_RUNNER).rsplit(".", 1)[-1] in LOCAL_RUNNERS


def _our_options() -> list[str]:
    return [name for action in annotate_parser("annotate")._actions for name in action.option_strings]

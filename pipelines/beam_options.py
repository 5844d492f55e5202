"""Take the options that are Beam's, and give them to Beam: to its pipelines, and to its file systems before there is one."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from pipelines.options import OptionError, annotate_parser
from transforms.filesystem import files

if TYPE_CHECKING:
    from apache_beam.options.pipeline_options import PipelineOptions

DEFAULT_RUNNER = "FnApiRunner"
LOCAL_RUNNERS = (DEFAULT_RUNNER, "DirectRunner", "BundleBasedDirectRunner", "PrismRunner", "SwitchingDirectRunner")
# Runners all of whose options Beam's Python classes know. A job server may know more than they do.
_KNOWN_RUNNERS = (*LOCAL_RUNNERS, "DataflowRunner")


def check_options(beam_args: Sequence[str], parser: argparse.ArgumentParser) -> None:
    """Check what a command's parser has left over: what neither we nor Beam know must not end as a warning in a log.

    Raises:
        OptionError: an option that nobody knows, or on a runner that may know more, one that looks like one of ours.
    """
    if not beam_args:
        return  # Beam is not imported for that
    known, unknown = _BeamParser.of_all_options().parse_known_args(list(beam_args))
    runner = _runner_name(known.runner)
    if runner != "DataflowRunner" and any(arg.startswith("--dry_run=") for arg in beam_args):
        raise OptionError(
            f"--dry_run takes no value; with one it is an option of Dataflow's, and the runner is {runner}"
        )
    names = _option_names(parser)
    if unknown and not unknown[0].startswith("-"):
        hint = "; shards follow --input directly" if "--input" in names else ""
        raise OptionError(f"unknown argument {unknown[0]!r}{hint}")
    for name in (arg.split("=")[0] for arg in unknown):
        close = difflib.get_close_matches(name, names, 1, 0.8) if name.startswith("--") else []
        if close:
            raise OptionError(f"unknown option {name!r}; did you mean {close[0]}?")
        if runner in _KNOWN_RUNNERS or name in _option_names(annotate_parser("annotate")):
            raise OptionError(f"unknown option {name!r}; {parser.prog} --help lists ours, Beam's documentation its own")


def check_runner(beam_args: Sequence[str]) -> None:
    """Check that there is such a runner, before anything is done.

    Raises:
        OptionError: there is none.
    """
    if any(arg.split("=")[0] == "--runner" for arg in beam_args):  # or it is ours, and Beam is not imported for that
        _create_runner(beam_pipeline_options(beam_args))


def check_pipeline_options(options: PipelineOptions) -> None:
    """Check that the runner has what it needs, before a run begins. This may ask a cloud: not for a plan alone.

    Raises:
        OptionError: an option is missing, or of another form.
    """
    from apache_beam.options.pipeline_options_validator import PipelineOptionsValidator

    try:
        problems = PipelineOptionsValidator(options, _create_runner(options)).validate()
    except ValueError as error:
        problems = [str(error)]
    if problems:
        raise OptionError(" ".join(problems))


def prepare_files(paths: Iterable[str], beam_args: Sequence[str]) -> None:
    """Give Beam's file systems their options where there are some or a path is not local; else Beam is not imported."""
    if beam_args or not all(map(files.is_local, paths)):
        files.use_options(beam_pipeline_options(beam_args))


def beam_pipeline_options(beam_args: Sequence[str]) -> PipelineOptions:
    """Make Beam's options, with our default runner."""
    from apache_beam.options.pipeline_options import PipelineOptions

    more = [] if any(arg.split("=")[0] == "--runner" for arg in beam_args) else [f"--runner={DEFAULT_RUNNER}"]
    return PipelineOptions([*beam_args, *more])


def is_local(options: PipelineOptions) -> bool:
    """Whether the runner works on this machine, in processes it starts itself."""
    from apache_beam.options.pipeline_options import StandardOptions

    return _runner_name(options.view_as(StandardOptions).runner) in LOCAL_RUNNERS


def _runner_name(given: str | None) -> str:
    """Return the name of a runner's class; Beam takes `direct` for DirectRunner, and modules in front."""
    name = (given or DEFAULT_RUNNER).rsplit(".", 1)[-1]
    by_short_name = {known.lower().removesuffix("runner"): known for known in _KNOWN_RUNNERS}
    return by_short_name.get(name.lower().removesuffix("runner"), name)


def _create_runner(options: PipelineOptions) -> Any:
    from apache_beam.options.pipeline_options import StandardOptions
    from apache_beam.runners import create_runner

    try:
        return create_runner(options.view_as(StandardOptions).runner)
    except Exception as error:  # whatever a runner's module throws at import
        raise OptionError(f"--runner: {error}") from None


class _BeamParser(argparse.ArgumentParser):
    """Know Beam's options, and say in one line what is wrong with one."""

    @classmethod
    def of_all_options(cls) -> _BeamParser:
        from apache_beam.options.pipeline_options import PipelineOptions

        parser = cls(add_help=False, allow_abbrev=False)
        for options_class in PipelineOptions.__subclasses__():
            try:
                options_class._add_argparse_args(parser)
            except argparse.ArgumentError:
                continue  # the same option in two of Beam's classes
        return parser

    def error(self, message: str) -> NoReturn:
        raise OptionError(f"{message} (an option of Beam's)")


def _option_names(parser: argparse.ArgumentParser) -> list[str]:
    return [name for action in parser._actions for name in action.option_strings]

"""Pass Beam's own options to Beam: to its pipelines, and to its file systems, which are used before there is a pipeline."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from pipelines.command_line.options import OptionError, annotate_parser
from transforms.filesystem import files

if TYPE_CHECKING:
    import apache_beam as beam
    from apache_beam.options.pipeline_options import PipelineOptions

DEFAULT_RUNNER = "FnApiRunner"
LOCAL_RUNNERS = (DEFAULT_RUNNER, "DirectRunner", "BundleBasedDirectRunner", "PrismRunner", "SwitchingDirectRunner")
# Runners whose options are all known to Beam's Python classes. A job server may know more options.
_KNOWN_RUNNERS = (*LOCAL_RUNNERS, "DataflowRunner")
# Beam's workers import it before they unpickle anything: it makes Python find our packages, whatever the working directory
# holds.
_WORKER_PLUGIN = "encode_once"


def check_options(beam_args: Sequence[str], parser: argparse.ArgumentParser) -> None:
    """Check the arguments that a command's parser does not know: an unknown option must not end as a warning in a log.

    Raises:
        OptionError: an option that is neither ours nor Beam's, or on a runner that may know more options, one that resembles
            an option of ours.
    """
    if not beam_args:
        return  # without importing Beam
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
            raise OptionError(
                f"unknown option {name!r}; {parser.prog} --help lists ours, the documentation of Beam its own"
            )


def check_runner(beam_args: Sequence[str]) -> None:
    """Check that the runner exists, before anything is done.

    Raises:
        OptionError: it does not exist.
    """
    if any(arg.split("=")[0] == "--runner" for arg in beam_args):  # the default exists, and Beam need not be imported
        _create_runner(beam_pipeline_options(beam_args))


def check_pipeline_options(options: PipelineOptions) -> None:
    """Check that the runner has the options it needs and that its engine answers, before a run begins.

    This may ask a cloud or a cluster, so a dry run skips it.

    Raises:
        OptionError: an option is missing or malformed, or its engine does not answer.
    """
    from apache_beam.options.pipeline_options_validator import PipelineOptionsValidator

    from pipelines.running.engine import check_engine

    runner = _create_runner(options)
    try:
        problems = PipelineOptionsValidator(options, runner).validate()
    except ValueError as error:
        problems = [str(error)]
    if problems:
        raise OptionError(" ".join(problems))
    check_engine(type(runner).__name__, options)


def prepare_files(paths: Iterable[str], beam_args: Sequence[str]) -> None:
    """Pass options to Beam's file systems if there are options or remote paths; otherwise Beam is not imported."""
    if beam_args or not all(map(files.is_local, paths)):
        files.use_options(beam_pipeline_options(beam_args))


def beam_pipeline_options(beam_args: Sequence[str]) -> PipelineOptions:
    """Return Beam's options, with our default runner, and with what its workers import first."""
    from apache_beam.options.pipeline_options import PipelineOptions, SetupOptions

    more = [] if any(arg.split("=")[0] == "--runner" for arg in beam_args) else [f"--runner={DEFAULT_RUNNER}"]
    options = PipelineOptions([*beam_args, *more])
    setup = options.view_as(SetupOptions)
    setup.beam_plugins = [_WORKER_PLUGIN, *(setup.beam_plugins or [])]
    return options


def create_pipeline(options: PipelineOptions) -> beam.Pipeline:
    """Return an empty pipeline on the runner of its options.

    Beam's FnApiRunner does not pass the options to the worker processes that it starts, except as "provision info".
    """
    import apache_beam as beam
    from apache_beam.portability.api import beam_provision_api_pb2
    from apache_beam.runners.portability.fn_api_runner.fn_runner import ExtendedProvisionInfo, FnApiRunner
    from apache_beam.runners.portability.portable_runner import JobServiceHandle

    runner = _create_runner(options)
    if isinstance(runner, FnApiRunner):
        for_workers = JobServiceHandle.encode_pipeline_options(options.get_all_options(drop_default=True))
        info = beam_provision_api_pb2.ProvisionInfo(retrieval_token="unused", pipeline_options=for_workers)
        runner = FnApiRunner(provision_info=ExtendedProvisionInfo(info))
    return beam.Pipeline(runner=runner, options=options)


def is_local(options: PipelineOptions) -> bool:
    """Whether the runner works on this machine, in processes that it starts itself."""
    from apache_beam.options.pipeline_options import StandardOptions

    return _runner_name(options.view_as(StandardOptions).runner) in LOCAL_RUNNERS


def _runner_name(given: str | None) -> str:
    """Return the name of a runner's class; Beam accepts `direct` for DirectRunner, and the name of a module before it."""
    name = (given or DEFAULT_RUNNER).rsplit(".", 1)[-1]
    by_short_name = {known.lower().removesuffix("runner"): known for known in _KNOWN_RUNNERS}
    return by_short_name.get(name.lower().removesuffix("runner"), name)


def _create_runner(options: PipelineOptions) -> Any:
    from apache_beam.options.pipeline_options import StandardOptions
    from apache_beam.runners import create_runner

    try:
        return create_runner(options.view_as(StandardOptions).runner)
    except Exception as error:  # the import of a runner's module may raise anything
        raise OptionError(f"--runner: {error}") from None


class _BeamParser(argparse.ArgumentParser):
    """A parser that knows Beam's options, and reports a mistake in one line."""

    @classmethod
    def of_all_options(cls) -> _BeamParser:
        from apache_beam.options.pipeline_options import PipelineOptions

        parser = cls(add_help=False, allow_abbrev=False)
        for options_class in PipelineOptions.__subclasses__():
            try:
                options_class._add_argparse_args(parser)  # type: ignore[arg-type]  # a parser of its own adds nothing
            except argparse.ArgumentError:
                continue  # the same option in two of Beam's classes
        return parser

    def error(self, message: str) -> NoReturn:
        raise OptionError(f"{message} (an option of Beam's)")


def _option_names(parser: argparse.ArgumentParser) -> list[str]:
    return [name for action in parser._actions for name in action.option_strings]

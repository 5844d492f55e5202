"""Run a pipeline until it ends, a worker dies or a signal arrives; an interrupted job is cancelled, wherever it runs."""

from __future__ import annotations

import contextlib
import logging
import re
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import TYPE_CHECKING

from pipelines.command_line.cli import DISK_FULL_ERRORS, RESUME_HINT
from transforms.store import StoreError

if TYPE_CHECKING:
    import apache_beam as beam
    from apache_beam.runners.runner import PipelineResult

# Beam keeps the text of an error only.
_DISK_FULL = re.compile(rf"\[Errno (?:{'|'.join(map(str, DISK_FULL_ERRORS))})\] ([^:\[]+)")
_log = logging.getLogger(__name__)


class InterruptedRunError(KeyboardInterrupt):
    """A signal ended a run: `number` is SIGINT (Ctrl-C) or SIGTERM (from a scheduler)."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


class WorkerError(Exception):
    """A worker of a run died, or could not be started."""


class JobError(Exception):
    """A job failed on its engine, or could not be submitted to it."""


def run_and_wait(pipeline: beam.Pipeline, local: bool) -> PipelineResult:
    """Run a pipeline and wait until it ends.

    Args:
        local: whether the pipeline ends with this process; a job elsewhere is cancelled when the run is interrupted.

    Raises:
        StoreError: a disk is full.
        WorkerError: a worker on this machine, or of a pool, died.
        JobError: a portable runner's job failed, or could not be submitted.
        InterruptedRunError: SIGINT or SIGTERM arrived. Beam would wrap it into an error of the step that it interrupts.
    """
    import grpc
    from apache_beam.runners.portability.portable_runner import PortableRunner

    from pipelines.running.local_workers import direct_connections, watched_workers

    received: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:
        received.append(number)
        logging.getLogger("apache_beam").setLevel(logging.CRITICAL)  # which step is interrupted is irrelevant
        raise InterruptedRunError(number)

    handled = (signal.SIGINT, signal.SIGTERM) if threading.current_thread() is threading.main_thread() else ()
    before = {number: signal.signal(number, stop) for number in handled}
    result = None
    try:
        with direct_connections(), _quiet_connections(), watched_workers() as workers:
            result = pipeline.run()
            for number in handled:  # Beam's job server handles SIGINT itself and would end before the job is cancelled
                signal.signal(number, stop)
            result.wait_until_finish()
    except BaseException as error:
        if not received:
            if workers.death:
                raise WorkerError(f"{workers.death}; {RESUME_HINT}") from error
            if match := _DISK_FULL.search(str(error)):
                raise StoreError(f"the store cannot be written: {match[1]}; {RESUME_HINT}") from error
            if isinstance(pipeline.runner, PortableRunner) and isinstance(error, (RuntimeError, grpc.RpcError)):
                if result is None:
                    options = "--flink_job_server_jar, --prism_location or --job_endpoint"
                    raise JobError(f"the job could not be submitted: {_last_line(error)}; check {options}") from error
                raise JobError(f"the job failed: {_last_line(error)}; {RESUME_HINT}") from error
            raise
        if result is not None and not local:
            _cancel(result)
        raise InterruptedRunError(received[0]) from error
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return result


@contextlib.contextmanager
def _quiet_connections() -> Iterator[None]:
    """Hide what a thread of gRPC prints when Beam closes a connection to a job server that did not start."""
    before = threading.excepthook

    def hook(failed: threading.ExceptHookArgs) -> None:
        if "Cannot monitor channel state" not in str(failed.exc_value):
            before(failed)

    threading.excepthook = hook
    try:
        yield
    finally:
        threading.excepthook = before


def _last_line(error: BaseException) -> str:
    """Return the last line of an error: what a worker raised, of its traceback."""
    details = getattr(error, "details", None)  # of an error of gRPC
    text = (details() if details else None) or str(error) or type(error).__name__
    return text.strip().splitlines()[-1].strip()


def _cancel(result: PipelineResult) -> None:
    try:
        result.cancel()
    except Exception as error:  # a runner may raise anything; the user must know that the job continues
        _log.error("the job could not be cancelled and may continue: %s: %s", type(error).__name__, error)

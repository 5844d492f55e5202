"""Run a pipeline until it ends, a worker dies or a signal arrives; an interrupted job is cancelled, wherever it runs."""

from __future__ import annotations

import logging
import re
import signal
import threading
from types import FrameType
from typing import TYPE_CHECKING

from pipelines.cli import DISK_FULL_ERRORS, RESUME_HINT
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


def run_and_wait(pipeline: beam.Pipeline, local: bool) -> PipelineResult:
    """Run a pipeline and wait until it ends.

    Args:
        local: whether the pipeline ends with this process; a job elsewhere is cancelled when the run is interrupted.

    Raises:
        StoreError: a disk is full.
        WorkerError: a worker on this machine, or of a pool, died.
        InterruptedRunError: SIGINT or SIGTERM arrived. Beam would wrap it into an error of the step that it interrupts.
    """
    from pipelines.local_workers import direct_connections, watched_workers

    received: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:
        received.append(number)
        logging.getLogger("apache_beam").setLevel(logging.CRITICAL)  # which step is interrupted is irrelevant
        raise InterruptedRunError(number)

    handled = (signal.SIGINT, signal.SIGTERM) if threading.current_thread() is threading.main_thread() else ()
    before = {number: signal.signal(number, stop) for number in handled}
    result = None
    try:
        with direct_connections(), watched_workers() as workers:
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
            raise
        if result is not None and not local:
            _cancel(result)
        raise InterruptedRunError(received[0]) from error
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return result


def _cancel(result: PipelineResult) -> None:
    try:
        result.cancel()
    except Exception as error:  # a runner may raise anything; the user must know that the job continues
        _log.error("the job could not be cancelled and may continue: %s: %s", type(error).__name__, error)

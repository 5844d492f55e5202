"""Run a pipeline to its end, or until someone stops it: then its job is cancelled, wherever it runs."""

from __future__ import annotations

import logging
import re
import signal
import threading
from types import FrameType
from typing import TYPE_CHECKING

from pipelines.cli import DISK_IS_FULL, GOES_ON
from transforms.store import StoreError

if TYPE_CHECKING:
    import apache_beam as beam
    from apache_beam.runners.runner import PipelineResult

# Beam keeps of an error its text alone.
_FULL = re.compile(rf"\[Errno (?:{'|'.join(map(str, DISK_IS_FULL))})\] ([^:\[]+)")
_log = logging.getLogger(__name__)


class Interrupted(KeyboardInterrupt):
    """Say that a signal ended a run: `number` is SIGINT (Ctrl-C) or SIGTERM (a scheduler's)."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


def run_to_the_end(pipeline: beam.Pipeline, local: bool) -> PipelineResult:
    """Run a pipeline and wait for it.

    Raises:
        StoreError: a disk is full.
        Interrupted: SIGINT or SIGTERM came. Beam would wrap it into an error of the step it hits; and on a cluster the job
            would go on without us, so it is cancelled.
    """
    came: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:
        came.append(number)
        logging.getLogger("apache_beam").setLevel(logging.CRITICAL)  # the step it hits is no one's business
        raise Interrupted(number)

    here = threading.current_thread() is threading.main_thread()
    handled = (signal.SIGINT, signal.SIGTERM) if here else ()
    before = {number: signal.signal(number, stop) for number in handled}
    result = None
    try:
        result = pipeline.run()
        for number in handled:  # Beam's job server took SIGINT for itself: it would be gone before the job is cancelled
            signal.signal(number, stop)
        result.wait_until_finish()
    except BaseException as error:
        if not came:
            if full := _FULL.search(str(error)):
                raise StoreError(f"the store cannot be written: {full[1]}; {GOES_ON}") from error
            raise
        if result is not None and not local:
            _cancel(result)
        raise Interrupted(came[0]) from error
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return result


def _cancel(result: PipelineResult) -> None:
    try:
        result.cancel()
    except Exception as error:  # whatever a runner throws: the one who stopped the run must know that the job goes on
        _log.error("the job could not be cancelled and may go on: %s: %s", type(error).__name__, error)

"""A run that someone stops: its job is cancelled where it would go on without us."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from pipelines.running.interruption import InterruptedRunError, run_and_wait


class Job:
    """Stand for a pipeline and its result; `wait_until_finish` is where the signal comes, or the error."""

    runner = None

    def __init__(self, number: int | None = None, error: Exception | None = None, cancel_error: str = "") -> None:
        self.number, self.error, self.cancel_error = number, error, cancel_error
        self.cancelled = 0

    def run(self) -> Job:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Beam's job server takes it for itself
        return self

    def wait_until_finish(self) -> None:
        if self.error:
            raise self.error
        if self.number is not None:
            os.kill(os.getpid(), self.number)
            threading.Event().wait(60)

    def cancel(self) -> None:
        self.cancelled += 1
        if self.cancel_error:
            raise ConnectionError(self.cancel_error)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(("local", "cancelled"), [(False, 1), (True, 0)])
def test_a_signal_cancels_a_job_that_would_go_on(number, local, cancelled):
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    job = Job(number)
    with pytest.raises(InterruptedRunError) as raised:
        run_and_wait(job, local)
    assert raised.value.number == number
    assert job.cancelled == cancelled
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_a_job_that_cannot_be_cancelled_is_told(caplog):
    with pytest.raises(InterruptedRunError):
        run_and_wait(Job(signal.SIGTERM, cancel_error="no route"), local=False)
    assert "could not be cancelled and may continue: ConnectionError: no route" in caplog.text


def test_an_error_of_the_job_is_no_interruption():
    job = Job(error=RuntimeError("a step failed"))
    with pytest.raises(RuntimeError, match="a step failed"):
        run_and_wait(job, local=False)
    assert job.cancelled == 0


def test_a_job_may_run_beside_the_main_thread():
    found = []
    thread = threading.Thread(target=lambda: found.append(run_and_wait(QuietJob(), local=False)))
    thread.start()
    thread.join()
    assert isinstance(found[0], QuietJob)


class QuietJob(Job):
    def run(self) -> Job:
        return self

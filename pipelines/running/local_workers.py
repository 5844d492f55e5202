"""Connect Beam's workers to this process, past any proxy, and end the run when a worker dies.

Beam reaches its workers by gRPC, also on this machine, and gRPC sends that through a proxy if one is set. Beam waits without
end for a worker that has died or that never started.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import grpc
from apache_beam.portability import common_urns, python_urns
from apache_beam.portability.api import beam_fn_api_pb2, beam_fn_api_pb2_grpc, endpoints_pb2
from apache_beam.runners.portability.fn_api_runner import worker_handlers
from apache_beam.runners.portability.local_job_service import BeamFnLoggingServicer
from apache_beam.runners.worker.channel_factory import GRPCChannelFactory
from apache_beam.utils import thread_pool_executor
from google.protobuf import json_format, text_format

_EXEMPT = "no_grpc_proxy"
_PROXIES = ("grpc_proxy", "https_proxy", "http_proxy")  # gRPC reads no others, and not in upper case
_WORKER_MODULE = "apache_beam.runners.worker.sdk_worker_main"
_MAX_CONNECT_SECONDS = 300  # of a worker of a pool: its container may install packages first
_MAX_STOP_SECONDS = 15  # a pool waits 10 before it kills a worker


@contextlib.contextmanager
def direct_connections() -> Iterator[None]:
    """Let gRPC reach this machine directly although a proxy is set. Other hosts and other clients are not affected.

    Only gRPC reads no_grpc_proxy; if it is not set, gRPC reads no_proxy instead.
    """
    before = os.environ.get(_EXEMPT)
    if any(os.environ.get(name) for name in _PROXIES):
        exempt = os.environ.get("no_proxy", "") if before is None else before
        hosts = [*exempt.split(","), "localhost", "127.0.0.1", "::1", socket.getfqdn()]
        os.environ[_EXEMPT] = ",".join(dict.fromkeys(host.strip() for host in hosts if host.strip()))
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(_EXEMPT, None)
        else:
            os.environ[_EXEMPT] = before


class Workers:
    """The workers of one run. `death` says what happened to the first one that died."""

    def __init__(self) -> None:
        self.death: str | None = None
        self.handlers: list[_Handler] = []
        self._lock = threading.Lock()

    def lost(self, reason: str) -> None:
        """Fail what is asked of any worker: a run cannot end without one of them, and the others need not go on."""
        with self._lock:
            if self.death is not None:
                return
            self.death = reason
        logging.disable()  # the errors that Beam logs now are consequences
        for handler in self.handlers:
            handler.control_conn.fail(reason)


@contextlib.contextmanager
def watched_workers() -> Iterator[Workers]:
    """Watch the workers that Beam starts in this process meanwhile."""
    workers = Workers()
    registered = worker_handlers.WorkerHandler._registered_environments
    before, disabled = dict(registered), logging.root.manager.disable
    for urn, kind in (
        (python_urns.SUBPROCESS_SDK, _ProcessHandler),
        (common_urns.environments.EXTERNAL.urn, _PoolHandler),
    ):
        registered[urn] = _constructor(kind, workers), before[urn][1]
    try:
        yield workers
    finally:
        registered.update(before)
        logging.disable(disabled)
        for handler in workers.handlers:
            if isinstance(handler, _ProcessHandler):  # a signal may come while Beam closes them
                handler._end()


def _constructor(handler: type[_Handler], workers: Workers) -> Callable[..., _Handler]:
    def construct(*arguments: Any) -> _Handler:
        made = handler(*arguments)
        made.watch(workers)
        return made

    return construct


class _Connection(worker_handlers.ControlConnection):
    """What is asked of a worker. After `fail` every answer is an error."""

    def __init__(self, ended: Callable[[], None]) -> None:
        super().__init__()
        self.connected = threading.Event()
        self._ended = ended
        self._failure: str | None = None

    def set_input(self, input: Iterable[Any]) -> None:
        self.connected.set()
        super().set_input(_until_lost(input))

    def _read(self) -> None:
        super()._read()
        self._ended()

    def push(self, req: Any) -> Any:
        future = super().push(req)
        if future is not None and self._failure is not None:
            self._fail(future)
        return future

    def fail(self, reason: str) -> None:
        """Answer everything that was asked, and all that will be, with an error."""
        self._failure = reason
        for future in list(self._futures_by_id.values()):
            self._fail(future)

    def _fail(self, future: worker_handlers.ControlFuture) -> None:
        # Not `abort`: the data channel waits on for a future that is aborted.
        future.set(beam_fn_api_pb2.InstructionResponse(instruction_id=future.instruction_id, error=self._failure))


def _until_lost(stream: Iterable[Any]) -> Iterator[Any]:
    """Yield what a worker sends until it ends or dies. Without this, Beam prints a traceback for each of its streams."""
    with contextlib.suppress(grpc.RpcError):
        yield from stream


class _Handler(worker_handlers.GrpcWorkerHandler):
    """A worker that is watched. A run that fails ends it at once; otherwise it ends after its last answer."""

    control_conn: _Connection

    def watch(self, workers: Workers) -> None:
        self._workers = workers
        self._closing = False
        self.control_conn = _Connection(self._stream_ended)
        self.control_handler._connections_by_worker_id[self.worker_id] = self.control_conn
        channel: Any = self.data_conn
        set_inputs = channel.set_inputs
        channel.set_inputs = lambda stream: set_inputs(_until_lost(stream))
        workers.handlers.append(self)

    def close(self) -> None:
        self._closing = True
        fails = self._workers.death is not None or sys.exc_info()[0] is not None
        if not fails or self._end():
            super().close()

    def _lost(self, reason: str) -> None:
        if not self._closing:
            self._workers.lost(reason)

    def _stream_ended(self) -> None:
        raise NotImplementedError

    def _end(self) -> bool:
        """End the worker now. Return whether it has ended: otherwise its streams stay open until the server closes."""
        raise NotImplementedError


class _ProcessHandler(_Handler):
    """A worker process on this machine, without a shell between: the path of this Python may hold any characters."""

    def __init__(self, command: bytes, *rest: Any) -> None:
        super().__init__(*rest)
        own = [sys.executable, "-m", _WORKER_MODULE]
        self._command = own if command.decode() == " ".join(own) else ["sh", "-c", command.decode()]

    def start_worker(self) -> None:
        self._logging = grpc.server(thread_pool_executor.shared_unbounded_instance())
        port = self._logging.add_insecure_port("[::]:0")
        beam_fn_api_pb2_grpc.add_BeamFnLoggingServicer_to_server(BeamFnLoggingServicer(), self._logging)
        self._logging.start()
        described = {
            "CONTROL_API_SERVICE_DESCRIPTOR": text_format.MessageToString(self.control_api_service_descriptor()),
            "LOGGING_API_SERVICE_DESCRIPTOR": text_format.MessageToString(
                endpoints_pb2.ApiServiceDescriptor(url=f"localhost:{port}")
            ),
            "PIPELINE_OPTIONS": json_format.MessageToJson(self.provision_info.provision_info.pipeline_options),
            "WORKER_ID": self.worker_id,
        }
        try:
            # Ctrl-C reaches this process alone, which ends its workers.
            self._process = subprocess.Popen(self._command, env=os.environ | described, start_new_session=True)
        except OSError as error:
            self._lost(f"a worker could not be started: {error}")
            raise
        self._watcher = threading.Thread(target=self._watch, name="watch_worker", daemon=True)
        self._watcher.start()

    def _watch(self) -> None:
        code = self._process.wait()
        if code < 0:
            hint = " (out of memory?)" if code == -signal.SIGKILL else ""
            name = {number.value: number.name for number in signal.Signals}.get(-code, f"signal {-code}")
            self._lost(f"a worker was killed by {name}{hint}")
        self._lost(f"a worker ended before its work was done, with exit code {code}")

    def _stream_ended(self) -> None:
        if not self._closing:
            self._watcher.join(_MAX_STOP_SECONDS)  # it knows the reason
            self._lost("a worker closed its connection before its work was done")

    def _end(self) -> bool:
        if hasattr(self, "_process"):
            self._process.kill()
        return True

    def stop_worker(self) -> None:
        if hasattr(self, "_process"):
            self._process.wait()
        self._logging.stop(0)


class _PoolHandler(worker_handlers.ExternalWorkerHandler, _Handler):
    """A worker that a pool of the user's starts."""

    def start_worker(self) -> None:
        url = self._external_payload.endpoint.url
        try:
            super().start_worker()
        except (grpc.RpcError, RuntimeError) as error:
            reason = error.details() if isinstance(error, grpc.Call) else str(error).strip().splitlines()[-1]
            self._lost(f"the worker pool at {url} started no worker: {reason}")
            raise
        self._lateness = threading.Timer(_MAX_CONNECT_SECONDS, self._check_connected)
        self._lateness.daemon = True
        self._lateness.start()

    def _check_connected(self) -> None:
        if not self.control_conn.connected.is_set():
            url = self._external_payload.endpoint.url
            self._lost(
                f"no worker of the pool at {url} has connected within {_MAX_CONNECT_SECONDS} s; the pool's output says why"
            )

    def _stream_ended(self) -> None:
        url = self._external_payload.endpoint.url
        self._lost(f"a worker of the pool at {url} is gone (killed: out of memory?)")

    def close(self) -> None:
        if hasattr(self, "_lateness"):
            self._lateness.cancel()
        super().close()

    def _end(self) -> bool:
        channel = GRPCChannelFactory.insecure_channel(self._external_payload.endpoint.url)
        pool = beam_fn_api_pb2_grpc.BeamFnExternalWorkerPoolStub(channel)
        try:
            pool.StopWorker(beam_fn_api_pb2.StopWorkerRequest(worker_id=self.worker_id), timeout=_MAX_STOP_SECONDS)
        except grpc.RpcError:  # the pool is gone
            return False
        return True

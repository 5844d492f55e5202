"""Check before a run begins that its engine answers, so that a wrong address is one line, not a hang or a traceback."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import logging
import os
import shutil
import socket
import urllib.request
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from encoder.declare import OptionError

if TYPE_CHECKING:
    from apache_beam.options.pipeline_options import PipelineOptions

_MAX_ANSWER_SECONDS = 10
_MAX_DOWNLOAD_SECONDS = 20  # until the next byte
_MAX_REASON_CHARACTERS = 300
_NO_CLUSTER = ("[auto]", "[local]")  # Beam's job server starts Flink within itself
_EMBEDDED = "embed"  # the job service runs in this process
_WITHOUT_PROXY = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # as the job server, which is Java
_log = logging.getLogger(__name__)


def check_engine(runner: str, options: PipelineOptions) -> None:
    """Check what a portable runner needs: its job service or what starts one, its cluster, its worker pool.

    Args:
        runner: the name of the runner's class.
        options: Beam's options; `--prism_location` is set to the binary that was found.

    Raises:
        OptionError: something is missing or does not answer.
    """
    from apache_beam.options.pipeline_options import FlinkRunnerOptions, PortableOptions

    if runner not in ("FlinkRunner", "PortableRunner", "PrismRunner"):
        return
    logging.getLogger("apache_beam.utils.subprocess_server").setLevel(logging.CRITICAL)  # warns of each start and end
    portable = options.view_as(PortableOptions)
    address = portable.job_endpoint
    if address and address != _EMBEDDED:
        _check_port("--job_endpoint", address, "start the job service, or correct the address")
    elif address:
        pass
    elif runner == "PortableRunner":
        raise OptionError("--runner=PortableRunner needs --job_endpoint=HOST:PORT, the address of a job service")
    elif runner == "PrismRunner":
        _find_prism(options)
    else:
        address = options.view_as(FlinkRunnerOptions).flink_master
        _find_job_server(options)
        _check_flink(options)
    here = not address or address in (_EMBEDDED, *_NO_CLUSTER) or _is_this_machine(address)
    pool = portable.environment_config or ""
    # Elsewhere each task manager may have a pool beside it, which this machine does not reach.
    if here and portable.environment_type == "EXTERNAL" and _is_this_machine(pool):
        port = urlsplit(f"//{pool}").port
        start = f"start the worker pool: python -m apache_beam.runners.worker.worker_pool_main --service_port={port}"
        _check_port("--environment_config", pool, start)


def _check_flink(options: PipelineOptions) -> None:
    from apache_beam.options.pipeline_options import FlinkRunnerOptions

    flink = options.view_as(FlinkRunnerOptions)
    if flink.flink_master in _NO_CLUSTER:
        return
    url = flink.flink_master if "://" in flink.flink_master else f"http://{flink.flink_master}"
    try:
        with _WITHOUT_PROXY.open(f"{url}/overview", timeout=_MAX_ANSWER_SECONDS) as answer:
            overview = json.load(answer)
        version = overview["flink-version"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise OptionError(
            f"--flink_master {flink.flink_master}: no Flink answers there ({_reason(error)}); "
            "give the REST address of the job manager, HOST:8081 by default"
        ) from None
    if version.split(".")[:2] != flink.flink_version.split("."):
        raise OptionError(
            f"the cluster at {flink.flink_master} runs Flink {version}, and the job server is for Flink "
            f"{flink.flink_version}; choose the job server with --flink_version"
        )
    slots = overview.get("slots-total", 0)
    if slots < max(1, flink.parallelism):  # some clusters start task managers when a job asks for them
        _log.warning("the cluster at %s has %d slots now; the job waits for more", flink.flink_master, slots)


def _find_job_server(options: PipelineOptions) -> None:
    """Find Java and the jar of Flink's job server, which Beam downloads into its cache if it is not there yet."""
    from apache_beam.options.pipeline_options import FlinkRunnerOptions, JobServerOptions
    from apache_beam.runners.portability.flink_runner import FlinkJarJobServer

    server, version = options.view_as(JobServerOptions), options.view_as(FlinkRunnerOptions).flink_version
    if shutil.which(server.job_server_java_launcher) is None:
        raise OptionError(
            f"Flink's job server needs Java, and there is no {server.job_server_java_launcher!r} on PATH; install Java, "
            "or name it with --job_server_java_launcher"
        )
    jar = options.view_as(FlinkRunnerOptions).flink_job_server_jar
    cure = f"download org.apache.beam:beam-runners-flink-{version}-job-server from Maven Central, and name it with that option"
    with _downloads(f"--flink_job_server_jar {jar or ''}".strip(), jar, cure):
        FlinkJarJobServer.local_jar(FlinkJarJobServer(options).path_to_jar(), server.jar_cache_dir)


def _find_prism(options: PipelineOptions) -> None:
    from apache_beam.options.pipeline_options import PrismRunnerOptions
    from apache_beam.runners.portability.prism_runner import PrismJobServer
    from apache_beam.version import __version__ as beam_version

    prism = options.view_as(PrismRunnerOptions)
    build = f"go install github.com/apache/beam/sdks/v2/go/cmd/prism@v{beam_version}"
    option = f"--prism_location {prism.prism_location or ''}".strip()
    with _downloads(option, prism.prism_location, f"build it ({build}), and name it with that option"):
        prism.prism_location = PrismJobServer(options)._get_executable_path()


@contextlib.contextmanager
def _downloads(option: str, path: str | None, cure: str) -> Iterator[None]:
    """Let Beam find a program, or download it if `path` is None, and report what fails in one line."""
    beam_log = logging.getLogger("apache_beam")
    level, timeout = beam_log.level, socket.getdefaulttimeout()
    beam_log.setLevel(logging.CRITICAL)
    socket.setdefaulttimeout(_MAX_DOWNLOAD_SECONDS)
    try:
        if path and "://" not in path and not os.path.isfile(path):
            raise FileNotFoundError("there is no such file")
        yield
    except (OSError, RuntimeError, ValueError) as error:
        raise OptionError(f"{option}: {_reason(error)}; {cure}") from None
    finally:
        beam_log.setLevel(level)
        socket.setdefaulttimeout(timeout)


def _check_port(option: str, address: str, cure: str) -> None:
    try:
        parts = urlsplit(f"//{address}")
        if not parts.hostname or not parts.port:
            raise ValueError("not HOST:PORT")
        socket.create_connection((parts.hostname, parts.port), _MAX_ANSWER_SECONDS).close()
    except (OSError, ValueError) as error:
        raise OptionError(f"{option} {address}: nothing answers there ({_reason(error)}); {cure}") from None


def _is_this_machine(address: str) -> bool:
    host = urlsplit(address if "://" in address else f"//{address}").hostname or ""
    if host == "localhost":
        return True
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return False


def _reason(error: Any) -> str:
    """Return the reason of an error in one line."""
    error = getattr(error, "reason", None) or error
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return text.strip().splitlines()[0][:_MAX_REASON_CHARACTERS]

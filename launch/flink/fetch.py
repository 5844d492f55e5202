"""Fetch Flink from PyPI and Beam's job server from Maven Central into a folder outside the checkout, once."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import apache_beam

from launch.processes import LaunchError, cache_folder

FLINK = "2.2.1"
FLINK_MINOR = FLINK.rpartition(".")[0]
# Together they are a whole distribution: the scripts and settings, and the jars.
_WHEELS = (f"apache-flink=={FLINK}", f"apache-flink-libraries=={FLINK}")
_MAX_REASON_CHARACTERS = 300
_FOLDERS = ("bin", "conf", "lib", "plugins")
_JOB_SERVER = f"org.apache.beam:beam-runners-flink-{FLINK_MINOR}-job-server:{apache_beam.__version__}"


def fetch_flink() -> Path:
    """Return the folder of the pinned Flink, fetched if it is not there yet (about 310 MB).

    Raises:
        LaunchError: it could not be fetched.
    """
    folder = cache_folder() / f"flink-{FLINK}"
    if not folder.is_dir():
        with _new_folder(folder) as new, tempfile.TemporaryDirectory(dir=new.parent) as wheels:
            # The wheel of apache-flink exists for some versions of Python only; its scripts are the same.
            options = ["--no-deps", "--only-binary=:all:", "--python-version=3.11", "--dest", wheels]
            _call([sys.executable, "-m", "pip", "download", "--quiet", *options, *_WHEELS], "Flink")
            for wheel in Path(wheels).iterdir():
                _unpack(wheel, new)
    return folder


def job_server_jar() -> Path:
    """Return where the jar of Beam's job server is kept, whether it is there or not."""
    _, name, version = _JOB_SERVER.split(":")
    return cache_folder() / f"flink-job-server-{FLINK_MINOR}-{version}" / f"{name}-{version}.jar"


def fetch_job_server() -> Path:
    """Return the jar of Beam's job server for this Flink, fetched with Maven if it is not there yet.

    Raises:
        LaunchError: it could not be fetched.
    """
    jar = job_server_jar()
    if not jar.exists():
        if shutil.which("mvn") is None:
            raise LaunchError("Maven (mvn) fetches the job server; install it, or name the jar with --job_server_jar")
        with _new_folder(jar.parent) as new:
            copy = ["dependency:copy", f"-Dartifact={_JOB_SERVER}", f"-DoutputDirectory={new}"]
            _call(["mvn", "--quiet", "--batch-mode", *copy], f"the job server {_JOB_SERVER}")
    return jar


@contextlib.contextmanager
def _new_folder(folder: Path) -> Iterator[Path]:
    """Give a temporary folder, and rename it at the end, so that no half-filled folder is ever taken for a whole one."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    new = Path(tempfile.mkdtemp(prefix=f"{folder.name}.", dir=folder.parent))
    try:
        yield new
        with contextlib.suppress(OSError):  # another process was first
            os.rename(new, folder)
    finally:
        shutil.rmtree(new, ignore_errors=True)


def _unpack(wheel: Path, folder: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        for member in archive.infolist():
            package, *parts = Path(member.filename).parts
            if package == "pyflink" and len(parts) > 1 and parts[0] in _FOLDERS and not member.is_dir():
                target = folder.joinpath(*parts)
                target.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(member) as source, target.open("wb") as copy:
                    shutil.copyfileobj(source, copy)
                if parts[0] == "bin":
                    target.chmod(0o755)


def _call(command: list[str], what: str) -> None:
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        lines = [line for line in done.stdout.splitlines() if "rror" in line] or ["no output"]
        reason = lines[0].strip().removeprefix("[ERROR] ")[:_MAX_REASON_CHARACTERS]
        raise LaunchError(f"{what} could not be fetched: {reason}")

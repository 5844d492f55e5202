"""Run a command of encode-once on Prism, Beam's portable runner for one machine, built from its Go module.

python -m launch.prism annotate --input 'corpus/*.txt' --store my-store
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import apache_beam

from launch.processes import LaunchError, cache_folder, exit_on_sigterm, run_encode_once
from pipelines.command_line.cli import EXIT_USAGE

_MODULE = "github.com/apache/beam/sdks/v2/go/cmd/prism"


def fetch_prism() -> Path:
    """Return Prism of the installed version of Beam, built with Go if it is not there yet.

    Raises:
        LaunchError: it cannot be built.
    """
    version = f"v{apache_beam.__version__}"
    program = cache_folder() / f"prism-{version}"
    if program.exists():
        return program
    if shutil.which("go") is None:
        raise LaunchError("Go builds Prism; install Go and put `go` on PATH")
    program.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=program.parent) as folder:
        command = ["go", "install", f"{_MODULE}@{version}"]
        done = subprocess.run(
            command,
            env=os.environ | {"GOBIN": folder},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode:
            raise LaunchError(f"Prism could not be built: {(done.stdout.strip() or 'no output').splitlines()[-1]}")
        os.replace(Path(folder, "prism"), program)
    return program


def main(argv: Sequence[str]) -> int:
    """Run a command and return its exit code; 2 if Prism cannot be built."""
    if not argv or argv[0].startswith("-"):
        print(__doc__)
        return 0 if argv and argv[0] in ("-h", "--help") else EXIT_USAGE
    try:
        return run_encode_once([*argv, "--runner=PrismRunner", f"--prism_location={fetch_prism()}"])
    except LaunchError as error:
        print(f"python -m launch.prism: error: {error}", file=sys.stderr)
        return EXIT_USAGE


if __name__ == "__main__":
    exit_on_sigterm()
    sys.exit(main(sys.argv[1:]))

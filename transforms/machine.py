"""Versions and cores of this machine. Machines that write to one store need the same version of this package."""

from __future__ import annotations

import os
from importlib.metadata import PackageNotFoundError, version

# Those whose versions are shown, and recorded with each run.
PACKAGES = ("apache-beam", "numpy", "pyarrow", "safetensors", "tokenizers", "torch", "transformers")
NOT_INSTALLED = "not installed"


def package_version(package: str = "encode-once") -> str:
    """Return a package's version, or `NOT_INSTALLED`."""
    try:
        return version(package)
    except PackageNotFoundError:
        return NOT_INSTALLED


def usable_cores() -> int:
    """Return how many cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

"""Describe the machine and the packages with which a benchmark ran."""

from __future__ import annotations

import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Any

PACKAGES = (
    "encode-once",
    "apache-beam",
    "numpy",
    "onnxruntime",
    "pyarrow",
    "scikit-learn",
    "sentence-transformers",
    "tokenizers",
    "torch",
    "transformers",
)
_SIMD = ("avx2", "avx512_f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_bf16", "amx_int8", "bf16", "i8mm", "sve")


def describe() -> dict[str, Any]:
    """Return the processor, its usable cores and SIMD features, threads, GPUs, and versions of packages."""
    import torch

    features = capabilities()
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "processor": processor_name(),
        "cores": usable,
        "load_before": round(os.getloadavg()[0], 2),
        "simd": [name for name in _SIMD if features.get(name) is True],
        "native_bfloat16": has_bfloat16(),
        "torch_threads": torch.get_num_threads(),
        "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        "cuda": torch.version.cuda,
        "system": platform.platform(),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
    }


def header() -> tuple[str, dict[str, Any]]:
    """Return the description as three or four lines of text, and as a JSON object."""
    facts = describe()
    bfloat16 = "native bfloat16" if facts["native_bfloat16"] else "no native bfloat16"
    lines = [
        f"{facts['processor']}, {facts['cores']} cores ({', '.join(facts['simd']) or 'SIMD unknown'}; {bfloat16}), "
        f"{facts['torch_threads']} torch threads, load before {facts['load_before']}",
        f"{facts['system']}, Python {facts['python']}",
        ", ".join(f"{name} {installed}" for name, installed in facts["packages"].items()),
    ]
    if facts["gpus"]:
        lines.insert(1, f"{', '.join(facts['gpus'])}, CUDA {facts['cuda']}")
    return "\n".join(lines), facts


def line() -> str:
    """Return in one line what affects speed and rounding: processor, cores, threads, bfloat16, GPUs, Python, torch."""
    facts = describe()
    bfloat16 = "native bfloat16" if facts["native_bfloat16"] else "no native bfloat16"
    parts = [f"{facts['processor']}, {facts['cores']} cores, {facts['torch_threads']} torch threads, {bfloat16}"]
    parts += [*facts["gpus"], f"Python {facts['python']}, torch {facts['packages']['torch']}"]
    return "; ".join(parts)


def has_bfloat16() -> bool:
    """Return whether the processor multiplies bfloat16 natively; otherwise it is emulated and slower than float32."""
    return any(value is True for name, value in capabilities().items() if "bf16" in name)


def capabilities() -> dict[str, Any]:
    """Return torch's description of the processor; empty before torch 2.6."""
    import torch

    return getattr(torch.cpu, "get_capabilities", dict)()


def processor_name() -> str:
    if sys.platform == "linux":
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            for line in file:
                if line.startswith(("model name", "Model")):
                    return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"

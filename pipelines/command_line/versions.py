"""Describe this installation: versions, what the processor and the GPU can do, and what will be used of it."""

from __future__ import annotations

import platform

from transforms.machine import PACKAGES, package_version, usable_cores

# Names that torch gives to what the processor can do, with the usual names. The kernels of oneDNN use these.
_FEATURES = {
    "avx2": "AVX2",
    "avx512_f": "AVX-512",
    "avx512_vnni": "AVX-512 VNNI",
    "avx_vnni": "AVX VNNI",
    "avx512_bf16": "AVX-512 bf16",
    "amx_int8": "AMX int8",
    "amx_bf16": "AMX bf16",
    "neon": "NEON",
    "dotprod": "NEON dot product",
    "bf16": "NEON bf16",
    "sve": "SVE",
}


def describe() -> str:
    """Describe this installation, one thing a line; the first line is the version. Imports torch, which takes seconds."""
    rows = [
        ("python", f"{platform.python_version()} on {platform.platform()}"),
        ("packages", ", ".join(f"{name} {package_version(name)}" for name in PACKAGES)),
    ]
    try:
        rows += _describe_machine()
    except ImportError as error:
        rows.append(("torch", f"cannot be imported: {error}"))
    return "\n".join([f"encode-once {package_version()}", *(f"{name:<11}{text}" for name, text in rows)])


def _describe_machine() -> list[tuple[str, str]]:
    import torch

    from encoder.forward.load import describe_kernel
    from encoder.forward.model import choose_device, choose_precision
    from heads.score import describe_kernel as describe_label_kernel

    device = choose_device("auto")
    dtype = choose_precision("auto", device)
    number_format = str(dtype).removeprefix("torch.")
    threads = f", {torch.get_num_threads()} threads" if device.type == "cpu" else ""
    return [
        (
            "processor",
            f"{_processor_name()}, {usable_cores()} cores; {', '.join(_features()) or 'no known extensions'}",
        ),
        ("GPU", _describe_gpu()),
        ("encoding", f"on {device} in {number_format}{threads}; {describe_kernel(device, dtype)}"),
        ("labelling", f"on cpu; {describe_label_kernel()}"),
    ]


def _features() -> list[str]:
    import torch

    if not hasattr(torch.cpu, "get_capabilities"):  # older versions of torch
        return [torch.backends.cpu.get_cpu_capability()]
    found = torch.cpu.get_capabilities()
    return [text for name, text in _FEATURES.items() if found.get(name) is True]


def _processor_name() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _describe_gpu() -> str:
    import torch

    if torch.cuda.is_available():
        found = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
        return ", ".join(
            f"{gpu.name} ({gpu.total_memory >> 30} GiB, capability {gpu.major}.{gpu.minor})" for gpu in found
        )
    return "Apple's (mps)" if torch.backends.mps.is_available() else "none"

"""Make torch give the same numbers each time."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch


@contextlib.contextmanager
def repeatable(device: torch.device) -> Iterator[None]:
    """Leave torch's random state as it was, and take kernels whose sums have a fixed order where there are some.

    On a GPU only the strict setting makes attention's gradients such; cuDNN's has none, and plans anew for every shape. It
    wants what `encoder.forward.model.choose_device` sets for cuBLAS.
    """
    deterministic = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    fill = torch.utils.deterministic.fill_uninitialized_memory
    on_gpu = device.type == "cuda"
    devices = [device.index or 0] if on_gpu else []
    cudnn = torch.backends.cuda.cudnn_sdp_enabled()
    with torch.random.fork_rng(devices), torch.enable_grad():
        torch.use_deterministic_algorithms(True, warn_only=not on_gpu)
        torch.backends.cuda.enable_cudnn_sdp(cudnn and not on_gpu)
        torch.utils.deterministic.fill_uninitialized_memory = False  # nothing here reads it; 13 % of a step
        try:
            yield
        finally:
            torch.utils.deterministic.fill_uninitialized_memory = fill
            torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
            torch.backends.cuda.enable_cudnn_sdp(cudnn)

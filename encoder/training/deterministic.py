"""Make torch compute the same numbers each time."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
import torch.utils.deterministic


@contextlib.contextmanager
def deterministic(device: torch.device) -> Iterator[None]:
    """Select kernels whose sums have a fixed order, where they exist; afterwards restore torch's settings and random state.

    On a GPU only the strict setting gives attention deterministic gradients; cuDNN's attention has none, and plans anew for
    every shape. The strict setting needs the variable that `encoder.forward.model.choose_device` sets for cuBLAS.
    """
    was_deterministic = torch.are_deterministic_algorithms_enabled()
    only_warned = torch.is_deterministic_algorithms_warn_only_enabled()
    filled = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    used_cudnn = torch.backends.cuda.cudnn_sdp_enabled()
    on_gpu = device.type == "cuda"
    with torch.random.fork_rng([device.index or 0] if on_gpu else []), torch.enable_grad():
        torch.use_deterministic_algorithms(True, warn_only=not on_gpu)
        torch.backends.cuda.enable_cudnn_sdp(used_cudnn and not on_gpu)
        # Nothing here reads uninitialised memory, and filling it takes 13 % of a step.
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
        try:
            yield
        finally:
            torch.utils.deterministic.fill_uninitialized_memory = filled  # type: ignore[attr-defined]
            torch.use_deterministic_algorithms(was_deterministic, warn_only=only_warned)
            torch.backends.cuda.enable_cudnn_sdp(used_cudnn)

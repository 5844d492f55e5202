"""The interface of what runs a base model over batches of windows.

An encoder chooses one when it is loaded (`encoder.forward.load`): `PackedRunner` on a processor, `VarlenRunner` on a GPU, and
`PaddedRunner` for models and devices that these do not support.
"""

from __future__ import annotations

import abc

import numpy as np
import torch

from encoder.tokenize import Windows


class Runner(abc.ABC):
    """A base model on one device that turns windows of tokens into pooled features.

    Windows of a batch lie end to end here, so that no padding goes through the model. `PaddedRunner` counts in another way.
    """

    def count_tokens(self, lengths: np.ndarray) -> int:
        """Return the tokens that go through the model for windows of `lengths` (w,), longest first, padding included."""
        return int(lengths.sum())

    def count_rows(self, lengths: np.ndarray, max_tokens: int) -> int:
        """Return how many windows of `lengths` (w,), longest first, fit into a batch of `max_tokens`: at least one."""
        # A window has at least one token: no more than `max_tokens` windows fit.
        return max(1, int(np.searchsorted(np.cumsum(lengths[:max_tokens]), max_tokens, side="right")))

    @abc.abstractmethod
    def run(self, windows: Windows, rows: np.ndarray) -> torch.Tensor:
        """Return the pooled features of the windows `rows` (w,), longest first: (w, dim) float32 on the device."""


def to_device(array: np.ndarray, device: torch.device) -> torch.Tensor:
    """Copy an array to a device. A copy to a GPU is asynchronous."""
    tensor = torch.from_numpy(array)
    # Only copies from pinned memory are asynchronous. torch keeps that memory until the copy is done.
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)

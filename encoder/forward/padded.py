"""Run a model of transformers over texts padded to the longest of their batch: any model, on any device."""

from __future__ import annotations

import numpy as np
import torch

from encoder.forward.runner import Runner, to_device
from encoder.pooling import Pooling
from encoder.tokenize import Windows, rows_that_fit


class PaddedRunner(Runner):
    """A model of transformers that runs windows side by side, the shorter ones padded."""

    def __init__(self, model: torch.nn.Module, pooling: Pooling, device: torch.device, pad_id: int) -> None:
        self._model, self._pooling, self._device, self._pad_id = model, pooling, device, pad_id
        if device.type == "cuda":
            # cuDNN plans anew for every shape of batch, and nearly every batch has its own.
            torch.backends.cuda.enable_cudnn_sdp(False)

    def count_tokens(self, lengths: np.ndarray) -> int:
        return len(lengths) * int(lengths.max())

    def count_rows(self, lengths: np.ndarray, max_tokens: int) -> int:
        return rows_that_fit(int(lengths[0]), max_tokens)

    def run(self, windows: Windows, rows: np.ndarray) -> torch.Tensor:
        ids, mask = (to_device(array, self._device) for array in windows.batch(rows, self._pad_id))
        hidden = self._model(input_ids=ids, attention_mask=mask.long(), output_hidden_states=True).hidden_states
        return self._pooling(hidden, mask)

"""Turn pooled features into values to cut, while an encoder is trained."""

from __future__ import annotations

import numpy as np
import torch

from encoder.projection import deviations, project

MOMENTUM = 0.03


class BitLayer(torch.nn.Module):
    """Centre and scale features, rotate or project them, centre again: values around zero.

    features (n, dim) float32 in, values (n, bits) float32 of about unit variance out. The first centre and the scale are
    the base model's over a sample and stay, and so does a rotation within layers; a projection of all features learns. The
    second centre follows the training by a running mean, without gradients.
    """

    def __init__(self, sample: np.ndarray, projection: np.ndarray | None, batch_rows: int) -> None:
        """Take the base model's features of a sample (rows, dim) float32 and a projection, as `projection.project` does.

        batch_rows: rows of a training batch; a pass of fewer moves the running mean by so much less.
        """
        super().__init__()
        self._batch_rows = batch_rows
        mean, deviation = sample.mean(0, dtype=np.float64), deviations(sample)
        self.register_buffer("mean", torch.from_numpy(mean.astype(np.float32)))
        self.register_buffer("deviation", torch.from_numpy(deviation.astype(np.float32)))
        self.learns = projection is not None and projection.ndim == 2
        bits, start = sample.shape[1], None
        if projection is not None:
            # The same directions as in the bundle, written for scaled features, each value of unit variance.
            scaled = deviation.reshape(*projection.shape[:-1], 1) * projection
            spread = project((sample - mean) / deviation, scaled).std(0)
            spread[spread == 0] = 1  # of features that never change
            bits = len(spread)
            # The last axis of every block is a stretch of the bits.
            spread = spread.reshape(*projection.shape[:-2], 1, projection.shape[-1])
            start = torch.from_numpy((scaled / spread).astype(np.float32))
        self.register_buffer("start", start)
        if self.learns:
            self.weight = torch.nn.Parameter(start.clone())
        self.register_buffer("centre", torch.zeros(bits))

    def standardise(self, features: torch.Tensor) -> torch.Tensor:
        """Centre and scale features (n, dim) as the base model's are over the sample."""
        return (features - self.mean) / self.deviation

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        values = project(self.standardise(features), self.weight if self.learns else self.start)
        if self.training:
            with torch.no_grad():
                self.centre.lerp_(values.mean(0), MOMENTUM * min(1.0, len(values) / self._batch_rows))
        return values - self.centre

    @torch.no_grad()
    def projection(self) -> np.ndarray | None:
        """Return the learned projection of plain features, (dim, bits) float32; None where it does not learn."""
        if not self.learns:
            return None
        return (self.weight / self.deviation[:, None]).cpu().numpy()

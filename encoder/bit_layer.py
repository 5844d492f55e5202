"""Turn pooled features into values to cut, while an encoder is trained."""

from __future__ import annotations

import numpy as np
import torch

MOMENTUM = 0.03
# Least deviation a feature is divided by, as a share of the median one. Some models have features that are as good as
# constant (three of all-MiniLM-L6-v2's last layer): divided by their own, rounding would be as loud as what others say.
FLOOR_SHARE = 0.25


class BitLayer(torch.nn.Module):
    """Centre and scale features, project them where bits are learned, centre again: values around zero.

    features (n, dim) float32 in, values (n, bits) float32 of about unit variance out. The first centre and the scale are
    the base model's over a sample and stay; the second centre follows the training by a running mean, without gradients.
    """

    def __init__(self, sample: np.ndarray, projection: np.ndarray | None, batch_rows: int) -> None:
        """Take the base model's features of a sample (rows, dim) float32 and the projection (dim, bits) to start from.

        batch_rows: rows of a training batch; a pass of fewer moves the running mean by so much less.
        """
        super().__init__()
        self._batch_rows = batch_rows
        mean, deviation = sample.mean(0, dtype=np.float64), sample.std(0, dtype=np.float64)
        deviation = np.maximum(deviation, max(FLOOR_SHARE * np.median(deviation), 1e-6))
        self.register_buffer("mean", torch.from_numpy(mean.astype(np.float32)))
        self.register_buffer("deviation", torch.from_numpy(deviation.astype(np.float32)))
        bits = sample.shape[1] if projection is None else projection.shape[1]
        self.register_buffer("centre", torch.zeros(bits))
        self.weight = None
        if projection is not None:
            # The same directions as in the bundle, written for scaled features, each value of unit variance.
            scaled = deviation[:, None] * projection
            values = (sample - mean) / deviation @ scaled
            start = torch.from_numpy((scaled / values.std(0)).astype(np.float32))
            self.register_buffer("start", start)
            self.weight = torch.nn.Parameter(start.clone())

    def standardise(self, features: torch.Tensor) -> torch.Tensor:
        """Centre and scale features (n, dim) as the base model's are over the sample."""
        return (features - self.mean) / self.deviation

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        values = self.standardise(features)
        if self.weight is not None:
            values = values @ self.weight
        if self.training:
            with torch.no_grad():
                self.centre.lerp_(values.mean(0), MOMENTUM * min(1.0, len(values) / self._batch_rows))
        return values - self.centre

    @torch.no_grad()
    def projection(self, average: float) -> np.ndarray | None:
        """Return the projection of plain features, (dim, bits) float32, `average` of the way from start to learned."""
        if self.weight is None:
            return None
        weight = torch.lerp(self.start, self.weight, average) / self.deviation[:, None]
        return weight.cpu().numpy()

"""Turn pooled features into values to cut, while an encoder is trained."""

from __future__ import annotations

import numpy as np
import torch

MOMENTUM = 0.02


class BitLayer(torch.nn.Module):
    """Centre and scale features, project them where bits are learned, centre and scale again: values around zero.

    features (n, dim) float32 in, values (n, bits) float32 of about unit variance out. The first centre and scale are
    the base model's over a sample and stay; the second follow the training by a running mean, without gradients.
    """

    def __init__(self, sample: np.ndarray, projection: np.ndarray | None) -> None:
        """Take the base model's features of a sample (rows, dim) float32 and the projection (dim, bits) to start from."""
        super().__init__()
        deviation = sample.std(0, dtype=np.float64)
        deviation[deviation <= 1e-6 * (1 + np.abs(sample).max(0))] = 1  # constant, but for rounding
        self.register_buffer("mean", torch.from_numpy(sample.mean(0, dtype=np.float64).astype(np.float32)))
        self.register_buffer("deviation", torch.from_numpy(deviation.astype(np.float32)))
        bits = sample.shape[1] if projection is None else projection.shape[1]
        self.register_buffer("centre", torch.zeros(bits))
        self.register_buffer("spread", torch.ones(bits))
        self.weight = None
        if projection is not None:
            # The same directions as in the bundle, written for scaled features, each value of unit variance.
            scaled = deviation[:, None] * projection
            values = (sample - sample.mean(0, dtype=np.float64)) / deviation @ scaled
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
                self.centre.lerp_(values.mean(0), MOMENTUM)
                self.spread.lerp_(values.std(0), MOMENTUM)
        return (values - self.centre) / self.spread.clamp(min=1e-3)

    @torch.no_grad()
    def projection(self, average: float) -> np.ndarray | None:
        """Return the projection of plain features, (dim, bits) float32, `average` of the way from start to learned."""
        if self.weight is None:
            return None
        weight = torch.lerp(self.start, self.weight, average) / self.deviation[:, None]
        return weight.cpu().numpy()

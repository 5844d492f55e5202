"""Turn pooled features into the values that are binarised, while an encoder is trained."""

from __future__ import annotations

import numpy as np
import torch

from encoder.projection import deviations, project

MOMENTUM = 0.03


class BitLayer(torch.nn.Module):
    """A layer that centres and scales features, rotates or projects them, and centres the result: values around zero.

    features (n, dim) float32 in, values (n, bits) float32 of about unit variance out. The first centre and the scale are those
    of the base model over a sample, and stay. A rotation within layers stays as well; a projection of all features learns. The
    second centre is a running mean, without gradients.

    Attributes:
        learns: whether there is a projection that learns.
        start: the projection of scaled features at the start, of the shapes that `encoder.projection.project` takes, or None.
        centre: (bits,) float32.
    """

    mean: torch.Tensor
    deviation: torch.Tensor
    start: torch.Tensor | None
    centre: torch.Tensor

    def __init__(self, sample: np.ndarray, projection: np.ndarray | None, batch_rows: int) -> None:
        """Make a layer for features like those of a sample.

        Args:
            sample: (rows, dim) float32, the base model's features.
            projection: of a bundle, see `encoder.projection.project`.
            batch_rows: rows of a training batch; a pass of fewer rows moves the running mean by proportionally less.
        """
        super().__init__()
        self._batch_rows = batch_rows
        mean, deviation = sample.mean(0, dtype=np.float64), deviations(sample)
        self.register_buffer("mean", torch.from_numpy(mean.astype(np.float32)))
        self.register_buffer("deviation", torch.from_numpy(deviation.astype(np.float32)))
        bits, start = sample.shape[1], None
        if projection is not None:
            # The same directions as in the bundle, for scaled features, so that each value has unit variance.
            scaled = deviation.reshape(*projection.shape[:-1], 1) * projection
            spread = project((sample - mean) / deviation, scaled).std(0)
            spread[spread == 0] = 1  # of features that never change
            bits = len(spread)
            # The last axis of every block is a stretch of the bits.
            spread = spread.reshape(*projection.shape[:-2], 1, projection.shape[-1])
            start = torch.from_numpy((scaled / spread).astype(np.float32))
        self.register_buffer("start", start)
        self.learns = start is not None and start.ndim == 2
        if start is not None and self.learns:
            self.weight = torch.nn.Parameter(start.clone())
        self.register_buffer("centre", torch.zeros(bits))

    def standardise(self, features: torch.Tensor) -> torch.Tensor:
        """Centre and scale features (n, dim) by the mean and deviation of the base model's over the sample."""
        return (features - self.mean) / self.deviation

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        standardised = self.standardise(features)
        projection = self.weight if self.learns else self.start
        values = standardised if projection is None else project(standardised, projection)
        if self.training:
            with torch.no_grad():
                self.centre.lerp_(values.mean(0), MOMENTUM * min(1.0, len(values) / self._batch_rows))
        return values - self.centre

    @torch.no_grad()
    def projection(self) -> np.ndarray | None:
        """Return the learned projection of unscaled features, (dim, bits) float32; None if none learns."""
        if not self.learns:
            return None
        return (self.weight / self.deviation[:, None]).cpu().numpy()

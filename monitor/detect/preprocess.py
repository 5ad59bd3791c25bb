"""Vectors in natural units become the network's inputs, and back.

The whole transform is one module of arrays, so that it runs on the device in the same pass as the
network and is saved with it. Every input column of the network comes from one feature:

- numeric: signed log1p (heavy tails are the rule in traffic) or the plain value, then centred and
  scaled by the mean and deviation of winsorised training data;
- boolean: 0 or 1;
- categorical: one column for each known value and one for the unseen, 1 where it applies (one-hot).
"""

from collections.abc import Sequence
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from monitor.batch import Matrix
from monitor.features import FeatureSpec

WINSORISED_SHARE = 0.001
"""Share of training values at each end that may not widen a feature's scale."""

SCALED_LIMIT = 1e6
"""Deviations beyond which inputs are all the same, so that squared errors stay finite."""


class Preprocessor(nn.Module):
    """The fitted transform of one spec.

    Buffers, for d inputs of which the first m are numeric or boolean, the rest one-hot:
        source: (d,) int64, feature (column of the vector) of each input.
        code: (d - m,) float32, category code of each one-hot input.
        logarithmic: (m,) bool; center, scale: (m,) float32.
        low, high: (m,) float32, range of the training values, scaled.
    """

    source: Tensor
    code: Tensor
    logarithmic: Tensor
    center: Tensor
    scale: Tensor
    low: Tensor
    high: Tensor

    def __init__(self, spec: FeatureSpec, category_counts: Sequence[int]) -> None:
        """`category_counts`: known values of each feature, 0 where it is not categorical."""
        super().__init__()
        scalar = spec.columns_of("numeric", "boolean")
        onehot = [
            (column, code)
            for column in spec.columns_of("categorical")
            for code in range(category_counts[column] + 1)
        ]
        log = [
            spec.features[i].kind == "numeric" and spec.features[i].transform != "linear"
            for i in scalar
        ]
        self.features = len(spec)
        self.scalars = len(scalar)
        source = [*scalar, *(column for column, _ in onehot)]
        self.register_buffer("source", torch.tensor(source, dtype=torch.int64))
        self.register_buffer("code", torch.tensor([float(c) for _, c in onehot]))
        self.register_buffer("logarithmic", torch.tensor(log, dtype=torch.bool))
        self.register_buffer("center", torch.zeros(self.scalars))
        self.register_buffer("scale", torch.ones(self.scalars))
        self.register_buffer("low", torch.full((self.scalars,), -SCALED_LIMIT))
        self.register_buffer("high", torch.full((self.scalars,), SCALED_LIMIT))

    @property
    def inputs(self) -> int:
        """d, the width of a transformed vector."""
        return len(self.source)

    def fit(self, values: Matrix) -> Self:
        """Set center and scale of the numeric features from (n, f) training vectors."""
        columns = torch.as_tensor(values)[:, self.source[: self.scalars]]
        unscaled = self._unscaled(columns)
        logged = unscaled.double().numpy()
        low, high = np.quantile(logged, (WINSORISED_SHARE, 1 - WINSORISED_SHARE), axis=0)
        center, scale = _moments(np.clip(logged, low, high, out=logged))
        self.center.copy_(torch.as_tensor(center))
        self.scale.copy_(torch.as_tensor(scale))
        scaled = self._scaled(unscaled)
        self.low.copy_(scaled.amin(dim=0))
        self.high.copy_(scaled.amax(dim=0))
        return self

    def forward(self, values: Tensor) -> Tensor:
        """(n, f) float32 vectors to (n, d) float32 network inputs."""
        columns = values[:, self.source]  # (n, d)
        scalars, categories = columns[:, : self.scalars], columns[:, self.scalars :]
        scaled = self._scaled(self._unscaled(scalars))  # (n, m)
        onehot = (categories == self.code).to(scaled.dtype)  # (n, d - m)
        return torch.cat((scaled, onehot), dim=1)

    def natural(self, inputs: Tensor) -> Tensor:
        """(n, d) reconstructed inputs to (n, f) vectors in natural units; the inverse of forward.

        Within the range of the training values: nobody expects a negative count. A categorical
        feature becomes the code with the largest reconstructed input.
        """
        scalars = inputs[:, : self.scalars].clamp(self.low, self.high) * self.scale + self.center
        scalars = torch.where(self.logarithmic, scalars.sign() * scalars.abs().expm1(), scalars)
        vectors = inputs.new_zeros((len(inputs), self.features))
        vectors[:, self.source[: self.scalars]] = scalars
        onehot_source = self.source[self.scalars :]
        for column in torch.unique(onehot_source):
            group = inputs[:, self.scalars :][:, onehot_source == column]  # (n, categories + 1)
            vectors[:, column] = group.argmax(dim=1).to(vectors.dtype)
        return vectors

    def _scaled(self, unscaled: Tensor) -> Tensor:
        return ((unscaled - self.center) / self.scale).clamp(-SCALED_LIMIT, SCALED_LIMIT)

    def _unscaled(self, scalars: Tensor) -> Tensor:
        return torch.where(self.logarithmic, scalars.sign() * scalars.abs().log1p(), scalars)


def _moments(columns: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and deviation of each column; a column that hardly varies keeps unit scale."""
    center, deviation = columns.mean(axis=0), columns.std(axis=0)
    return center, np.where(deviation > 1e-6, deviation, 1.0)

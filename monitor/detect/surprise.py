"""From squared errors of features to surprise, and from the surprise of features to one error.

A squared error says little by itself: some features are always reconstructed to a hair, others
never are. Its surprise does: -log of the share of training vectors in which this feature was off at
least as much, in nats. Beyond all that training saw it grows with the logarithm of the error, at
the pace at which the feature's own tail falls off (Hill, "A Simple General Approach to Inference
About the Tail of a Distribution", Annals of Statistics 1975), so that surprises stay comparable
between features.

The error of a vector is the mean of its features' surprises, which is Fisher's way to combine tail
probabilities ("Statistical Methods for Research Workers", 1932) for p-values that are far from
independent: what a sum of them is worth, the calibration tells.
"""

import torch
from torch import Tensor, nn

SMALLEST_ERROR = 0.3
"""Squared deviations, added before the logarithm: errors well below half a deviation hardly differ,
and a feature that always was exact is off by more than a trifle before it takes a great part."""
KNOTS = 128
TAIL_SHARE = 0.02
STEEPEST = 0.3
"""Least mean excess of a tail's log errors: features that were never off are no cause for panic
when they are, a little."""


class Surprise(nn.Module):
    """The distribution of each feature's squared error, as a table over its logarithm.

    Buffers, for j judged columns:
        floor: (j,) added to squared errors.
        start, step: (j,) logarithm at the first knot, and between knots.
        table: (j, KNOTS) surprise at each knot, in nats.
        slope: (j,) surprise for each nat of error beyond the last knot.
    """

    floor: Tensor
    start: Tensor
    step: Tensor
    table: Tensor
    slope: Tensor

    def __init__(self, columns: int) -> None:
        super().__init__()
        self.register_buffer("floor", torch.full((columns,), SMALLEST_ERROR))
        self.register_buffer("start", torch.zeros(columns))
        self.register_buffer("step", torch.ones(columns))
        self.register_buffer("table", torch.zeros(columns, KNOTS))
        self.register_buffer("slope", torch.ones(columns))

    def fit(self, squared_errors: Tensor, features: int) -> None:
        """Learn from (n, j) squared errors of training vectors; columns past `features` have units
        of their own, hence a floor of their own."""
        self.floor[features:] *= squared_errors[:, features:].mean(dim=0).clamp(min=1e-6)
        logs = (squared_errors + self.floor).log().sort(dim=0).values
        n = len(logs)
        self.start.copy_(logs[0])
        self.step.copy_(((logs[-1] - logs[0]) / (KNOTS - 1)).clamp(min=1e-6))
        knots = self.start[:, None] + self.step[:, None] * torch.arange(
            KNOTS, device=logs.device
        )  # (j, KNOTS)
        tolerance = 1e-3  # of the logarithm: what float32 makes of equal errors
        below = torch.searchsorted(logs.T.contiguous(), knots - tolerance)
        self.table.copy_(-((n - below + 1) / (n + 1)).log())
        tail = logs[int(n * (1 - TAIL_SHARE)) :]
        self.slope.copy_(1 / (tail - tail[0]).mean(dim=0).clamp(min=STEEPEST))

    def forward(self, squared_errors: Tensor) -> Tensor:
        """(n, j) squared errors to (n, j) surprises >= 0, in nats."""
        position = ((squared_errors + self.floor).log() - self.start) / self.step
        knot = position.clamp(0, KNOTS - 1)  # (n, j)
        left = knot.long().clamp(max=KNOTS - 2)
        index = left + KNOTS * torch.arange(len(self.start), device=left.device)
        table = self.table.flatten()
        low, high = table[index], table[index + 1]
        beyond = (position - (KNOTS - 1)).clamp(min=0) * self.step * self.slope
        return torch.lerp(low, high, knot - left) + beyond

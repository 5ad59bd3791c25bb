"""From reconstruction error to rarity, and from a false-alarm budget to a threshold.

Errors of held-back normal vectors are the yardstick. Where they are dense, the share of them above
an error is its tail probability. Beyond their 98th percentile a generalised Pareto distribution
continues them (peaks over threshold: Pickands 1975; Siffer et al., "Anomaly Detection in Streams
with Extreme Value Theory", KDD 2017), so that rates below one in the number of held-back vectors
still have a threshold, and so that two errors beyond everything seen still differ in rarity.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from monitor.errors import DataError

TAIL_SHARE = 0.02
MIN_TAIL = 10
MIN_CALIBRATION_VECTORS = 50
MAX_STORED_ERRORS = 100_000


@dataclass(frozen=True, slots=True)
class Tail:
    """P(error > start + y) = share * (1 + shape * y / scale)^(-1/shape): generalised Pareto."""

    start: float
    share: float
    shape: float
    scale: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """How errors of normal vectors are distributed.

    Attributes:
        errors: (k,) float32 ascending, errors of held-back normal vectors.
        tail: continues them beyond the 98th percentile.
        vectors: how many held-back vectors there were; k is smaller where they were thinned.
    """

    errors: NDArray[np.float32]
    tail: Tail
    vectors: int

    @classmethod
    def fit(cls, errors: NDArray[np.float32]) -> Self:
        """Calibrate on the (k,) errors of normal vectors that were not trained on.

        Raises:
            DataError: with too few vectors to say anything of a tail.
        """
        if len(errors) < MIN_CALIBRATION_VECTORS:
            raise DataError(
                f"calibration needs at least {MIN_CALIBRATION_VECTORS} held-back normal vectors, "
                f"there are {len(errors)}: give more training data."
            )
        ordered = np.sort(errors.astype(np.float32))
        tail = _fit_tail(ordered)
        if len(ordered) > MAX_STORED_ERRORS:
            kept = np.linspace(0, len(ordered) - 1, MAX_STORED_ERRORS).round().astype(np.int64)
            ordered = ordered[kept]
        return cls(ordered, tail, len(errors))

    def tail_probability(self, errors: ArrayLike) -> NDArray[np.float64]:
        """The share of normal vectors expected above each error, in (0, 1]; same shape."""
        x = np.asarray(errors, dtype=np.float64)
        above = len(self.errors) - np.searchsorted(self.errors, x, side="left")
        empirical = (above + 1) / (len(self.errors) + 1)
        beyond = np.maximum(x - self.tail.start, 0.0)
        return np.where(x > self.tail.start, self.tail.share * self._survival(beyond), empirical)

    def threshold(self, false_alarm_rate: float) -> float:
        """The error that this share of normal vectors exceeds; the rate is in (0, 1)."""
        if false_alarm_rate >= self.tail.share:
            return float(np.quantile(self.errors, 1 - false_alarm_rate))
        odds = self.tail.share / false_alarm_rate
        if abs(self.tail.shape) < 1e-6:
            return self.tail.start + self.tail.scale * float(np.log(odds))
        stretch = (odds**self.tail.shape - 1) / self.tail.shape
        return self.tail.start + self.tail.scale * float(stretch)

    def _survival(self, beyond: NDArray[np.float64]) -> NDArray[np.float64]:
        """P(Y > y) of the tail alone, kept above zero so that a rarity always has a logarithm."""
        y = beyond / self.tail.scale
        if abs(self.tail.shape) < 1e-6:
            return np.maximum(np.exp(-y), 1e-300)
        base = np.maximum(1 + self.tail.shape * y, 0.0)
        with np.errstate(divide="ignore"):
            return np.maximum(base ** (-1 / self.tail.shape), 1e-300)


def _fit_tail(ordered: NDArray[np.float32]) -> Tail:
    """Fit the largest 2 % of ascending errors (at least ten of them).

    By probability-weighted moments (Hosking & Wallis, Technometrics 1987): closed form, hence
    deterministic, and steadier than maximum likelihood on the few dozen peaks of a small data set.
    The shape is kept within [0, 0.5]: a bounded tail (negative shape) would call everything beyond
    it impossible, and above 0.5 the estimator has no finite variance.
    """
    count = max(round(len(ordered) * TAIL_SHARE), MIN_TAIL)
    start = float(ordered[-count - 1])
    peaks = ordered[-count:].astype(np.float64) - start
    mean = float(peaks.mean())
    if mean <= 0.0:  # a plateau: every large error is the same
        return Tail(start, count / len(ordered), 0.0, max(abs(start), 1.0) * 1e-6)
    weights = 1 - (np.arange(1, count + 1) - 0.35) / count
    weighted = float((weights * peaks).mean())
    shape = float(np.clip(2 - mean / (mean - 2 * weighted), 0.0, 0.5))
    return Tail(start, count / len(ordered), shape, mean * (1 - shape))

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

Errors = NDArray[np.float32]

TAIL_SHARE = 0.02
MIN_TAIL = 10
MIN_CALIBRATION_VECTORS = 50
MAX_STORED_ERRORS = 100_000
MAX_TESTED_PEAKS = 1_000
RESAMPLES = 200
POOR_FIT = 0.01
"""A tail whose fit is less likely than this is not to be extrapolated."""


@dataclass(frozen=True, slots=True)
class Tail:
    """P(error > start + y) = share * (1 + shape * y / scale)^(-1/shape): generalised Pareto.

    Attributes:
        fit_p_value: how likely peaks would be at least as unlike this distribution, were it true.
    """

    start: float
    share: float
    shape: float
    scale: float
    fit_p_value: float = 1.0


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


def poor_fit(calibration: Calibration) -> str | None:
    """Why thresholds beyond the data cannot be trusted, if they cannot."""
    if calibration.tail.fit_p_value >= POOR_FIT:
        return None
    return (
        f"the largest {calibration.tail.share:.0%} of the held-back errors do not follow the "
        f"generalised Pareto distribution that continues them (p = "
        f"{calibration.tail.fit_p_value:.3f}), so a false-alarm rate below that share may be kept "
        "badly: look at the errors in the report; odd rows among the training data do this."
    )


def _fit_tail(ordered: Errors) -> Tail:
    """Fit the largest 2 % of ascending errors (at least ten of them)."""
    count = max(round(len(ordered) * TAIL_SHARE), MIN_TAIL)
    start = float(ordered[-count - 1])
    peaks = ordered[-count:].astype(np.float64) - start
    share = count / len(ordered)
    if peaks.mean() <= 0.0:  # a plateau: every large error is the same
        return Tail(start, share, 0.0, max(abs(start), 1.0) * 1e-6, 0.0)
    shape, scale = _pareto(peaks)
    return Tail(start, share, float(shape), float(scale), _fit_p_value(peaks))


def _pareto(peaks: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Shape and scale of each (..., m) row of ascending peaks.

    By probability-weighted moments (Hosking & Wallis, Technometrics 1987): closed form, hence
    deterministic, and steadier than maximum likelihood on the few dozen peaks of a small data set.
    The shape is kept within [0, 0.5]: a bounded tail (negative shape) would call everything beyond
    it impossible, and above 0.5 the estimator has no finite variance.
    """
    count = peaks.shape[-1]
    mean = peaks.mean(axis=-1)
    weights = 1 - (np.arange(1, count + 1) - 0.35) / count
    weighted = (weights * peaks).mean(axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        shape = np.clip(np.nan_to_num(2 - mean / (mean - 2 * weighted)), 0.0, 0.5)
    return shape, mean * (1 - shape)


def _fit_p_value(peaks: NDArray[np.float64]) -> float:
    """Parametric bootstrap of the Cramer-von Mises distance between peaks and their fit.

    Stute, Gonzalez Manteiga & Presedo Quindimil, "Bootstrap based goodness-of-fit-tests", Metrika
    1993. Each resample is fitted anew, since a fit follows its data.
    """
    random = np.random.default_rng(0)
    if len(peaks) > MAX_TESTED_PEAKS:
        peaks = np.sort(random.choice(peaks, MAX_TESTED_PEAKS, replace=False))
    shape, scale = _pareto(peaks)
    uniform = random.random((RESAMPLES, len(peaks)))
    exponential = -np.log1p(-uniform)
    resamples = scale * (
        exponential if shape < 1e-6 else np.expm1(shape * exponential) / shape
    )  # (RESAMPLES, m)
    worse = _distance(np.sort(resamples, axis=1)) >= _distance(peaks)
    return float((worse.sum() + 1) / (RESAMPLES + 1))


def _distance(peaks: NDArray[np.float64]) -> NDArray[np.float64]:
    """Cramer-von Mises distance of each (..., m) row of ascending peaks from its own fit."""
    shape, scale = (value[..., None] for value in _pareto(peaks))
    y = peaks / scale
    curved = np.maximum(shape, 1e-6)
    cumulative = 1 - np.where(shape < 1e-6, np.exp(-y), (1 + curved * y) ** (-1 / curved))
    count = peaks.shape[-1]
    even = (2 * np.arange(1, count + 1) - 1) / (2 * count)
    distance: NDArray[np.float64] = 1 / (12 * count) + ((cumulative - even) ** 2).sum(axis=-1)
    return distance

"""From reconstruction error to rarity, and from a false-alarm budget to a threshold.

Errors of held-back normal vectors are the yardstick. Where there are some above an error, the share
of them is its tail probability. The largest 2 % are fitted by a generalised Pareto distribution
(peaks over threshold: Pickands 1975; Siffer et al., "Anomaly Detection in Streams with Extreme
Value Theory", KDD 2017), which continues them where the data end, so that rates below one in the
number of held-back vectors still have a threshold, and so that two errors beyond everything seen
still differ in rarity.
"""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from monitor.errors import DataError

PEAKS_SHARE = 0.02
BEYOND_DATA = 2
"""Held-back errors beyond which the fit takes over: a threshold is measured as far as any can."""
LIGHTEST, HEAVIEST = -0.25, 0.5
ENDLESS_SHARE = 0.01
"""However bounded a light tail is, an exponential one of this weight goes on."""
MIN_PEAKS = 10
MIN_CALIBRATION_VECTORS = 50
MAX_STORED_ERRORS = 100_000
NO_SHAPE = 1e-6
RAREST = 1e-300
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
        tail: continues them beyond the largest few.
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
        empirical = np.clip((above - 1 / 3) / (len(self.errors) + 1 / 3), 0.0, 1.0)
        beyond = np.maximum(x - self.tail.start, 0.0)
        return np.where(x > self.tail.start, self.tail.share * self._survival(beyond), empirical)

    def threshold(self, false_alarm_rate: float) -> float:
        """The error that this share of normal vectors exceeds; the rate is in (0, 1)."""
        tail = self.tail
        if false_alarm_rate >= tail.share:
            # Hyndman & Fan, "Sample Quantiles in Statistical Packages", 1996: their type 8.
            return float(np.quantile(self.errors, 1 - false_alarm_rate, method="median_unbiased"))
        odds = tail.share / false_alarm_rate
        exponential = float(np.log(odds * ENDLESS_SHARE))
        pareto = float(_stretch(np.log(odds), tail.shape))
        return tail.start + tail.scale * max(pareto, exponential)

    def _survival(self, beyond: NDArray[np.float64]) -> NDArray[np.float64]:
        """P(Y > y) of the tail alone, kept above zero so that a rarity always has a logarithm."""
        y = beyond / self.tail.scale
        endless = ENDLESS_SHARE * np.exp(-y)
        return np.maximum(np.maximum(_exceedance(y, self.tail.shape), endless), RAREST)


def _exceedance(y: NDArray[np.float64], shape: ArrayLike) -> NDArray[np.float64]:
    """P(Y > y) of the standard Pareto distribution; exponential where it has no shape."""
    shape = np.asarray(shape, dtype=np.float64)
    with np.errstate(divide="ignore"):
        pareto = np.maximum(1 + shape * y, 0.0) ** (-1 / shape)
    return np.where(np.abs(shape) < NO_SHAPE, np.exp(-y), pareto)


def _stretch(exponential: Any, shape: float) -> Any:
    """Quantiles of the standard exponential distribution to those of the standard Pareto one."""
    return exponential if abs(shape) < NO_SHAPE else np.expm1(shape * exponential) / shape


def poor_fit(calibration: Calibration) -> str | None:
    """Why thresholds beyond the data cannot be trusted, if they cannot."""
    if calibration.tail.fit_p_value >= POOR_FIT:
        return None
    return (
        f"the largest {PEAKS_SHARE:.0%} of the held-back errors do not follow the "
        f"generalised Pareto distribution that continues them (p = "
        f"{calibration.tail.fit_p_value:.3f}), so a false-alarm rate below that share may be kept "
        "badly: look at the errors in the report; odd rows among the training data do this."
    )


def _fit_tail(ordered: NDArray[np.float32]) -> Tail:
    """Fit the largest 2 % of ascending errors (at least ten), and move to where they end.

    What exceeds a higher start follows the same distribution with the scale that it has there
    (threshold stability).
    """
    n = len(ordered)
    count = max(round(n * PEAKS_SHARE), MIN_PEAKS)
    peaks = ordered[-count:].astype(np.float64) - float(ordered[-count - 1])
    last = max(BEYOND_DATA, 3 * n // MAX_STORED_ERRORS)  # as far as the thinned errors tell
    start, share = float(ordered[-last - 1]), (last + 2 / 3) / (n + 1 / 3)
    if peaks.mean() <= 0.0:  # a plateau: every large error is the same
        return Tail(start, share, 0.0, max(abs(start), 1.0) * 1e-6, 0.0)
    shape, scale = (float(value) for value in _pareto(peaks))
    there = max(scale + shape * float(peaks[-last - 1]), scale * 1e-3)
    return Tail(start, share, shape, there, _fit_p_value(peaks))


def _pareto(peaks: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Shape and scale of each (..., m) row of ascending peaks.

    By probability-weighted moments (Hosking & Wallis, Technometrics 1987): closed form, hence
    deterministic, and steadier than maximum likelihood on the few dozen peaks of a small data set.
    The shape is kept within [-0.25, 0.5]: a tail that is bounded more tightly than that is what
    chance makes of few peaks, and above 0.5 the estimator has no finite variance.
    """
    count = peaks.shape[-1]
    mean = peaks.mean(axis=-1)
    weights = 1 - (np.arange(1, count + 1) - 0.35) / count
    weighted = (weights * peaks).mean(axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        shape = np.clip(np.nan_to_num(2 - mean / (mean - 2 * weighted)), LIGHTEST, HEAVIEST)
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
    resamples = scale * _stretch(exponential, float(shape))  # (RESAMPLES, m)
    worse = _distance(np.sort(resamples, axis=1)) >= _distance(peaks)
    return float((worse.sum() + 1) / (RESAMPLES + 1))


def _distance(peaks: NDArray[np.float64]) -> NDArray[np.float64]:
    """Cramer-von Mises distance of each (..., m) row of ascending peaks from its own fit."""
    shape, scale = (value[..., None] for value in _pareto(peaks))
    cumulative = 1 - _exceedance(peaks / scale, shape)
    count = peaks.shape[-1]
    even = (2 * np.arange(1, count + 1) - 1) / (2 * count)
    distance: NDArray[np.float64] = 1 / (12 * count) + ((cumulative - even) ** 2).sum(axis=-1)
    return distance

"""The calibration follows slow drift: how rare errors are now, against how rare they were.

    recalibration = Recalibration(max_change_per_day=0.2)
    recalibration.observe(detector, errors, now_s)
    detector = detector.with_budget(rate, recalibration.drift)

A few times as many normal vectors as the budget allows have an error somewhat below the threshold.
By how much their odds have changed is tracked by stochastic approximation (Robbins & Monro, "A
Stochastic Approximation Method", 1951, with a constant gain, so that it forgets): odds and not the
errors themselves, and near the threshold, since new kinds of normal traffic make a tail thicker
rather than stretch it. What errors are judged by goes after it, never faster than it may: whoever
fills the stream with errors just below the threshold, to raise it, gains so much a day and in the
end the threshold of a tenth of the budget.
"""

from dataclasses import dataclass
from math import exp, log, log1p
from typing import Self

import numpy as np
from numpy.typing import NDArray

from monitor.batch import Vector64
from monitor.detect.budget import SECONDS_A_DAY, with_odds
from monitor.detect.calibration import Calibration
from monitor.detect.detector import Detector

LARGEST_DRIFT = 10.0
FURTHEST = log(LARGEST_DRIFT)
BESIDE_BUDGET = 4.0
"""Vectors that are watched below the threshold, for each that is allowed beyond it."""
LEAST_SHARE, MOST_SHARE = 0.0005, 0.02
"""Within which those are a share of all: fewer come too seldom, more tell of another part."""
MEMORY_WATCHED = 500
"""So many of them decide: the odds are then known to some 3 %."""
BLOCK_VECTORS = 1_000
"""A step of the approximation; much shorter than its memory, or it would overshoot."""


class Recalibration:
    """How the odds of large normal errors have changed since the calibration.

    Args:
        max_change_per_day: how fast what is judged by may move, as a share; 0.2 is 20 % a day.
    """

    def __init__(self, max_change_per_day: float) -> None:
        self._max_log_per_second = log1p(max_change_per_day) / SECONDS_A_DAY
        self._tracked = self._log_drift = 0.0
        self._last_s: float | None = None
        self._watch: Watch | None = None

    def export(self) -> tuple[float, float]:
        """What to keep of it: logarithms of the drift as tracked, and of what is judged by."""
        return self._tracked, self._log_drift

    def restore(self, kept: tuple[float, float]) -> None:
        """Go on with what was kept, as if no time had passed."""
        self._tracked, self._log_drift = (min(max(x, -FURTHEST), FURTHEST) for x in kept)
        self._last_s = None

    @property
    def drift(self) -> float:
        """In [0.1, 10], 1 at first: the odds as a multiple of those when calibrated."""
        return exp(self._log_drift)

    def observe(self, detector: Detector, errors: NDArray[np.float32], now_s: float) -> None:
        """Learn from the (n,) errors that came since the last call, by the detector's threshold."""
        watch = self._watch
        if watch is None or watch.rate != detector.false_alarm_rate:
            self._watch = watch = Watch.beside(detector)
        odds = watch.odds(detector.calibration, errors[errors <= detector.threshold])
        for start in range(0, len(odds), BLOCK_VECTORS):
            block = odds[start : start + BLOCK_VECTORS]
            watched = int((block * exp(self._tracked) < watch.below).sum())
            surplus = (watched - watch.share * len(block)) / MEMORY_WATCHED
            self._tracked = min(max(self._tracked + surplus, -FURTHEST), FURTHEST)
        elapsed_s = 0.0 if self._last_s is None else now_s - self._last_s
        self._last_s = now_s
        reach = self._max_log_per_second * elapsed_s
        self._log_drift += min(max(self._tracked - self._log_drift, -reach), reach)


@dataclass(frozen=True, slots=True)
class Watch:
    """Which of the vectors that are not anomalous are watched at a budget.

    Attributes:
        share: of the vectors that are not anomalous, when nothing has drifted.
        below: they are those whose errors have odds smaller than this.
        error: smaller errors have never such odds, however much has drifted.
    """

    rate: float
    share: float
    below: float
    error: float

    @classmethod
    def beside(cls, detector: Detector) -> Self:
        """Those nearest to the detector's threshold."""
        rate = detector.false_alarm_rate
        share = min(max(BESIDE_BUDGET * rate, LEAST_SHARE), MOST_SHARE)
        probability = rate + (1 - rate) * share
        furthest = with_odds(probability, LARGEST_DRIFT)
        below = probability / (1 - probability)
        return cls(rate, share, below, detector.calibration.threshold(furthest))

    def odds(self, calibration: Calibration, errors: NDArray[np.float32]) -> Vector64:
        """Of (n,) errors the odds that a normal vector had a larger one when calibrated."""
        odds = np.full(len(errors), np.inf)
        large = errors > self.error
        probabilities = calibration.tail_probability(errors[large])
        odds[large] = probabilities / np.maximum(1 - probabilities, 1e-12)
        return odds

"""The calibration follows slow drift: how large normal errors are now, against when calibrated.

    recalibration = Recalibration(max_change_per_day=0.1)
    detector = detector.with_budget(rate, recalibration.level)
    recalibration.observe(detector, errors, now_s)

Of the vectors that are not anomalous 98 % have had an error below a certain one. Where that
quantile is now is tracked by stochastic approximation (Robbins & Monro, "A Stochastic Approximation
Method", 1951, with a constant gain, so that it forgets), and the level at which errors are judged
goes after it, never faster than it is allowed to: whoever fills the stream with errors just below
the threshold, to raise it, gains so much a day and in the end a factor of two.
"""

from math import exp, log, log1p

import numpy as np
from numpy.typing import NDArray

from monitor.detect.budget import SECONDS_A_DAY
from monitor.detect.detector import Detector

TRACKED_SHARE = 0.02
"""Of the vectors that are not anomalous, those above the tracked quantile."""
MEMORY_VECTORS = 50_000
"""About so many vectors decide where the quantile is: it is then known to some 3 %."""
BLOCK_VECTORS = 1_000
"""A step of the approximation; much shorter than its memory, or it would overshoot."""
SMALLEST, LARGEST = 0.5, 2.0


class Recalibration:
    """How large normal errors are, as a multiple of what they were when calibrated.

    Args:
        max_change_per_day: how fast the level may move, as a share; 0.1 is 10 % a day.
    """

    def __init__(self, max_change_per_day: float) -> None:
        self._max_log_per_second = log1p(max_change_per_day) / SECONDS_A_DAY
        self._tracked = self._log_level = 0.0
        self._last_s: float | None = None
        self._rate = self._quantile = 0.0

    @property
    def level(self) -> float:
        """In [0.5, 2], 1 at first; errors are divided by it before they are judged."""
        return exp(self._log_level)

    def observe(self, detector: Detector, errors: NDArray[np.float32], now_s: float) -> None:
        """Learn from the (n,) errors that came since the last call, by the detector's threshold."""
        if detector.false_alarm_rate != self._rate:  # finding the quantile takes time
            self._rate, self._quantile = detector.false_alarm_rate, tracked_quantile(detector)
        normal = errors[errors <= detector.threshold]
        for start in range(0, len(normal), BLOCK_VECTORS):
            block = normal[start : start + BLOCK_VECTORS]
            above = int((block > self._quantile * exp(self._tracked)).sum())
            surplus = above / TRACKED_SHARE - len(block)
            self._tracked = _within_limits(self._tracked + surplus / MEMORY_VECTORS)
        elapsed_s = 0.0 if self._last_s is None else now_s - self._last_s
        self._last_s = now_s
        furthest = self._max_log_per_second * elapsed_s
        self._log_level += min(max(self._tracked - self._log_level, -furthest), furthest)


def tracked_quantile(detector: Detector) -> float:
    """When calibrated, this share of the vectors that were not anomalous had a larger error."""
    rate = detector.false_alarm_rate
    return detector.calibration.threshold(rate + (1 - rate) * TRACKED_SHARE)


def _within_limits(log_level: float) -> float:
    return min(max(log_level, log(SMALLEST)), log(LARGEST))

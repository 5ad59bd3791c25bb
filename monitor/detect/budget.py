"""What a false-alarm budget amounts to: a rate, by the traffic and the calibration.

budget = DailyBudget(alerts_per_day=20, smallest_rate=smallest_rate(calibration))
traffic = Traffic()
traffic.observe(4096, now_s)
rate = budget.rate(traffic, false_alarm_rate)
"""

from dataclasses import dataclass
from math import isnan
from typing import TypeVar

import numpy as np

from monitor.batch import Vector64
from monitor.detect.calibration import Calibration

Probability = TypeVar("Probability", float, Vector64)
SECONDS_A_DAY = 86_400.0
MEMORY_SECONDS = 6 * 3600.0
"""Memory of the traffic: short enough to follow day and night, long enough to pass over a lull."""
FIRST_SECONDS = 60.0
"""Until so much of the traffic was seen nothing is said of a day of it."""
ENOUGH_BEYOND = 10
"""Held-back vectors beyond a threshold that make it measured, to about a third (1 / sqrt(10))."""
FURTHEST = 1_000
"""How far below one in the number of held-back vectors the tail is believed at all."""
LARGEST_RATE = 0.5
LOOSEST = 10.0
"""A day's budget loosens the bundle's own rate at most so often: after days of silence it would
otherwise let everything alert until the traffic is known again."""
WORTH_MOVING = 0.05


class Traffic:
    """Vectors a second, exponentially weighted by time; durations come from `now_s`."""

    def __init__(self, memory_seconds: float = MEMORY_SECONDS) -> None:
        self._memory_s = memory_seconds
        self._vectors = self._seconds = 0.0
        self._first_s = self._last_s = float("nan")

    def observe(self, vectors: int, now_s: float) -> None:
        """Add the vectors that came since the last call; the first ones only start the clock."""
        if isnan(self._first_s):
            if vectors:
                self._first_s = self._last_s = now_s
            return
        decay = float(np.exp(-(now_s - self._last_s) / self._memory_s))
        self._vectors = self._vectors * decay + vectors
        self._seconds = self._seconds * decay + self._memory_s * (1 - decay)
        self._last_s = now_s

    def export(self) -> tuple[float, float, float]:
        """What to keep of it: weighted vectors and seconds, and the seconds seen."""
        seen_s = 0.0 if isnan(self._first_s) else self._last_s - self._first_s
        return self._vectors, self._seconds, seen_s

    def restore(self, kept: tuple[float, float, float], now_s: float) -> None:
        """Go on with what was kept, as if no time had passed."""
        self._vectors, self._seconds, seen_s = kept
        if self._seconds:
            self._first_s, self._last_s = now_s - seen_s, now_s

    @property
    def vectors_per_second(self) -> float:
        """0 until a minute of traffic was seen."""
        known = self._last_s - self._first_s >= FIRST_SECONDS
        return self._vectors / self._seconds if known else 0.0


@dataclass(frozen=True, slots=True)
class DailyBudget:
    """So many normal vectors may be over the threshold in a day of the traffic as it is."""

    alerts_per_day: float
    smallest_rate: float
    largest_rate: float = LARGEST_RATE

    def rate(self, traffic: Traffic, current: float) -> float:
        """The false-alarm rate of this budget; the current one where it would hardly differ."""
        wanted = daily_rate(self.alerts_per_day, traffic.vectors_per_second, self.smallest_rate)
        if wanted is None:
            return current
        wanted = min(wanted, self.largest_rate)
        if abs(wanted / current - 1) <= WORTH_MOVING:
            return current
        return wanted


def daily_rate(
    alerts_per_day: float, vectors_per_second: float, smallest_rate: float = 0.0
) -> float | None:
    """The false-alarm rate that gives so many alerts in a day; None without traffic."""
    vectors_per_day = vectors_per_second * SECONDS_A_DAY
    if not vectors_per_day:
        return None
    return min(max(alerts_per_day / vectors_per_day, smallest_rate), LARGEST_RATE)


def with_odds(probability: Probability, factor: float) -> Probability:
    """A probability, or an array of them, whose odds are so many times what they were."""
    return probability * factor / (1 + (factor - 1) * probability)


def smallest_rate(calibration: Calibration) -> float:
    """Below this rate the calibration's tail is not believed at all."""
    return 1 / (FURTHEST * calibration.vectors)


def vectors_needed(false_alarm_rate: float) -> int:
    """How many held-back normal vectors it takes for this rate to be measured."""
    return int(np.ceil(ENOUGH_BEYOND / false_alarm_rate - 1e-6))


def is_measured(calibration: Calibration, false_alarm_rate: float) -> bool:
    """Whether enough held-back vectors lie beyond the threshold; else the tail's form decides."""
    return calibration.vectors >= vectors_needed(false_alarm_rate)


def shortage(calibration: Calibration, false_alarm_rate: float) -> str | None:
    """What to say of a budget that no held-back vector is expected beyond; None where one is."""
    if calibration.vectors * false_alarm_rate >= 1:
        return None
    further = "" if false_alarm_rate > smallest_rate(calibration) else " and goes no further"
    return (
        f"a false-alarm rate of {false_alarm_rate:.3g} takes about "
        f"{vectors_needed(false_alarm_rate):,} held-back normal vectors to be measured and there "
        f"are {calibration.vectors:,}, so its threshold is extrapolated{further}"
    )

"""What each false-alarm budget costs: its threshold, its alerts, and how sure that is.

for choice in trade_off(detector, vectors_per_second=200.0):
    print(choice.false_alarm_rate, choice.threshold, choice.alerts_per_day)
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from monitor.batch import Matrix, Vector64
from monitor.detect.budget import SECONDS_A_DAY, is_measured
from monitor.detect.detector import Detector

RATES = (0.1, 0.03, 0.01, 0.003, 0.001, 3e-4, 1e-4, 3e-5, 1e-5, 1e-6)
CURVE_POINTS = 400


@dataclass(frozen=True, slots=True)
class Choice:
    """One budget.

    Attributes:
        alerts_per_day: normal vectors over the threshold in a day; None without a traffic rate.
        measured: whether held-back vectors say where the threshold is, or only the tail's form.
        held_back_beyond: held-back vectors over the threshold.
        traffic_over_ratio: share of recent traffic over it; None without traffic.
    """

    false_alarm_rate: float
    threshold: float
    alerts_per_day: float | None
    measured: bool
    held_back_beyond: int
    traffic_over_ratio: float | None


def trade_off(
    detector: Detector, vectors_per_second: float | None = None, traffic: Matrix | None = None
) -> list[Choice]:
    """The usual budgets and the detector's own, the largest first.

    Args:
        traffic: (n,) float32 errors of recent traffic, which may hold attacks.
    """
    rates = sorted({*RATES, detector.false_alarm_rate}, reverse=True)
    return [_choice(detector.with_budget(rate), vectors_per_second, traffic) for rate in rates]


def _choice(detector: Detector, vectors_per_second: float | None, traffic: Matrix | None) -> Choice:
    rate, threshold = detector.false_alarm_rate, detector.threshold
    calibration = detector.calibration
    beyond = float((calibration.errors > threshold).mean())  # of those that were kept
    per_day = None if vectors_per_second is None else rate * vectors_per_second * SECONDS_A_DAY
    return Choice(
        false_alarm_rate=rate,
        threshold=threshold,
        alerts_per_day=per_day,
        measured=is_measured(calibration, rate),
        held_back_beyond=round(beyond * calibration.vectors),
        traffic_over_ratio=None if traffic is None else float((traffic > threshold).mean()),
    )


@dataclass(frozen=True, slots=True)
class TailCurve:
    """The share of normal vectors above an error, from half of them to the rarest budget.

    Attributes:
        errors: (n,) ascending, rates: (n,) that share of each.
        measured: (n,) bool, as in `Choice`.
        traffic: (n,) share of recent traffic above each; None without traffic.
    """

    errors: Vector64
    rates: Vector64
    measured: NDArray[np.bool_]
    traffic: Vector64 | None


def tail_curve(detector: Detector, traffic: Matrix | None = None) -> TailCurve:
    """The trade-off as a curve; `traffic` as in `trade_off`."""
    rates = np.geomspace(0.5, RATES[-1], CURVE_POINTS)
    calibration = detector.calibration
    errors = np.array([calibration.threshold(rate) for rate in rates])
    measured = np.array([is_measured(calibration, rate) for rate in rates])
    if traffic is None:
        return TailCurve(errors, rates, measured, None)
    above = len(traffic) - np.searchsorted(np.sort(traffic), errors, side="right")
    return TailCurve(errors, rates, measured, above / len(traffic))

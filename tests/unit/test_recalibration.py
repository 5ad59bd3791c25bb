"""The calibration follows slow drift, and nobody drives it faster than it may move."""

from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray

from monitor.detect.calibration import Calibration
from monitor.detect.detector import Detector
from monitor.detect.recalibration import Recalibration
from tests.support.detectors import HASTY, fit_small

DAY_S, HOUR_S = 86_400.0, 3_600.0
RATE = 0.001
Errors = NDArray[np.float32]


@cache
def detector() -> Detector:
    """One whose calibrated errors are known: a gamma distribution."""
    small = fit_small(HASTY).detector
    calibration = Calibration.fit(errors(np.random.default_rng(0), 50_000))
    return Detector(small.spec, small.vocabularies, small.model, calibration, RATE)


def errors(random: np.random.Generator, count: int, level: float = 1.0) -> Errors:
    return (level * random.gamma(4.0, 0.25, count)).astype(np.float32)


def drifted(days: int, change_per_day: float, recalibration: Recalibration | None) -> float:
    """The share of normal vectors over the threshold on the last of so many days of drift."""
    random, judge = np.random.default_rng(1), detector()
    over: list[float] = []
    for hour in range(24 * days):
        values = errors(random, 5_000, (1 + change_per_day) ** (hour / 24))
        over.append(float((values > judge.threshold).mean()))
        if recalibration:
            recalibration.observe(judge, values, hour * HOUR_S)
            judge = judge.with_budget(RATE, recalibration.level)
    return float(np.mean(over[-24:]))


@pytest.mark.parametrize("change_per_day", [0.05, 0.02])
def test_it_keeps_the_promised_rate_while_errors_grow_slowly(change_per_day: float) -> None:
    assert drifted(12, change_per_day, None) > 3 * RATE
    assert RATE / 2 < drifted(12, change_per_day, Recalibration(0.1)) < 2 * RATE


def test_it_keeps_the_promised_rate_while_errors_shrink_slowly() -> None:
    assert drifted(6, -0.03, None) < RATE / 3
    assert RATE / 2 < drifted(6, -0.03, Recalibration(0.1)) < 2 * RATE


def test_without_drift_it_stays_where_it_was_calibrated() -> None:
    recalibration, random = Recalibration(0.1), np.random.default_rng(2)
    for hour in range(24 * 5):
        recalibration.observe(detector(), errors(random, 5_000), hour * HOUR_S)
        assert recalibration.level == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize("days", [1, 3])
def test_errors_just_below_the_threshold_raise_it_no_faster_than_the_bound(days: int) -> None:
    recalibration, judge = Recalibration(0.1), detector()
    for hour in range(24 * days + 1):
        flood = np.full(50_000, judge.threshold * 0.999, np.float32)
        recalibration.observe(judge, flood, hour * HOUR_S)
        judge = judge.with_budget(RATE, recalibration.level)
    assert judge.threshold / detector().threshold == pytest.approx(1.1**days)


def test_no_flood_moves_it_beyond_a_factor_of_two() -> None:
    high, low, judge = Recalibration(0.1), Recalibration(0.1), detector()
    for day in range(30):
        flood = np.full(50_000, judge.with_budget(RATE, high.level).threshold * 0.999, np.float32)
        high.observe(judge.with_budget(RATE, high.level), flood, day * DAY_S)
        low.observe(judge.with_budget(RATE, low.level), np.zeros(50_000, np.float32), day * DAY_S)
    assert high.level == pytest.approx(2)
    assert low.level == pytest.approx(0.5)


def test_anomalous_vectors_teach_it_nothing() -> None:
    recalibration = Recalibration(0.1)
    for hour in range(48):
        recalibration.observe(detector(), np.full(10_000, 1e6, np.float32), hour * HOUR_S)
    assert recalibration.level == 1


@pytest.mark.parametrize("rate", [1e-6, 0.01, 0.3, 0.9])
def test_it_knows_its_quantile_at_any_budget(rate: float) -> None:
    recalibration, random = Recalibration(0.1), np.random.default_rng(3)
    judge = detector().with_budget(rate)
    for hour in range(72):
        recalibration.observe(judge, errors(random, 5_000), hour * HOUR_S)
    assert recalibration.level == pytest.approx(1, abs=0.05)


def test_the_level_divides_errors_before_they_are_judged() -> None:
    values = errors(np.random.default_rng(4), 100)
    raised = detector().with_budget(RATE, 1.25)
    assert raised.threshold == detector().threshold * 1.25
    assert raised.tail_probability(values * np.float32(1.25)) == pytest.approx(
        detector().tail_probability(values), rel=1e-4
    )


def test_without_it_nothing_differs_by_a_bit() -> None:
    values = errors(np.random.default_rng(5), 1_000)
    calibration, same = detector().calibration, detector().with_budget(RATE)
    assert same.threshold == calibration.threshold(RATE)
    assert (same.tail_probability(values) == calibration.tail_probability(values)).all()

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
            judge = judge.with_budget(RATE, recalibration.drift)
    return float(np.mean(over[-24:]))


@pytest.mark.parametrize(("change_per_day", "days"), [(0.01, 15), (0.02, 12)])
def test_it_keeps_the_promised_rate_while_errors_grow_slowly(
    change_per_day: float, days: int
) -> None:
    assert drifted(days, change_per_day, None) > 3 * RATE
    assert RATE / 2 < drifted(days, change_per_day, Recalibration(0.2)) < 2 * RATE


def test_it_keeps_the_promised_rate_while_errors_shrink_slowly() -> None:
    assert drifted(8, -0.015, None) < RATE / 3
    assert RATE / 2 < drifted(8, -0.015, Recalibration(0.2)) < 2 * RATE


def test_it_keeps_the_promised_rate_when_a_new_kind_of_normal_traffic_comes() -> None:
    random, judge, recalibration = np.random.default_rng(6), detector(), Recalibration(0.2)
    over: list[float] = []
    for hour in range(24 * 10):
        level = np.where(random.random(5_000) < 0.85, 1.0, 1.5)
        values = level * errors(random, 5_000)
        over.append(float((values > judge.threshold).mean()))
        recalibration.observe(judge, values.astype(np.float32), hour * HOUR_S)
        judge = judge.with_budget(RATE, recalibration.drift)
    assert np.mean(over[:24]) > 3 * RATE
    assert RATE / 2 < np.mean(over[-24:]) < 2 * RATE


def test_without_drift_it_stays_where_it_was_calibrated() -> None:
    recalibration, random = Recalibration(0.2), np.random.default_rng(2)
    for hour in range(24 * 5):
        recalibration.observe(detector(), errors(random, 5_000), hour * HOUR_S)
        assert recalibration.drift == pytest.approx(1, abs=0.15)


@pytest.mark.parametrize("days", [1, 3])
def test_errors_just_below_the_threshold_raise_it_no_faster_than_the_bound(days: int) -> None:
    recalibration, judge = Recalibration(0.2), detector()
    for hour in range(24 * days + 1):
        flood = np.full(50_000, judge.threshold * 0.999, np.float32)
        recalibration.observe(judge, flood, hour * HOUR_S)
        judge = judge.with_budget(RATE, recalibration.drift)
    assert recalibration.drift == pytest.approx(1.2**days)
    assert judge.threshold < detector().with_budget(RATE / 1.2**days).threshold * 1.0001


def test_no_flood_takes_it_beyond_a_tenth_or_ten_times_the_budget() -> None:
    high, low, judge = Recalibration(0.5), Recalibration(0.5), detector()
    for day in range(30):
        flood = np.full(50_000, judge.with_budget(RATE, high.drift).threshold * 0.999, np.float32)
        high.observe(judge.with_budget(RATE, high.drift), flood, day * DAY_S)
        low.observe(judge.with_budget(RATE, low.drift), np.zeros(50_000, np.float32), day * DAY_S)
    assert high.drift == pytest.approx(10)
    assert low.drift == pytest.approx(0.1)


def test_anomalous_vectors_teach_it_nothing() -> None:
    recalibration = Recalibration(0.2)
    for hour in range(48):
        recalibration.observe(detector(), np.full(10_000, 1e6, np.float32), hour * HOUR_S)
    assert recalibration.drift == 1


@pytest.mark.parametrize("rate", [1e-6, 1e-4, 0.01, 0.3, 0.9])
def test_it_knows_what_is_usual_at_any_budget(rate: float) -> None:
    recalibration, random = Recalibration(0.2), np.random.default_rng(3)
    judge = detector().with_budget(rate)
    for hour in range(72):
        recalibration.observe(judge, errors(random, 5_000), hour * HOUR_S)
    assert recalibration.drift == pytest.approx(1, abs=0.2)


def test_threshold_and_tail_probability_follow_the_odds_together() -> None:
    drifted = detector().with_budget(RATE, 4.0)
    assert drifted.threshold == pytest.approx(detector().with_budget(RATE / 4).threshold, rel=1e-3)
    at_threshold = np.array([drifted.threshold], np.float32)
    assert drifted.tail_probability(at_threshold) == pytest.approx(RATE, rel=0.1)
    assert drifted.tail_probability(np.zeros(1, np.float32)) <= 1


def test_without_it_nothing_differs_by_a_bit() -> None:
    values = errors(np.random.default_rng(5), 1_000)
    calibration = detector().calibration
    for rate in np.random.default_rng(6).random(200):
        assert detector().with_budget(rate).threshold == calibration.threshold(rate)
    same = detector().with_budget(RATE).tail_probability(values)
    assert (same == calibration.tail_probability(values)).all()

"""Words for a budget become a rate: by the traffic, and as far as the calibration reaches."""

import numpy as np
import pytest

from monitor.detect.budget import (
    FIRST_SECONDS,
    LARGEST_RATE,
    DailyBudget,
    Traffic,
    daily_rate,
    is_measured,
    shortage,
    smallest_rate,
    vectors_needed,
)
from monitor.detect.calibration import Calibration
from tests.support.detectors import HASTY, fit_small

HOUR_S = 3600.0


def traffic(vectors_per_second: float, seconds: float, start_s: float = 0.0) -> Traffic:
    seen = Traffic()
    for second in np.arange(start_s, start_s + seconds + 1):
        seen.observe(int(vectors_per_second), second)
    return seen


def test_traffic_is_unknown_until_a_minute_of_it_was_seen() -> None:
    assert traffic(100, FIRST_SECONDS / 2).vectors_per_second == 0
    assert traffic(100, FIRST_SECONDS + 2).vectors_per_second == pytest.approx(100, rel=0.05)


def test_time_before_the_first_vector_does_not_count() -> None:
    seen = Traffic()
    for second in range(3600):
        seen.observe(0, second)
    for second in range(3600, 3800):
        seen.observe(100, second)
    assert seen.vectors_per_second == pytest.approx(100, rel=0.02)


def test_a_silence_and_a_burst_are_averaged_over_hours() -> None:
    seen = traffic(100, 6 * HOUR_S)
    seen.observe(60_000, 6 * HOUR_S + 60)
    assert seen.vectors_per_second == pytest.approx(104, rel=0.02)
    seen.observe(0, 7 * HOUR_S)
    assert 70 < seen.vectors_per_second < 104


def test_it_follows_another_level_within_a_day() -> None:
    seen = traffic(100, 6 * HOUR_S)
    for second in np.arange(6 * HOUR_S, 30 * HOUR_S, 60):
        seen.observe(60 * 10, second)
    assert seen.vectors_per_second == pytest.approx(10, rel=0.25)


def test_so_many_alerts_a_day_are_a_share_of_the_days_vectors() -> None:
    assert daily_rate(20, 100) == pytest.approx(20 / 8_640_000)
    assert DailyBudget(20, 0).rate(traffic(100, 100), current=0.001) == pytest.approx(
        20 / 8_640_000, rel=0.05
    )


def test_without_traffic_the_rate_stays() -> None:
    assert daily_rate(20, 0) is None
    assert DailyBudget(20, 1e-9).rate(Traffic(), current=0.001) == 0.001


def test_a_rate_that_would_hardly_differ_stays() -> None:
    budget, seen = DailyBudget(20, 0), traffic(100, 100)
    rate = budget.rate(seen, current=0.001)
    assert budget.rate(seen, rate * 1.04) == rate * 1.04
    assert budget.rate(seen, rate * 1.06) == rate


def test_the_rate_stays_where_the_calibration_can_say_something_of_it() -> None:
    calibration = Calibration.fit(np.random.default_rng(0).exponential(1, 5_000).astype(np.float32))
    least = smallest_rate(calibration)
    assert daily_rate(0.001, 1e6, least) == least
    assert daily_rate(1e9, 1, least) == LARGEST_RATE
    assert np.isfinite(calibration.threshold(least))


def test_a_calibration_too_small_for_the_budget_says_how_many_rows_it_takes() -> None:
    calibration = Calibration.fit(np.random.default_rng(0).exponential(1, 5_000).astype(np.float32))
    said = shortage(calibration, 1e-4) or ""
    assert "about 100,000 held-back normal vectors" in said
    assert "there are 5,000" in said
    assert shortage(calibration, 1e-3) is None
    assert vectors_needed(1e-3) == 10_000
    assert is_measured(calibration, 2e-3)
    assert not is_measured(calibration, 1e-3)


def test_another_budget_shares_model_and_calibration() -> None:
    detector = fit_small(HASTY).detector
    strict = detector.with_budget(1e-4)
    assert strict.model is detector.model
    assert strict.calibration is detector.calibration
    assert strict.threshold == detector.calibration.threshold(1e-4) > detector.threshold
    assert detector.false_alarm_rate == HASTY.false_alarm_rate

"""Whatever comes, the threshold stays within its bounds."""

from functools import cache

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from monitor.detect.budget import LARGEST_RATE, DailyBudget, Traffic, smallest_rate
from monitor.detect.calibration import Calibration
from monitor.detect.detector import Detector
from monitor.detect.recalibration import LARGEST_DRIFT, Recalibration
from tests.support.detectors import HASTY, fit_small

SECONDS_A_DAY = 86_400
ERRORS = arrays(
    np.float32,
    st.integers(0, 200),
    elements=st.floats(width=32),
)
ELAPSED = st.floats(0, 1e7)


@cache
def detector() -> Detector:
    return fit_small(HASTY).detector


@settings(deadline=None, max_examples=50)
@given(
    steps=st.lists(st.tuples(ERRORS, st.integers(1, 2_000), ELAPSED), max_size=10),
    max_change=st.floats(0.001, 1),
)
def test_no_errors_move_the_level_faster_or_further_than_it_may(
    steps: list[tuple[np.ndarray, int, float]], max_change: float
) -> None:
    recalibration, judge, now_s = Recalibration(max_change), detector(), 0.0
    recalibration.observe(judge, np.empty(0, np.float32), now_s)
    for errors, times, elapsed_s in steps:
        before, now_s = recalibration.drift, now_s + elapsed_s
        recalibration.observe(judge, np.tile(errors, times), now_s)
        bound = np.log1p(max_change) * elapsed_s / SECONDS_A_DAY
        assert abs(np.log(recalibration.drift / before)) <= bound + 1e-9
        assert 1 / LARGEST_DRIFT - 1e-9 <= recalibration.drift <= LARGEST_DRIFT + 1e-9
        judge = judge.with_budget(judge.false_alarm_rate, recalibration.drift)


@settings(deadline=None, max_examples=100)
@given(
    steps=st.lists(st.tuples(st.integers(0, 10**9), ELAPSED), max_size=20),
    alerts_per_day=st.floats(1e-6, 1e12),
)
def test_no_traffic_takes_the_rate_beyond_what_the_calibration_can_say(
    steps: list[tuple[int, float]], alerts_per_day: float
) -> None:
    calibration: Calibration = detector().calibration
    traffic, rate, now_s = Traffic(), detector().false_alarm_rate, 0.0
    budget = DailyBudget(alerts_per_day, smallest_rate(calibration))
    for vectors, elapsed_s in steps:
        now_s += elapsed_s
        traffic.observe(vectors, now_s)
        rate = budget.rate(traffic, rate)
        assert smallest_rate(calibration) <= rate <= LARGEST_RATE
        assert np.isfinite(calibration.threshold(rate))

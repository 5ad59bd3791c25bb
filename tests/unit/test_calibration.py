"""Errors of normal vectors become rarities, and a budget becomes a threshold."""

import numpy as np
import pytest

from monitor.detect.calibration import MAX_STORED_ERRORS, Calibration, poor_fit
from monitor.errors import DataError


def errors(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).exponential(1.0, count).astype(np.float32)


@pytest.mark.parametrize("rate", [0.1, 0.03, 0.01, 0.001])
def test_the_threshold_keeps_the_promised_rate_on_new_normal_errors(rate: float) -> None:
    calibration = Calibration.fit(errors(50_000))
    realised = (errors(1_000_000, seed=1) > calibration.threshold(rate)).mean()
    assert 0.8 < realised / rate < 1.25


@pytest.mark.parametrize(("vectors", "rate"), [(900, 0.01), (3_000, 0.01), (3_000, 0.001)])
def test_few_held_back_vectors_keep_the_promise_on_average(vectors: int, rate: float) -> None:
    thresholds = [Calibration.fit(errors(vectors, seed)).threshold(rate) for seed in range(60)]
    realised = np.exp(-np.array(thresholds)).mean()  # of an exponential distribution
    assert 0.85 < realised / rate < 1.25


def test_a_rate_far_below_the_sample_is_extrapolated_and_not_the_maximum() -> None:
    calibration = Calibration.fit(errors(5_000))
    assert calibration.threshold(1e-6) > calibration.errors[-1]
    assert calibration.threshold(1e-6) == pytest.approx(-np.log(1e-6), rel=0.5)


def test_tail_probability_and_threshold_are_inverse() -> None:
    calibration = Calibration.fit(errors(20_000))
    for rate in (1e-2, 1e-3, 1e-5):
        found = calibration.tail_probability(calibration.threshold(rate))
        assert found == pytest.approx(rate, rel=0.06)  # the sample is 20 errors coarse at 0.001


def test_larger_errors_are_never_less_rare() -> None:
    calibration = Calibration.fit(errors(1_000))
    rarity = calibration.tail_probability(np.linspace(0, 50, 10_000))
    assert (np.diff(rarity) <= 1e-12).all()
    assert rarity.min() > 0
    assert rarity.max() <= 1


def test_errors_that_are_all_the_same_still_give_a_threshold_above_them() -> None:
    calibration = Calibration.fit(np.full(100, 2.0, np.float32))
    assert calibration.threshold(0.001) > 2.0
    assert calibration.tail_probability(3.0) < 0.001


def test_too_few_errors_are_refused_with_the_number_it_takes() -> None:
    with pytest.raises(DataError, match="at least 50"):
        Calibration.fit(errors(49))


def test_a_large_sample_is_thinned_and_keeps_its_quantiles() -> None:
    calibration = Calibration.fit(errors(3 * MAX_STORED_ERRORS))
    assert len(calibration.errors) == MAX_STORED_ERRORS
    assert calibration.vectors == 3 * MAX_STORED_ERRORS
    assert np.median(calibration.errors) == pytest.approx(np.log(2), rel=0.02)


def test_peaks_that_follow_the_tail_are_not_called_a_poor_fit() -> None:
    fits = [Calibration.fit(errors(5_000, seed)) for seed in range(20)]
    assert sum(poor_fit(calibration) is not None for calibration in fits) <= 1


def test_a_bounded_tail_calls_nothing_impossible() -> None:
    bounded = np.random.default_rng(2).uniform(0, 1, 5_000).astype(np.float32)
    calibration = Calibration.fit(bounded)
    assert calibration.tail.shape < 0
    rarity = calibration.tail_probability([1.01, 1.1, 2.0])
    assert (rarity > 0).all()
    assert (np.diff(np.log(rarity)) < -1).all()
    for rate in (1e-4, 1e-6, 1e-9):
        assert calibration.tail_probability(calibration.threshold(rate)) == pytest.approx(rate)


def test_a_clump_of_odd_rows_in_the_tail_is_called_a_poor_fit() -> None:
    clump = np.full(60, 30.0, np.float32)
    reason = poor_fit(Calibration.fit(np.concatenate([errors(5_000), clump])))
    assert reason is not None
    assert "do not follow the generalised Pareto distribution" in reason

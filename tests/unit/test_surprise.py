"""How seldom a feature was so far off in training, in nats."""

import numpy as np
import pytest
import torch

from monitor.detect.surprise import SMALLEST_ERROR, Surprise


def fitted(errors: np.ndarray) -> Surprise:
    surprise = Surprise(errors.shape[1])
    surprise.fit(torch.from_numpy(errors.astype(np.float32)), features=errors.shape[1])
    return surprise


def of(surprise: Surprise, *errors: float) -> list[float]:
    return surprise(torch.tensor([[e] for e in errors]))[:, 0].tolist()


def exponential(count: int = 20_000, columns: int = 1) -> np.ndarray:
    return np.random.default_rng(0).exponential(10.0, (count, columns))


@pytest.mark.parametrize("share", [0.5, 0.1, 0.01, 0.001])
def test_surprise_is_minus_the_logarithm_of_the_share_that_was_off_as_much(share: float) -> None:
    errors = exponential()
    found = of(fitted(errors), float(np.quantile(errors, 1 - share)))
    assert found == [pytest.approx(-np.log(share), rel=0.1, abs=0.1)]


def test_larger_errors_surprise_more_also_beyond_all_that_training_saw() -> None:
    found = of(fitted(exponential()), 0.0, 1.0, 10.0, 100.0, 1e3, 1e6, 1e12)
    assert found == sorted(found)
    assert found[0] == pytest.approx(0.0, abs=0.01)
    assert np.diff(found[-3:]).min() > 1
    assert np.isfinite(found).all()


def test_a_feature_that_was_always_exact_is_no_more_than_unseen_for_a_trifle() -> None:
    always_exact = fitted(np.zeros((1_000, 1)))
    nothing, trifle, unmistakable = of(always_exact, 0.0, SMALLEST_ERROR / 10, 100.0)
    assert nothing == pytest.approx(0.0, abs=0.01)
    assert trifle < np.log(1_000) + 1 < unmistakable - 10


def test_a_heavy_tail_is_less_surprised_by_the_same_excess() -> None:
    random = np.random.default_rng(1)
    light, heavy = random.exponential(1, 10_000), random.pareto(0.7, 10_000)
    surprise = fitted(np.stack([light, heavy], axis=1))
    far = torch.tensor([[10 * light.max(), 10 * heavy.max()]], dtype=torch.float32)
    of_light, of_heavy = surprise(far)[0].tolist()
    assert of_light > of_heavy + 2


def test_columns_beyond_the_features_are_judged_in_their_own_units() -> None:
    errors = exponential(columns=2) * [1.0, 1e-6]
    surprise = Surprise(2)
    surprise.fit(torch.from_numpy(errors.astype(np.float32)), features=1)
    ordinary, odd = surprise(torch.tensor([[10.0, 10e-6], [10.0, 100e-6]]))[:, 1].tolist()
    assert ordinary < 2 < 5 < odd

"""A detector is trained on normal vectors and finds what does not belong."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from monitor.detect.detector import SCORING_CHUNK, Detector
from monitor.detect.explain import explain
from monitor.detect.fit import MIN_VECTORS, Fitted, fit
from monitor.detect.networks.base import default_hidden
from monitor.errors import DataError
from tests.support.detectors import (
    HASTY,
    PROTOCOLS,
    QUICK,
    SPEC,
    VOCABULARIES,
    fit_small,
    normal_vectors,
)


@pytest.fixture(scope="module")
def fitted() -> Fitted:
    return fit_small()


@pytest.fixture
def detector(fitted: Fitted) -> Detector:
    return fitted.detector


def test_normal_vectors_stay_under_the_threshold_about_as_often_as_promised(
    detector: Detector,
) -> None:
    scores = detector.score(normal_vectors(20_000, seed=8))
    assert len(scores.anomalous) / 20_000 < 3 * QUICK.false_alarm_rate


def test_a_broken_dependency_is_anomalous_though_each_value_is_common(detector: Detector) -> None:
    vectors = normal_vectors(300, seed=8)
    vectors[:, 4] = 1 - vectors[:, 4]
    scores = detector.score(vectors)
    assert len(scores.anomalous) > 280


def test_scoring_changes_nothing_and_is_repeatable(detector: Detector) -> None:
    before = {k: v.clone() for k, v in detector.model.state_dict().items()}
    vectors = normal_vectors(100)
    first, second = detector.score(vectors), detector.score(vectors)
    np.testing.assert_array_equal(first.errors, second.errors)
    assert all(bool((v == before[k]).all()) for k, v in detector.model.state_dict().items())


def test_a_vector_scores_the_same_alone_and_in_any_batch(detector: Detector) -> None:
    vectors = normal_vectors(SCORING_CHUNK + 3)
    together = detector.score(vectors).errors
    for row in (0, 17, SCORING_CHUNK - 1, SCORING_CHUNK, SCORING_CHUNK + 2):
        alone = detector.score(vectors[row : row + 1]).errors[0]
        assert alone == pytest.approx(together[row], rel=1e-4)


def test_an_empty_batch_scores_to_nothing(detector: Detector) -> None:
    scores = detector.score(np.empty((0, 5), np.float32))
    assert len(scores.errors) == len(scores.anomalous) == 0


def test_the_most_absurd_floats_score_high_and_finite(detector: Detector) -> None:
    vectors = np.full((2, 5), np.finfo(np.float32).max, np.float32)
    vectors[1] *= -1
    scores = detector.score(vectors)
    assert np.isfinite(scores.errors).all()
    assert len(scores.anomalous) == 2


def test_the_same_seed_gives_the_same_weights_and_another_seed_others() -> None:
    first, again, other = (
        fit_small(replace(HASTY, seed=seed)).detector.model.state_dict() for seed in (1, 1, 2)
    )
    assert all(bool((value == first[name]).all()) for name, value in again.items())
    assert any(bool((value != first[name]).any()) for name, value in other.items())


def test_training_leaves_the_callers_random_numbers_and_threads_alone() -> None:
    threads = torch.get_num_threads()
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    fit_small(HASTY)
    assert torch.equal(torch.rand(3), expected)
    assert torch.get_num_threads() == threads


def test_training_lowers_the_held_back_error(fitted: Fitted) -> None:
    history = fitted.history
    assert history.held_back_loss[history.best_epoch - 1] == min(history.held_back_loss)
    assert history.held_back_loss[-1] < history.held_back_loss[0]


def test_too_few_vectors_are_refused_with_the_number_it_takes() -> None:
    with pytest.raises(DataError, match=str(MIN_VECTORS)):
        fit(SPEC, normal_vectors(MIN_VECTORS - 1), VOCABULARIES, HASTY)


def test_rare_categories_become_unseen_and_common_ones_keep_their_names() -> None:
    words = tuple(f"service-{i}" for i in range(400))
    vectors = normal_vectors(2000)
    vectors[:, 3] = np.random.default_rng(0).zipf(1.3, 2000).clip(max=400)
    kept = fit(SPEC, vectors, ((), (), (), words, ()), HASTY).detector.vocabularies[3]
    assert kept[0] == "service-0"
    assert len(kept) <= 256


def test_the_feature_that_was_corrupted_is_named_first(detector: Detector) -> None:
    vectors = normal_vectors(200, seed=5)
    for column, absurd in ((0, 1e9), (1, 1e6), (2, 40.0), (3, 0.0)):
        corrupted = vectors.copy()
        corrupted[:, column] = absurd
        observed = [tuple(row) for row in corrupted.tolist()]
        first = [features[0].name for features in explain(detector, corrupted, observed, top=3)]
        assert first.count(SPEC.names[column]) / len(first) >= 0.95


def test_an_explanation_has_observed_and_expected_in_natural_units(detector: Detector) -> None:
    vectors = normal_vectors(200, seed=5)
    vectors[:, 4] = 1 - vectors[:, 4]  # what tcp never does, nor the others
    observed = [(*map(float, row[:3]), PROTOCOLS[int(row[3]) - 1], bool(row[4])) for row in vectors]
    named = set()
    for features, values in zip(explain(detector, vectors, observed, top=5), observed, strict=True):
        assert 0 < sum(feature.share for feature in features) <= 1.001
        for feature in features:
            assert feature.observed == values[SPEC.names.index(feature.name)]
            assert feature.observed != feature.expected
            assert isinstance(feature.expected, type(feature.observed))
            named.add(feature.name)
    assert {"encrypted", "protocol"} <= named


@pytest.mark.parametrize("inputs", [1, 2, 5, 41, 119, 1024, 5000])
def test_default_widths_narrow_to_a_bottleneck(inputs: int) -> None:
    widths = default_hidden(inputs)
    assert list(widths) == sorted(widths, reverse=True)
    assert 2 <= widths[-1] < widths[0] <= 512

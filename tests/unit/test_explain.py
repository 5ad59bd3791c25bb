"""What an explanation names: the planted cause first, in the units of the data."""

import numpy as np
import pytest

from monitor.batch import FeatureDeviation, Matrix
from monitor.demo.run import BENIGN, LABEL_COLUMN, TEST, TRAINING
from monitor.detect.detector import Detector
from monitor.detect.explain import explain
from monitor.detect.fit import FitOptions, fit
from monitor.features import FeatureSpec
from monitor.ingest.files import open_vectors
from monitor.train import read_normal
from tests.support.detectors import fit_small, normal_vectors
from tests.support.planting import observed, plant

BUDGET = 0.01


@pytest.fixture(scope="module")
def small() -> Detector:
    return fit_small().detector


def first_reasons(detector: Detector, vectors: Matrix) -> list[FeatureDeviation]:
    return [f[0] for f in explain(detector, vectors, observed(detector, vectors), top=1)]


def test_a_planted_feature_is_named_first_in_the_small_world(small: Detector) -> None:
    planted = plant(small, normal_vectors(2000), normal_vectors(1000, seed=11))
    assert planted.flagged_ratio > 0.3
    assert planted.named_first_ratio >= 0.95


def test_a_planted_feature_is_named_first_in_real_traffic() -> None:
    spec = FeatureSpec.load("preset:nsl-kdd")
    data = read_normal(TRAINING, spec, LABEL_COLUMN, [BENIGN])
    options = FitOptions(min_steps=600, max_steps=600, false_alarm_rate=BUDGET)
    detector = fit(spec, data.values, data.vocabularies, options).detector
    normal = np.concatenate(
        [
            block.decoded.batch.values[np.array(block.labels) == BENIGN]
            for block in open_vectors(TEST, spec, detector.vocabularies, LABEL_COLUMN)
        ]
    )
    planted = plant(detector, data.values, normal[:4000])
    assert planted.flagged.sum() >= 100
    assert planted.named_first_ratio >= 0.95


def test_a_value_outside_of_training_says_so_and_how_far_training_went(small: Detector) -> None:
    vectors = normal_vectors(50, seed=3)
    vectors[:, 0] = 1e9
    for feature in first_reasons(small, vectors):
        assert (feature.name, feature.unseen, feature.observed) == ("bytes", True, 1e9)
        low, high = feature.usual
        assert low == pytest.approx(normal_vectors(2000)[:, 0].min(), rel=0.5)
        assert high == pytest.approx(normal_vectors(2000)[:, 0].max(), rel=0.5)


def test_an_unseen_category_comes_with_the_usual_ones_most_frequent_first(small: Detector) -> None:
    vectors = normal_vectors(50, seed=3)
    vectors[:, 3] = 0
    for feature in first_reasons(small, vectors):
        assert (feature.name, feature.unseen) == ("protocol", True)
        assert feature.usual == ("tcp", "udp", "icmp")
        assert feature.expected in feature.usual


def test_values_within_the_training_range_are_not_called_unseen(small: Detector) -> None:
    vectors = normal_vectors(200)
    vectors[:, 4] = 1 - vectors[:, 4]
    named = explain(small, vectors, observed(small, vectors), top=5)
    assert not any(feature.unseen for features in named for feature in features)


def test_no_vectors_need_no_reasons(small: Detector) -> None:
    assert explain(small, np.empty((0, 5), np.float32), [], top=3) == []

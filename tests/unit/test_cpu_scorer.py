"""On a processor the model is computed another way, to the same errors."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch

from monitor.batch import Matrix
from monitor.detect.cpu_scorer import FEWEST, MOST, CpuScorer, chunk_rows, scoring_threads
from monitor.detect.detector import Detector
from monitor.detect.fit import fit
from monitor.detect.networks import NETWORKS
from monitor.features import FeatureSpec
from tests.support.detectors import HASTY, fit_small, normal_vectors

ROUNDING = {"rtol": 1e-4, "atol": 1e-5}


def numeric(features: int) -> Detector:
    """A detector of numeric features alone."""
    names = [{"name": f"feature-{i}", "kind": "numeric"} for i in range(features)]
    spec = FeatureSpec.parse({"name": "numeric", "features": names}, "numeric")
    return fit(spec, lognormal(400, features), ((),) * features, HASTY).detector


def lognormal(count: int, features: int) -> Matrix:
    return np.random.default_rng(1).lognormal(2, 2, (count, features)).astype(np.float32)


def odd_vectors() -> Matrix:
    """Usual ones, and ones with all that is unusual in a vector."""
    vectors = normal_vectors(700, seed=3)
    vectors[100:200, 0] *= -1
    vectors[200:300, 3] = np.arange(100) - 50.5  # categories that there are not
    vectors[300:400, 2] = 1e6
    vectors[400:500] = np.finfo(np.float32).max
    vectors[500:600] = np.finfo(np.float32).min
    vectors[600:, 4] = 0.25
    return vectors


def by_the_model(detector: Detector, vectors: Matrix) -> Matrix:
    with torch.inference_mode():
        errors: Matrix = detector.model(torch.from_numpy(vectors)).numpy()
    return errors


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_s_errors_are_the_model_s_to_rounding(name: str) -> None:
    detector = fit_small(replace(HASTY, network=name), 400).detector
    for vectors in (odd_vectors(), normal_vectors(700, seed=4)):
        errors = detector.score(vectors).errors
        np.testing.assert_allclose(errors, by_the_model(detector, vectors), **ROUNDING)


def test_so_are_those_of_numeric_features_alone() -> None:
    detector = numeric(115)
    vectors = lognormal(300, 115)
    vectors[100:, ::7] *= -1
    errors = detector.score(vectors).errors
    np.testing.assert_allclose(errors, by_the_model(detector, vectors), **ROUNDING)


@pytest.mark.parametrize("count", [0, 1, 63, MOST - 1, MOST, MOST + 1, 2 * MOST + 5])
def test_batches_of_any_size_are_scored_whatever_came_before(count: int) -> None:
    scorer = CpuScorer(fit_small(HASTY, 400).detector.model)
    vectors = normal_vectors(3 * MOST, seed=5)
    expected = scorer.errors(vectors)
    found = scorer.errors(vectors[:count])
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected[:count], **ROUNDING)


def test_vectors_may_lie_in_memory_in_any_way() -> None:
    detector, vectors = numeric(9), lognormal(50, 9)
    expected = detector.score(vectors).errors
    sealed = np.frombuffer(vectors.tobytes(), np.float32).reshape(vectors.shape)
    for same in (np.asfortranarray(vectors), vectors.astype(np.float64), sealed):
        np.testing.assert_array_equal(detector.score(same).errors, expected)


def test_results_stand_when_more_is_scored() -> None:
    detector, vectors = numeric(9), lognormal(100, 9)
    first = detector.score(vectors[:50]).errors
    before = first.copy()
    detector.score(vectors[50:])
    np.testing.assert_array_equal(first, before)


def test_threads_score_beside_each_other() -> None:
    detector = fit_small(HASTY, 400).detector
    parts = [normal_vectors(3000, seed=seed) for seed in range(8)]
    expected = [detector.score(part).errors for part in parts]
    with ThreadPoolExecutor(4) as pool:
        for errors, alone in zip(pool.map(detector.score, parts), expected, strict=True):
            np.testing.assert_array_equal(errors.errors, alone)


def test_threads_that_share_a_call_find_what_one_does() -> None:
    model, vectors = fit_small(HASTY, 400).detector.model, normal_vectors(3 * MOST + 7, seed=6)
    shared, threads = CpuScorer(model, threads=3), torch.get_num_threads()
    for count in (len(vectors), 5, 0):
        expected = CpuScorer(model).errors(vectors[:count])
        np.testing.assert_array_equal(shared.errors(vectors[:count]), expected)
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize(("cores", "threads"), [(1, 1), (2, 1), (4, 2), (16, 8), (192, 8)])
def test_half_of_the_cores_score_up_to_a_limit(cores: int, threads: int) -> None:
    assert scoring_threads(cores) == threads


@pytest.mark.parametrize("inputs", [1, 8, 41, 122, 1_024, 100_000])
def test_chunks_are_neither_tiny_nor_beyond_a_core_s_cache(inputs: int) -> None:
    rows = chunk_rows(inputs)
    assert FEWEST <= rows <= MOST
    assert rows == FEWEST or rows * inputs * 4 <= 1 << 20

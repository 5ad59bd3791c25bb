"""The transform is one pass over arrays, and can be undone for people."""

import numpy as np
import torch

from monitor.detect.preprocess import Preprocessor
from tests.support.detectors import PROTOCOLS, SPEC, VOCABULARIES, normal_vectors

COUNTS = [len(words) for words in VOCABULARIES]


def fitted() -> Preprocessor:
    return Preprocessor(SPEC, COUNTS).fit(normal_vectors(2000))


def test_every_scalar_takes_one_input_and_every_category_one_more_than_it_has_values() -> None:
    assert fitted().inputs == 4 + len(PROTOCOLS) + 1


def test_training_data_comes_out_centred_and_scaled() -> None:
    z = fitted()(torch.from_numpy(normal_vectors(2000)))[:, :3]
    assert z.mean(dim=0).abs().max() < 0.1
    assert (z.std(dim=0) - 1).abs().max() < 0.1


def test_an_unseen_category_has_an_input_of_its_own() -> None:
    vectors = normal_vectors(1)
    vectors[:, 3] = 0
    onehot = fitted()(torch.from_numpy(vectors))[0, 4:]
    assert onehot.tolist() == [1.0, 0.0, 0.0, 0.0]


def test_the_inverse_gives_natural_units_back() -> None:
    transform, vectors = fitted(), torch.from_numpy(normal_vectors(2000)[:500])
    torch.testing.assert_close(transform.natural(transform(vectors)), vectors, rtol=1e-3, atol=1e-3)


def test_nothing_outside_the_training_values_is_ever_expected() -> None:
    wild = torch.tensor([[-50.0, 50.0, 50.0, 0.0, 0.0, 1.0, 0.0, 0.0]])
    vectors, (expected,) = normal_vectors(2000), fitted().natural(wild)
    lowest, highest = vectors.min(axis=0), vectors.max(axis=0)
    np.testing.assert_allclose(expected[:3], [lowest[0], highest[1], highest[2]], rtol=1e-3)


def test_a_few_absurd_training_values_do_not_widen_the_scale() -> None:
    vectors = normal_vectors(10_000)
    clean = Preprocessor(SPEC, COUNTS).fit(vectors).scale
    vectors[:5, 2] = 1e30
    widened = Preprocessor(SPEC, COUNTS).fit(vectors).scale
    torch.testing.assert_close(widened, clean, rtol=0.1, atol=0)


def test_a_constant_feature_keeps_unit_scale_so_that_any_change_shows() -> None:
    vectors = normal_vectors(1000)
    vectors[:, 2] = 0.5
    transform = Preprocessor(SPEC, COUNTS).fit(vectors)
    assert transform.scale[2] == 1
    vectors[0, 2] = 9.5
    assert transform(torch.from_numpy(vectors[:1]))[0, 2] == 9.0


def test_the_largest_floats_stay_finite() -> None:
    vectors = normal_vectors(4)
    vectors[0, 0], vectors[1, 2] = np.finfo(np.float32).max, np.finfo(np.float32).min
    assert torch.isfinite(fitted()(torch.from_numpy(vectors))).all()

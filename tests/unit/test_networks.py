"""Every network keeps the contract, unasked; and each is what its papers say."""

from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch

from monitor.bundle import load, save
from monitor.contracts.manifest import AnyNetworkFacts
from monitor.detect.detector import SCORING_CHUNK, Detector
from monitor.detect.explain import explain
from monitor.detect.fit import Fitted
from monitor.detect.networks import NETWORKS, network_class
from monitor.detect.networks.base import moments
from monitor.detect.networks.ensemble import MAX_GROUP, AutoencoderEnsemble
from monitor.detect.networks.gan import AdversarialAutoencoder
from monitor.detect.networks.pca import EXPLAINED_VARIANCE, PrincipalComponents
from monitor.detect.networks.simple import SimpleAutoencoder
from monitor.detect.networks.vae import VariationalAutoencoder
from monitor.errors import SettingsError
from tests.support.detectors import HASTY, QUICK, SPEC, TRAINING, fit_small, normal_vectors

BRIEF = replace(QUICK, min_steps=400, max_steps=400)
PLANTED = {"bytes": 1e9, "packets": 1e6, "rate": 40.0, "encrypted": 9.0}


@pytest.fixture(scope="module", params=list(NETWORKS))
def fitted(request: pytest.FixtureRequest) -> Fitted:
    return fit_small(replace(BRIEF, network=request.param))


@pytest.fixture
def detector(fitted: Fitted) -> Detector:
    return fitted.detector


def test_what_is_out_of_all_bounds_is_anomalous_and_normal_vectors_are_not(
    detector: Detector,
) -> None:
    absurd = normal_vectors(200, seed=5)
    absurd[:, 2] = 40.0
    assert len(detector.score(absurd).anomalous) > 190
    usual = detector.score(normal_vectors(5_000, seed=8))
    assert len(usual.anomalous) / 5_000 < 3 * BRIEF.false_alarm_rate


@pytest.mark.parametrize("feature", PLANTED)
def test_the_planted_feature_is_named_first(detector: Detector, feature: str) -> None:
    vectors = normal_vectors(200, seed=5)
    vectors[:, SPEC.names.index(feature)] = PLANTED[feature]
    observed = [tuple(row) for row in vectors.tolist()]
    first = [found[0].name for found in explain(detector, vectors, observed, top=3)]
    assert first.count(feature) / len(first) >= 0.95


def test_the_bundle_brings_back_the_same_network(detector: Detector, tmp_path: Path) -> None:
    manifest = save(detector, TRAINING, tmp_path / "bundle")
    again, _ = load(tmp_path / "bundle", "cpu")
    network, vectors = detector.model.network, normal_vectors(300, seed=2)
    assert type(again.model.network) is type(network)
    assert again.model.network.hyperparameters() == network.hyperparameters()
    assert manifest.network.name == network.name
    np.testing.assert_array_equal(again.score(vectors).errors, detector.score(vectors).errors)
    np.testing.assert_array_equal(again.embed(vectors), detector.embed(vectors))


def test_a_vector_scores_the_same_each_time_alone_and_in_any_batch(detector: Detector) -> None:
    vectors = normal_vectors(SCORING_CHUNK + 3)
    together, latent = detector.score(vectors).errors, detector.embed(vectors)
    np.testing.assert_array_equal(detector.score(vectors).errors, together)
    for row in (0, 17, SCORING_CHUNK, SCORING_CHUNK + 2):
        alone = vectors[row : row + 1]
        assert detector.score(alone).errors[0] == pytest.approx(together[row], rel=1e-3)
        np.testing.assert_allclose(detector.embed(alone)[0], latent[row], rtol=1e-3, atol=1e-5)


def test_the_most_absurd_floats_score_high_and_finite(detector: Detector) -> None:
    vectors = np.full((2, len(SPEC)), np.finfo(np.float32).max, np.float32)
    vectors[1] *= -1
    scores = detector.score(vectors)
    assert np.isfinite(scores.errors).all()
    assert len(scores.anomalous) == 2
    assert np.isfinite(detector.embed(vectors)).all()


def test_latent_vectors_are_as_many_and_as_wide_as_the_network_makes_them(
    detector: Detector,
) -> None:
    latent = detector.embed(normal_vectors(7))
    assert latent.dtype == np.float32
    assert latent.shape == (7, detector.embed(normal_vectors(0)).shape[1])
    assert latent.std(axis=0).max() > 0


@pytest.mark.parametrize("name", NETWORKS)
def test_the_same_seed_gives_the_same_network(name: str) -> None:
    first, again = (fit_small(replace(HASTY, network=name), 400).detector for _ in range(2))
    state = first.model.state_dict()
    assert all(bool((v == state[k]).all()) for k, v in again.model.state_dict().items())


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("inputs", [1, 2, 5, 119])
def test_any_number_of_inputs_will_do(name: str, inputs: int) -> None:
    z = torch.randn(300, inputs)
    z[:, 0] = 1.0  # it never varies
    network = NETWORKS[name].design(inputs, [z[:200], z[200:]])
    again = NETWORKS[name](inputs, **network.hyperparameters())
    assert {k: v.shape for k, v in again.state_dict().items()} == {
        k: v.shape for k, v in network.state_dict().items()
    }
    reconstruction = network(z)
    assert reconstruction.shape[-2:] == z.shape
    assert bool(reconstruction.isfinite().all())
    penalties = network.penalise(z, reconstruction)
    assert penalties.shape == (300, network.penalties)
    assert bool((penalties >= 0).all())


@pytest.mark.parametrize("name", NETWORKS)
def test_every_parameter_has_one_player_that_lowers_an_objective_of_its_own(name: str) -> None:
    z = torch.randn(64, 12)
    network = NETWORKS[name].design(12, [z])
    owned = [id(parameter) for player in network.players() for parameter in player]
    assert sorted(owned) == sorted(map(id, network.parameters()))
    for number, parameters in enumerate(network.players()):
        network.zero_grad()
        network.objective(number, z, lambda made: (made - z).square().mean(dim=1)).backward()
        assert all(parameter.grad is not None for parameter in parameters)


def test_the_manifest_knows_every_network() -> None:
    facts = get_args(get_args(AnyNetworkFacts)[0])
    assert [get_args(kind.model_fields["name"].annotation)[0] for kind in facts] == list(NETWORKS)


def test_a_network_that_there_is_not_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(SettingsError, match="'transformer': no such network; there are dense, s"):
        network_class("transformer")


@pytest.mark.parametrize("name", ["simple", "pca", "ensemble"])
def test_a_network_of_one_hidden_layer_refuses_two_widths(name: str) -> None:
    with pytest.raises(SettingsError, match=f"network {name}: has one hidden layer, 2 widths"):
        NETWORKS[name].design(8, [torch.randn(50, 8)], (4, 2))


@pytest.mark.parametrize("name", ["dense", "denoising"])
def test_dense_networks_have_as_many_members_as_are_asked_for(name: str, tmp_path: Path) -> None:
    alone = replace(HASTY, network=name, hidden=(6, 3), members=1)
    save(fit_small(alone, 400).detector, TRAINING, tmp_path / "bundle")
    network = load(tmp_path / "bundle", "cpu")[0].model.network
    assert (network.hyperparameters()["members"], len(network.passes())) == (1, 1)


def test_a_network_without_members_refuses_a_number_of_them() -> None:
    with pytest.raises(SettingsError, match="network pca has no members; these have: dense, den"):
        fit_small(replace(HASTY, network="pca", members=2), 400)


def test_simple_is_the_textbook_s_784_64_784() -> None:
    network, pixels = SimpleAutoencoder(784, (64,)), torch.rand(2, 784)
    expected = network.decoder(torch.relu(network.encoder[0](pixels)))
    torch.testing.assert_close(network(pixels), expected)
    assert sum(p.numel() for p in network.parameters()) == 784 * 64 + 64 + 64 * 784 + 784
    assert bool(((network(100 * pixels) >= 0) & (network(100 * pixels) <= 1)).all())


def test_simple_never_leaves_the_range_of_its_training_vectors() -> None:
    z = torch.randn(200, 6)
    network = SimpleAutoencoder.design(6, [z[:50], z[50:]])
    made = network(100 * torch.randn(200, 6))
    assert bool(((made >= z.amin(0) - 1e-5) & (made <= z.amax(0) + 1e-5)).all())


def test_pca_projects_on_the_leading_singular_vectors_that_explain_enough() -> None:
    z = torch.randn(500, 3) @ torch.randn(3, 10) + 0.01 * torch.randn(500, 10) + 5
    network = PrincipalComponents.design(10, [z[:123], z[123:]])
    centred = z - z.mean(dim=0)
    _, sizes, vectors = torch.linalg.svd(centred, full_matrices=False)
    explained = (sizes**2).cumsum(0) / (sizes**2).sum()
    k = network.hidden[0]
    assert explained[k - 1] >= EXPLAINED_VARIANCE
    assert k == 1 or explained[k - 2] < EXPLAINED_VARIANCE
    expected = z.mean(dim=0) + centred @ vectors[:k].T @ vectors[:k]
    torch.testing.assert_close(network(z), expected, atol=1e-3, rtol=1e-3)


def test_the_moments_of_chunks_are_those_of_the_whole() -> None:
    z = torch.randn(100, 4) * 3 + 1
    mean, covariance = moments([z[:7], z[7:]])
    torch.testing.assert_close(mean, z.double().mean(dim=0))
    torch.testing.assert_close(covariance, torch.cov(z.double().T, correction=0))


def test_the_ensemble_puts_together_what_is_correlated() -> None:
    sources = torch.randn(400, 4)
    order = torch.randperm(32)
    z = (sources.repeat(1, 8) + 0.1 * torch.randn(400, 32))[:, order]
    network = AutoencoderEnsemble.design(32, [z])
    rows = zip(network.index, network.present, strict=True)
    groups = [(order[inputs[present]] % 4).tolist() for inputs, present in rows]
    assert all(len(set(group)) == 1 for group in groups)
    assert max(network.groups) <= MAX_GROUP
    assert sum(network.groups) == 32


def test_the_ensemble_s_block_computes_what_its_members_would_one_by_one() -> None:
    z = torch.randn(50, 23)
    network = AutoencoderEnsemble.design(23, [z])
    expected = torch.empty_like(z)
    for g, size in enumerate(network.groups):
        inputs, hidden = network.index[g, :size], max(int(size * 0.75), 1)
        latent = (
            z[:, inputs] @ network.down[g, :size, :hidden] + network.down_bias[g, :hidden]
        ).tanh()
        expected[:, inputs] = latent @ network.up[g, :hidden, :size] + network.up_bias[g, :size]
    torch.testing.assert_close(network(z), expected)


def test_the_vae_samples_in_training_only() -> None:
    torch.manual_seed(0)
    z = torch.randn(16, 8)
    network = VariationalAutoencoder.design(8, [z])
    one, other = (network.objective(0, z, lambda made: (made - z).square().mean(1)) for _ in "ab")
    assert one != other
    assert torch.equal(network(z), network(z))


def test_the_discriminator_of_the_gan_learns_to_tell_real_from_made() -> None:
    torch.manual_seed(0)
    z = torch.randn(256, 8)
    network = AdversarialAutoencoder.design(8, [z])
    optimizer = torch.optim.Adam(network.players()[1], lr=0.01)
    for _ in range(50):
        loss = network.objective(1, z, lambda made: made.mean(dim=1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        real, made = (network.verdict(network.features(v)).mean() for v in (z, network(z)))
    assert real > 0 > made

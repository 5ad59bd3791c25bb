"""A bundle comes back as it was saved, or not at all."""

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from monitor.bundle import identity_of, load, load_manifest, save
from monitor.errors import BundleError, DeviceError
from tests.support.detectors import HASTY, TRAINING, fit_small, normal_vectors, save_small


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundles") / "small-world"
    save_small(folder, HASTY)
    return folder


@pytest.fixture
def bundle(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "bundle"))


def edit(bundle: Path, **changes: object) -> None:
    manifest = json.loads((bundle / "manifest.json").read_text())
    (bundle / "manifest.json").write_text(json.dumps({**manifest, **changes}))


def test_a_loaded_detector_scores_as_the_saved_one_did(tmp_path: Path) -> None:
    detector = fit_small(HASTY).detector
    manifest = save(detector, TRAINING, tmp_path / "bundle")
    loaded, loaded_manifest = load(tmp_path / "bundle", "cpu")
    vectors = normal_vectors(500, seed=2)
    np.testing.assert_array_equal(loaded.score(vectors).errors, detector.score(vectors).errors)
    assert loaded.threshold == pytest.approx(detector.threshold, rel=1e-6)
    assert loaded.vocabularies == detector.vocabularies
    assert loaded_manifest == manifest


def test_a_bundle_holds_a_manifest_and_weights_and_nothing_executable(original: Path) -> None:
    assert sorted(p.name for p in original.iterdir()) == ["manifest.json", "weights.safetensors"]


def test_the_threshold_can_be_moved_without_retraining(original: Path) -> None:
    detector, manifest = load(original, "cpu")
    assert detector.calibration.threshold(1e-4) > manifest.calibration.threshold
    assert detector.calibration.threshold(0.1) < manifest.calibration.threshold


def test_one_changed_byte_of_the_weights_is_refused(bundle: Path) -> None:
    weights = bytearray((bundle / "weights.safetensors").read_bytes())
    weights[-1] ^= 1
    (bundle / "weights.safetensors").write_bytes(weights)
    with pytest.raises(BundleError, match="sha256"):
        load(bundle)


def test_every_truncation_of_the_manifest_is_refused(bundle: Path) -> None:
    text = (bundle / "manifest.json").read_text()
    for length in range(0, len(text) - 2, 97):
        (bundle / "manifest.json").write_text(text[:length])
        with pytest.raises(BundleError, match=r"manifest\.json"):
            load(bundle)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"format_version": 3}, "upgrade the monitor"),
        ({"format_version": 1}, "no longer reads"),
        ({"network": {"name": "dense", "hidden": [16, 8], "members": 3}}, "not what was saved"),
        ({"network": {"name": "pickle", "hidden": [8]}}, "expected tags: 'dense'"),
        ({"network": {"name": "pca", "hidden": [8, 4]}}, "at most 1 item"),
        ({"vocabularies": {}}, "'protocol' is missing"),
        ({"surprise": 1}, "surprise"),
        ({"spec_sha256": "0" * 64}, "changed after training"),
        ({"vocabularies": {"protocol": ["udp", "tcp", "icmp"]}}, "not what was saved"),
        ({"libraries": {}}, "not what was saved"),
        ({"bundle_id": "0" * 16}, "not what was saved"),
    ],
)
def test_a_changed_manifest_is_refused_in_one_sentence(
    bundle: Path, changes: dict[str, object], says: str
) -> None:
    edit(bundle, **changes)
    with pytest.raises(BundleError) as refusal:
        load(bundle)
    assert says in str(refusal.value)
    assert str(bundle) in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_weights_of_another_shape_are_refused(bundle: Path, tmp_path: Path) -> None:
    save_small(tmp_path / "narrow", replace(HASTY, hidden=(8, 3)))
    narrow = (tmp_path / "narrow" / "weights.safetensors").read_bytes()
    (bundle / "weights.safetensors").write_bytes(narrow)
    forged = load_manifest(bundle).model_copy(
        update={"weights_sha256": hashlib.sha256(narrow).hexdigest()}
    )
    edit(bundle, weights_sha256=forged.weights_sha256, bundle_id=identity_of(forged))
    with pytest.raises(BundleError, match=r"expected \("):
        load(bundle)


def test_a_feature_that_is_missing_from_the_spec_is_refused(bundle: Path) -> None:
    manifest = json.loads((bundle / "manifest.json").read_text())
    del manifest["spec"]["features"][0]
    edit(bundle, spec=manifest["spec"])
    with pytest.raises(BundleError, match="changed after training"):
        load(bundle)


@pytest.mark.parametrize("name", ["manifest.json", "weights.safetensors"])
def test_a_missing_file_is_named(bundle: Path, name: str) -> None:
    (bundle / name).unlink()
    with pytest.raises(BundleError, match=f"{name} is missing"):
        load(bundle)


def test_a_folder_that_does_not_exist_is_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="monitor train"):
        load(tmp_path / "none")


def test_saving_over_a_bundle_replaces_it_whole(bundle: Path) -> None:
    (bundle / "report.html").write_text("old")
    save_small(bundle, HASTY)
    assert not (bundle / "report.html").exists()
    assert [p.name for p in bundle.parent.iterdir()] == ["bundle"]


def test_saving_over_anything_else_is_refused_and_leaves_it_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(BundleError, match="is no bundle"):
        save_small(tmp_path, HASTY)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_cuda_that_is_not_there_is_one_sentence(
    original: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(DeviceError, match='use "auto" or "cpu"'):
        load(original, "cuda")

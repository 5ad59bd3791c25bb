"""A trained detector on disk: `manifest.json` and `weights.safetensors`, nothing executable.

    save(detector, training_facts, Path("bundles/office"))
    detector, manifest = load(Path("bundles/office"), device="auto")

Loading verifies before it trusts: the manifest against its model, the weights against their hash,
every tensor's shape against the network that the manifest describes.
"""

import hashlib
import json
import os
import re
import shutil
import tempfile
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from monitor.contracts.manifest import (
    BUNDLE_FORMAT_VERSION,
    AnyNetworkFacts,
    CalibrationFacts,
    Manifest,
    TrainingFacts,
    network_facts,
)
from monitor.detect.calibration import Calibration, Tail
from monitor.detect.detector import Detector
from monitor.detect.model import ReconstructionModel
from monitor.detect.networks import NETWORKS
from monitor.detect.preprocess import Preprocessor
from monitor.errors import BundleError, DeviceError
from monitor.features import FeatureSpec

MANIFEST = "manifest.json"
WEIGHTS = "weights.safetensors"
CALIBRATION_ERRORS = "calibration.errors"
LIBRARIES = ("anomaly-monitor", "torch", "numpy", "safetensors", "pydantic")


def save(detector: Detector, training: TrainingFacts, folder: Path) -> Manifest:
    """Write a bundle; an existing bundle there is replaced whole, anything else is refused.

    The new folder is written beside the old one and renamed into place, so that a full disk or a
    crash leaves either the old bundle or the new one.

    Raises:
        BundleError: the folder holds something else, or cannot be written.
    """
    check_target(folder)
    weights = save_tensors(
        {
            **{name: t.contiguous().cpu() for name, t in detector.model.state_dict().items()},
            CALIBRATION_ERRORS: torch.from_numpy(detector.calibration.errors),
        }
    )
    manifest = _describe(detector, training, hashlib.sha256(weights).hexdigest())
    try:
        _replace(folder, {MANIFEST: _manifest_bytes(manifest), WEIGHTS: weights})
    except OSError as error:
        raise BundleError(f"bundle {folder}: cannot be written ({error.strerror}).") from error
    return manifest


def check_target(folder: Path) -> None:
    """Refuse to write a bundle over something that is not one, before the work is done.

    Raises:
        BundleError: the folder exists, is not empty and holds no manifest.
    """
    ours = not folder.exists() or (folder / MANIFEST).is_file()
    if not ours and not (folder.is_dir() and not any(folder.iterdir())):
        raise BundleError(f"bundle {folder}: exists and is no bundle; choose another folder.")


def load(folder: Path, device: str = "auto", threads: int = 1) -> tuple[Detector, Manifest]:
    """Read, verify and place a detector on a device ("auto", "cpu", "cuda" or "cuda:N").

    Args:
        threads: how many it scores with on a processor.

    Raises:
        BundleError: one sentence for whatever is missing, changed, misshapen or too new.
        DeviceError: the device is not available.
    """
    manifest = load_manifest(folder)
    target = resolve_device(device)
    weights = _read(folder, WEIGHTS)
    if hashlib.sha256(weights).hexdigest() != manifest.weights_sha256:
        raise BundleError(
            f"bundle {folder}: {WEIGHTS} is not the file that was saved (its sha256 differs from "
            "the manifest's); restore the bundle or train again."
        )
    try:
        tensors = load_tensors(weights)
    except SafetensorError as error:
        raise BundleError(f"bundle {folder}: {WEIGHTS} cannot be read ({error}).") from error
    return _assemble(manifest, tensors, target, folder, threads), manifest


def load_manifest(folder: Path) -> Manifest:
    """Read and validate a bundle's manifest alone.

    Raises:
        BundleError: it is missing, damaged, of a newer format, or contradicts itself.
    """
    try:
        content = json.loads(_read(folder, MANIFEST))
    except ValueError as error:
        raise BundleError(f"bundle {folder}: {MANIFEST} is not JSON ({error}).") from error
    found = content.get("format_version") if isinstance(content, dict) else None
    if isinstance(found, int) and found > BUNDLE_FORMAT_VERSION:
        raise BundleError(
            f"bundle {folder}: has format version {found}, this release reads up to "
            f"{BUNDLE_FORMAT_VERSION}; upgrade the monitor or train again."
        )
    if isinstance(found, int) and found < BUNDLE_FORMAT_VERSION:
        raise BundleError(
            f"bundle {folder}: has format version {found}, which this release no longer reads "
            f"(it reads {BUNDLE_FORMAT_VERSION}); train again."
        )
    try:
        manifest = Manifest.model_validate_json(json.dumps(content))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join((MANIFEST, *map(str, first["loc"])))
        raise BundleError(f"bundle {folder}: {where}: {first['msg']}.") from error
    _check_consistent(manifest, folder)
    return manifest


def move_budget(folder: Path, false_alarm_rate: float) -> Manifest:
    """Give a bundle another budget, in (0, 1), without training again: only the manifest changes.

    It becomes another bundle, with an id of its own and the same training facts.

    Raises:
        BundleError: the bundle cannot be loaded, or not be written; then it is what it was.
    """
    detector, manifest = load(folder, "cpu")
    moved = detector.with_budget(false_alarm_rate)
    budget = {"false_alarm_rate": false_alarm_rate, "threshold": moved.threshold}
    facts = manifest.calibration.model_copy(update=budget)
    manifest = _identified(manifest.model_copy(update={"calibration": facts}))
    staged = folder / f".{MANIFEST}"
    try:
        _write(staged, _manifest_bytes(manifest))
        staged.replace(folder / MANIFEST)
    except OSError as error:
        raise BundleError(f"bundle {folder}: cannot be written ({error.strerror}).") from error
    finally:
        with suppress(OSError):
            staged.unlink()
    return manifest


def resolve_device(device: str) -> torch.device:
    """The device of a setting; "auto" is CUDA when there is one, else the CPU.

    Raises:
        DeviceError: the device asked for is not available.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if not re.fullmatch(r"cpu|cuda(:\d+)?", device):
        raise DeviceError(f"device: {device!r} is none of auto, cpu, cuda and cuda:N.")
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise DeviceError(
            'device: "cuda" was asked for but no CUDA device is available; use "auto" or "cpu".'
        )
    target = torch.device(device)
    if target.type == "cuda" and (target.index or 0) >= torch.cuda.device_count():
        raise DeviceError(f"device: {device!r} is not there; {torch.cuda.device_count()} are.")
    return target


def build_model(
    spec: FeatureSpec, vocabularies: dict[str, tuple[str, ...]], network: AnyNetworkFacts
) -> ReconstructionModel:
    """An untrained model of the shape that spec, vocabularies and network ask for."""
    counts = [len(vocabularies.get(name, ())) for name in spec.names]
    preprocessor = Preprocessor(spec, counts)
    return ReconstructionModel(
        preprocessor, NETWORKS[network.name](preprocessor.inputs, **network.hyperparameters())
    )


def _describe(detector: Detector, training: TrainingFacts, weights_sha256: str) -> Manifest:
    calibration, spec, network = detector.calibration, detector.spec, detector.model.network
    manifest = Manifest(
        bundle_id="0" * 16,
        spec=spec,
        spec_sha256=spec.digest,
        vocabularies={
            spec.names[i]: detector.vocabularies[i] for i in spec.columns_of("categorical")
        },
        network=network_facts(network.name, network.hyperparameters()),
        calibration=CalibrationFacts(
            false_alarm_rate=detector.false_alarm_rate,
            threshold=detector.threshold,
            vectors=calibration.vectors,
            tail_start=calibration.tail.start,
            tail_share=calibration.tail.share,
            tail_shape=calibration.tail.shape,
            tail_scale=calibration.tail.scale,
            tail_fit_p_value=calibration.tail.fit_p_value,
        ),
        training=training,
        libraries={name: version(name) for name in LIBRARIES},
        weights_sha256=weights_sha256,
    )
    return _identified(manifest)


def _identified(manifest: Manifest) -> Manifest:
    return manifest.model_copy(update={"bundle_id": identity_of(manifest)})


def identity_of(manifest: Manifest) -> str:
    """Names the bundle by all that is in it; the weights by their hash."""
    content = manifest.model_dump(mode="json", exclude={"bundle_id"})
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def _assemble(
    manifest: Manifest,
    tensors: dict[str, Tensor],
    device: torch.device,
    folder: Path,
    threads: int,
) -> Detector:
    facts = manifest.calibration
    model = build_model(manifest.spec, manifest.vocabularies, manifest.network)
    errors = tensors.pop(CALIBRATION_ERRORS, None)
    expected = model.state_dict()
    for name, tensor in expected.items():
        found = tensors.get(name)
        if found is None or found.shape != tensor.shape or found.dtype != tensor.dtype:
            raise BundleError(f"bundle {folder}: {WEIGHTS}: {_mismatch(name, tensor, found)}.")
    if unknown := sorted(tensors.keys() - expected.keys()):
        raise BundleError(f"bundle {folder}: {WEIGHTS}: unknown tensor {unknown[0]!r}.")
    if errors is None or errors.ndim != 1 or errors.dtype != torch.float32 or not len(errors):
        raise BundleError(f"bundle {folder}: {WEIGHTS}: {CALIBRATION_ERRORS!r} is missing.")
    model.load_state_dict(tensors)
    tail = Tail(
        facts.tail_start,
        facts.tail_share,
        facts.tail_shape,
        facts.tail_scale,
        facts.tail_fit_p_value,
    )
    return Detector(
        manifest.spec,
        [manifest.vocabularies.get(name, ()) for name in manifest.spec.names],
        model,
        Calibration(errors.numpy(), tail, facts.vectors),
        facts.false_alarm_rate,
        device,
        threads=threads,
    )


def _mismatch(name: str, expected: Tensor, found: Tensor | None) -> str:
    if found is None:
        return f"tensor {name!r} is missing"
    return (
        f"tensor {name!r} is {tuple(found.shape)} {found.dtype}, "
        f"expected {tuple(expected.shape)} {expected.dtype}"
    )


def _check_consistent(manifest: Manifest, folder: Path) -> None:
    if manifest.spec.digest != manifest.spec_sha256:
        raise BundleError(
            f"bundle {folder}: its spec was changed after training (spec_sha256 differs); "
            "train again with the new spec."
        )
    categorical = {manifest.spec.names[i] for i in manifest.spec.columns_of("categorical")}
    if different := sorted(categorical ^ manifest.vocabularies.keys()):
        raise BundleError(
            f"bundle {folder}: {MANIFEST}: vocabularies: must name exactly the categorical "
            f"features, {different[0]!r} is missing or too many."
        )
    if manifest.bundle_id != identity_of(manifest):
        raise BundleError(
            f"bundle {folder}: {MANIFEST} is not what was saved (bundle_id does not fit it); "
            "restore the bundle or train again."
        )


def _manifest_bytes(manifest: Manifest) -> bytes:
    return (manifest.model_dump_json(indent=2) + "\n").encode()


def _read(folder: Path, name: str) -> bytes:
    try:
        return (folder / name).read_bytes()
    except FileNotFoundError as error:
        if folder.exists():
            raise BundleError(f"bundle {folder}: {name} is missing; train again.") from error
        raise BundleError(
            f"bundle {folder}: no such folder; create it with "
            "`monitor train FILE --spec SPEC -o BUNDLE`."
        ) from error
    except OSError as error:
        raise BundleError(f"bundle {folder}: {name} cannot be read ({error.strerror}).") from error


def _replace(folder: Path, files: dict[str, bytes]) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        for name, content in files.items():
            _write(staging / name, content)
        staging.chmod(0o755)
        if folder.exists():
            retired = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
            folder.rename(retired / "old")
            staging.rename(folder)
            shutil.rmtree(retired)
        else:
            staging.rename(folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _write(path: Path, content: bytes) -> None:
    """Write through to the disk, so that a rename after it never shows half a file."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def bundle_facts(manifest: Manifest) -> dict[str, Any]:
    """The few facts that metrics and logs show."""
    return {"bundle": manifest.bundle_id, "network": manifest.network.name}

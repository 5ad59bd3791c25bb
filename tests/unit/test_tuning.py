"""The running daemon's threshold follows budget, traffic and drift, and says where it stands."""

import shutil
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from monitor.bundle import MANIFEST, identity_of, load_manifest, move_budget
from monitor.config import Settings
from monitor.config_sources import load_settings
from monitor.contracts.manifest import Manifest
from monitor.detect.calibration import Calibration
from monitor.detect.detector import Detector
from monitor.stream.reload import Reload
from monitor.stream.tuning import MOVE_SECONDS, Tuning
from monitor.telemetry.metrics import Metrics
from tests.support.daemons import small_bundle
from tests.support.detectors import HASTY, fit_small

OWN_RATE = 0.01
KAFKA = {"bootstrap_servers": "127.0.0.1:9092", "input_topics": ["vectors"]}


def settings(bundle: Path = Path("bundles/any"), **top: object) -> Settings:
    return load_settings(None, {"bundle": bundle, "kafka": KAFKA, **top}).settings


@cache
def detector() -> Detector:
    small = fit_small(HASTY).detector
    calibration = Calibration.fit(errors(20_000, seed=0))
    return Detector(small.spec, small.vocabularies, small.model, calibration, OWN_RATE)


def errors(count: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).gamma(4, 0.25, count).astype(np.float32)


def tuning(**top: object) -> tuple[Tuning, Metrics]:
    metrics = Metrics()
    tuned = Tuning(detector(), metrics)
    tuned.take(settings(**top), OWN_RATE)
    return tuned, metrics


def observe(tuned: Tuning, seen: np.ndarray, now_s: float) -> None:
    tuned.observe(seen, int((seen > tuned.detector.threshold).sum()), now_s)


def gauge(registry: CollectorRegistry, name: str) -> float:
    value = registry.get_sample_value(f"anomaly_monitor_{name}")
    assert value is not None
    return value


def test_without_a_budget_in_the_settings_the_bundles_own_holds() -> None:
    tuned, metrics = tuning()
    assert tuned.detector.threshold == detector().threshold
    assert gauge(metrics.registry, "threshold") == detector().threshold
    assert gauge(metrics.registry, "false_alarm_rate_target") == OWN_RATE
    assert gauge(metrics.registry, "drift_ratio") == 1


def test_alerts_a_day_become_a_rate_once_the_traffic_is_known() -> None:
    tuned, metrics = tuning(alerts_per_day=8640)
    for second in range(50):
        observe(tuned, errors(100, seed=second), second)
        assert tuned.detector.false_alarm_rate == OWN_RATE
    for second in range(50, 62):
        observe(tuned, errors(100, seed=second), second)
    assert tuned.detector.false_alarm_rate == pytest.approx(0.001, rel=0.05)
    assert gauge(metrics.registry, "threshold") == tuned.detector.threshold
    assert gauge(metrics.registry, "traffic_vectors_per_second") == pytest.approx(100, rel=0.05)
    assert gauge(metrics.registry, "alerts_per_day_target") == 8640


def test_the_traffic_moves_the_threshold_at_most_once_a_minute() -> None:
    tuned, _ = tuning(alerts_per_day=8640)
    rates = []
    for second in range(600):
        observe(tuned, errors(100 if second < 300 else 2000), second)
        rates.append(tuned.detector.false_alarm_rate)
    moves = np.flatnonzero(np.diff(rates))
    assert len(moves) > 3
    assert (np.diff(moves) >= MOVE_SECONDS).all()


def test_of_traffic_without_such_a_budget_the_alerts_a_day_are_told() -> None:
    tuned, metrics = tuning(false_alarm_rate=0.001)
    for second in range(200):
        observe(tuned, errors(100), second)
    assert gauge(metrics.registry, "alerts_per_day_target") == pytest.approx(8640, rel=0.05)


def test_the_realised_rate_is_told_beside_the_promised_one() -> None:
    tuned, metrics = tuning()
    for second in range(100):
        observe(tuned, errors(1_000, seed=second), second)
    realised = gauge(metrics.registry, "false_alarm_rate_realised")
    assert realised == pytest.approx(OWN_RATE, rel=0.4)
    for second in range(100, 200):
        observe(tuned, 2 * errors(1_000, seed=second), second)
    assert gauge(metrics.registry, "false_alarm_rate_realised") > 10 * OWN_RATE


def test_after_a_new_budget_the_realised_rate_is_on_its_scale_at_once() -> None:
    tuned, metrics = tuning()
    for second in range(100):
        observe(tuned, errors(1_000, seed=second), second)
    tuned.take(settings(false_alarm_rate=0.001), OWN_RATE)
    observe(tuned, errors(1_000), 101)
    assert gauge(metrics.registry, "false_alarm_rate_realised") == pytest.approx(0.001, rel=0.5)


def test_recalibration_moves_the_threshold_and_is_told() -> None:
    tuned, metrics = tuning(recalibration={"enabled": True, "max_change_per_day": 0.2})
    for hour in range(48):
        observe(tuned, np.float32(1.3) * errors(5_000, seed=hour), hour * 3600)
    assert gauge(metrics.registry, "drift_ratio") == pytest.approx(1.2**2, rel=0.02)
    assert tuned.detector.threshold > detector().threshold
    tuned.take(settings(recalibration={"enabled": True, "max_change_per_day": 0.2}), OWN_RATE)
    assert tuned.detector.drift > 1.2
    tuned.take(settings(), OWN_RATE)
    assert tuned.detector.threshold == detector().threshold


def test_what_is_judged_again_is_judged_as_by_a_process_that_has_just_begun() -> None:
    follows = {"enabled": True, "max_change_per_day": 0.2}
    (tuned, _), (fresh, _) = (tuning(alerts_per_day=8640, recalibration=follows) for _ in range(2))
    for hour in range(24):
        observe(tuned, np.float32(1.3) * errors(5_000, seed=hour), hour * 3600)
    assert tuned.detector.threshold != fresh.detector.threshold
    tuned.begin_anew()
    assert tuned.detector.threshold == fresh.detector.threshold
    for second in range(70):
        for each in (tuned, fresh):
            observe(each, errors(100, seed=second), 90_000 + second)
        assert tuned.detector.threshold == fresh.detector.threshold
    assert tuned.export() == fresh.export()


def test_a_budget_beyond_the_calibration_is_warned_about_with_the_rows_it_takes() -> None:
    with capture_logs() as logs:
        tuning(false_alarm_rate=1e-6)
    [warning] = [entry for entry in logs if entry["log_level"] == "warning"]
    assert "about 10,000,000 held-back normal vectors" in warning["reason"]


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return shutil.copytree(small_bundle(), tmp_path / "bundle")


def reloaded(running: Settings, read: Settings) -> tuple[list[tuple[Settings, Manifest]], list]:
    """What is taken at SIGHUP, and what is logged."""
    took: list[tuple[Settings, Manifest]] = []
    manifest = load_manifest(small_bundle())
    reload = Reload(running, manifest, lambda: read, lambda *new: took.append(new))
    with capture_logs() as logs:
        reload.if_asked()
        assert not took
        reload.ask()
        reload.if_asked()
        reload.if_asked()
    return took, logs


def test_a_reload_takes_the_budget_once_and_names_what_waits_for_a_restart(bundle: Path) -> None:
    read = settings(bundle, alerts_per_day=20, device="cpu", input={"max_record_bytes": 1})
    [(taken, manifest)], logs = reloaded(settings(bundle), read)
    assert taken == settings(bundle, alerts_per_day=20)
    assert manifest == load_manifest(bundle)
    assert logs[-1]["changed"] == ["device", "input.max_record_bytes"]


def test_a_reload_takes_the_budget_that_the_bundle_was_given_meanwhile(bundle: Path) -> None:
    moved = move_budget(bundle, 0.002)
    [(_, manifest)], logs = reloaded(settings(bundle), settings(bundle))
    assert manifest == moved
    assert logs == []


def test_a_bundle_that_was_trained_again_meanwhile_waits_for_a_restart(bundle: Path) -> None:
    trained = load_manifest(bundle).model_copy(update={"weights_sha256": "other"})
    trained = trained.model_copy(update={"bundle_id": identity_of(trained)})
    (bundle / MANIFEST).write_text(trained.model_dump_json())
    [(_, manifest)], logs = reloaded(settings(bundle), settings(bundle))
    assert manifest == load_manifest(small_bundle())
    assert logs[-1]["changed"] == ["the bundle's weights"]


def test_a_bundle_that_is_gone_changes_nothing(bundle: Path) -> None:
    shutil.rmtree(bundle)
    took, [entry] = reloaded(settings(bundle), settings(bundle, alerts_per_day=20))
    assert took == []
    assert "no such folder" in entry["reason"]

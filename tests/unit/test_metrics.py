"""The metrics, as Prometheus reads them."""

import re

import numpy as np
import pytest
from prometheus_client import Histogram, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import CollectorRegistry

from monitor.telemetry.metrics import ArrayHistogram, Metrics, RecentShare

ISSUE = {
    "anomaly_monitor_vectors": {"outcome"},
    "anomaly_monitor_alerts": {"severity", "activity"},
    "anomaly_monitor_anomalies": set(),
    "anomaly_monitor_incidents_open": set(),
    "anomaly_monitor_spike_level_ratio": set(),
    "anomaly_monitor_dead_letters": {"reason"},
    "anomaly_monitor_reconstruction_error": set(),
    "anomaly_monitor_threshold": set(),
    "anomaly_monitor_anomaly_ratio": set(),
    "anomaly_monitor_batch_vectors": set(),
    "anomaly_monitor_stage_seconds": {"stage"},
    "anomaly_monitor_detection_latency_seconds": set(),
    "anomaly_monitor_consumer_lag_records": {"topic", "partition"},
    "anomaly_monitor_bundle_info": {"bundle", "network", "device"},
    "anomaly_monitor_ready": set(),
}


def scrape(registry: CollectorRegistry) -> dict:
    text = generate_latest(registry).decode()
    return {family.name: family for family in text_string_to_metric_families(text)}


def test_the_published_names_and_labels_are_there() -> None:
    metrics = Metrics()
    metrics.consumer_lag_records.labels("vectors", 0).set(1)
    metrics.bundle.info({"bundle": "b", "network": "dense", "device": "cpu"})
    families = scrape(metrics.registry)
    for name, labels in ISSUE.items():
        samples = families[name].samples
        assert samples, name
        assert set(samples[0].labels) - {"le"} == labels, name


def test_every_metric_says_its_unit_and_what_it_is() -> None:
    units = (
        r"_(seconds|records|vectors|ratio|total|info|error|threshold|target|open|watched|realised|second"
        r"|connected|ready)$"
    )
    for family in scrape(Metrics().registry).values():
        if family.name.startswith("anomaly_monitor_"):
            name = f"{family.name}_total" if family.type == "counter" else family.name
            assert re.search(units, name), name
            assert family.documentation.endswith("."), name


def test_counters_start_at_zero_for_every_label() -> None:
    families = scrape(Metrics().registry)
    outcomes = {s.labels["outcome"]: s.value for s in families["anomaly_monitor_vectors"].samples}
    assert outcomes == {"scored": 0.0, "dead_letter": 0.0, "not_selected": 0.0}
    assert len(families["anomaly_monitor_dead_letters"].samples) > 10


def test_an_array_counts_as_its_values_would_one_by_one() -> None:
    bounds, values = (0.1, 1.0, 5.0), np.array([0.05, 0.1, 0.5, 1.0, 4.0, 5.0, 9.0])
    registry, reference = CollectorRegistry(), CollectorRegistry()
    arrays = ArrayHistogram("h", "H.", bounds, registry)
    one_by_one = Histogram("h", "H.", buckets=bounds, registry=reference)
    arrays.observe(values[:3])
    arrays.observe(values[3:])
    arrays.observe(np.empty(0))
    for value in values:
        one_by_one.observe(value)
    assert scrape(registry)["h"].samples == scrape(reference)["h"].samples


def test_values_that_are_not_finite_do_not_spoil_a_histogram() -> None:
    registry = CollectorRegistry()
    ArrayHistogram("h", "H.", (1.0,), registry).observe(np.array([np.nan, np.inf, 0.5]))
    samples = {(s.name, s.labels.get("le")): s.value for s in scrape(registry)["h"].samples}
    assert samples["h_bucket", "1.0"] == 1
    assert samples["h_count", None] == 3
    assert np.isfinite(samples["h_sum", None])


def test_the_recent_share_is_zero_at_the_start_and_unbiased_from_the_first_event() -> None:
    share = RecentShare(memory=1000)
    assert share.share == 0.0
    share.observe(hits=1, events=10)
    assert share.share == pytest.approx(0.1)


def test_the_recent_share_forgets() -> None:
    share = RecentShare(memory=1000)
    share.observe(hits=1000, events=1000)
    for _ in range(10):
        share.observe(hits=0, events=1000)
    assert 0 < share.share < 0.001

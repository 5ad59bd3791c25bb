"""The metrics that the monitor publishes, by the names under which Prometheus stores them."""

import re

PUBLISHED = {
    "anomaly_monitor_vectors_total": "counter",
    "anomaly_monitor_alerts_total": "counter",
    "anomaly_monitor_dead_letters_total": "counter",
    "anomaly_monitor_reconstruction_error": "histogram",
    "anomaly_monitor_threshold": "gauge",
    "anomaly_monitor_anomaly_ratio": "gauge",
    "anomaly_monitor_false_alarm_rate_target": "gauge",
    "anomaly_monitor_batch_vectors": "histogram",
    "anomaly_monitor_stage_seconds": "histogram",
    "anomaly_monitor_detection_latency_seconds": "histogram",
    "anomaly_monitor_consumer_lag_records": "gauge",
    "anomaly_monitor_bundle_info": "gauge",
    "anomaly_monitor_ready": "gauge",
}
PARTS_OF_A_HISTOGRAM = ("_bucket", "_sum", "_count")


def mentioned(promql: str) -> set[str]:
    return set(re.findall(r"anomaly_monitor_\w+", promql))


def samples() -> set[str]:
    """Every series name: a histogram's are its parts."""
    return {
        name + part
        for name, kind in PUBLISHED.items()
        for part in (PARTS_OF_A_HISTOGRAM if kind == "histogram" else ("",))
    }


def family(sample: str) -> str:
    """The metric that a series belongs to."""
    for part in PARTS_OF_A_HISTOGRAM:
        if PUBLISHED.get(sample.removesuffix(part)) == "histogram":
            return sample.removesuffix(part)
    return sample

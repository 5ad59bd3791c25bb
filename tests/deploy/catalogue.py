"""The metrics that the monitor publishes, by the names under which Prometheus stores them."""

import re

from monitor.telemetry.metrics import Metrics, SupervisorMetrics

_PARTS = {
    "counter": ("_total",),
    "gauge": ("",),
    "histogram": ("_bucket", "_sum", "_count"),
    "info": ("_info",),
}
FAMILY_OF = {
    family.name + part: family.name
    for registry in (Metrics().registry, SupervisorMetrics().registry)
    for family in registry.collect()
    if family.name.startswith("anomaly_monitor_")
    for part in _PARTS[family.type]
}


def mentioned(promql: str) -> set[str]:
    return set(re.findall(r"anomaly_monitor_\w+", promql))

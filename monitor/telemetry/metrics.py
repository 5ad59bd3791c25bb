"""Every metric of the monitor, in one place and in a registry of its own.

    metrics = Metrics()
    metrics.batch_vectors.observe(4096)
    metrics.reconstruction_error.observe(errors)     # thousands of values at once

What comes in thousands is counted with numpy; nothing here runs once per vector.
"""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from threading import Lock

import numpy as np
from numpy.typing import ArrayLike
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.metrics_core import HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from monitor.contracts.ocsf import ACTIVITY_CAPTIONS, Severity
from monitor.reasons import Reason

OUTCOMES = ("scored", "dead_letter", "not_selected")
STAGES = ("poll", "decode", "score", "triage", "publish", "commit")
WORKER_STATES = ("ready", "not_ready", "ended")
RECENT_VECTORS = 10_000
"""Memory of the anomaly ratio: a vector this many vectors ago weighs 1/e of the newest."""

_ERRORS = (0.001, 0.003, 0.01, 0.03, *(k / 10 for k in range(1, 21)), 2.5, 3, 4, 5, 7.5, 10)
_VECTORS = tuple(4**k for k in range(9))
_STAGE_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)
_LATENCY_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 3600)


class Metrics:
    """The catalogue: one attribute a metric."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        registry = self.registry = CollectorRegistry()
        self.vectors = Counter(
            "anomaly_monitor_vectors",
            "Vectors dealt with: scored, dead-lettered (as many as the record claims to hold, at "
            "most input.max_record_vectors), or passed over because the spec's select does not "
            "choose them.",
            ["outcome"],
            registry=registry,
        )
        self.anomalies = Counter(
            "anomaly_monitor_anomalies",
            "Vectors past the threshold, those that were suppressed included.",
            registry=registry,
        )
        self.suppressed = Counter(
            "anomaly_monitor_suppressed",
            "Vectors past the threshold, and rises of the level, of which nothing was told, by the "
            "reason that the settings give.",
            ["reason"],
            registry=registry,
        )
        self.alerts = Counter(
            "anomaly_monitor_alerts",
            "Alerts acknowledged, by severity and by what became of the incident.",
            ["severity", "activity"],
            registry=registry,
        )
        self.incidents_open = Gauge(
            "anomaly_monitor_incidents_open",
            "Incidents that were created and not closed yet.",
            registry=registry,
        )
        self.spike_level = Gauge(
            "anomaly_monitor_spike_level_ratio",
            "How near the stream's anomaly ratio or mean error is to an alarm of its level: 0 as "
            "usual, 1 in alarm.",
            registry=registry,
        )
        self.dead_letters = Counter(
            "anomaly_monitor_dead_letters",
            "Dead letters acknowledged, by the reason that their header gives.",
            ["reason"],
            registry=registry,
        )
        self.reconstruction_error = ArrayHistogram(
            "anomaly_monitor_reconstruction_error",
            "Reconstruction errors of the vectors scored.",
            _ERRORS,
            registry,
        )
        self.threshold = Gauge(
            "anomaly_monitor_threshold",
            "Reconstruction error above which a vector is anomalous.",
            registry=registry,
        )
        self.false_alarm_rate_target = Gauge(
            "anomaly_monitor_false_alarm_rate_target",
            "Share of normal vectors that the threshold lets be anomalous.",
            registry=registry,
        )
        self.false_alarm_rate_realised = Gauge(
            "anomaly_monitor_false_alarm_rate_realised",
            "Share of recent vectors over the threshold, to be held against the target. True "
            "attacks count too, since nobody says which they are. Weights fall to 1/e over the "
            "vectors in which the target promises 100.",
            registry=registry,
        )
        self.alerts_per_day_target = Gauge(
            "anomaly_monitor_alerts_per_day_target",
            "Vectors a day that the budget lets be anomalous: alerts_per_day or, where that is not "
            "set, the false-alarm rate times the traffic.",
            registry=registry,
        )
        self.traffic = Gauge(
            "anomaly_monitor_traffic_vectors_per_second",
            "Vectors scored in a second, averaged over hours; 0 until a minute was seen.",
            registry=registry,
        )
        self.drift = Gauge(
            "anomaly_monitor_drift_ratio",
            "Odds that a normal vector has a large error, as a multiple of those when calibrated, "
            "as far as recalibration has followed them; 1 where it is off.",
            registry=registry,
        )
        self.recent = RecentShare(RECENT_VECTORS)
        Gauge(
            "anomaly_monitor_anomaly_ratio",
            "Share of recent vectors over the threshold; weights fall to 1/e over "
            f"{RECENT_VECTORS} vectors.",
            registry=registry,
        ).set_function(lambda: self.recent.share)
        self.batch_vectors = Histogram(
            "anomaly_monitor_batch_vectors",
            "Vectors in a micro-batch.",
            buckets=_VECTORS,
            registry=registry,
        )
        self.stage_seconds = Histogram(
            "anomaly_monitor_stage_seconds",
            "Time that a micro-batch spent in a stage; commit where delivery is at least once, for "
            "else publish does it.",
            ["stage"],
            buckets=_STAGE_SECONDS,
            registry=registry,
        )
        self.device_full = Counter(
            "anomaly_monitor_device_memory_full",
            "Times a batch was halved because the GPU's memory was full.",
            registry=registry,
        )
        self.scored_on_cpu = Counter(
            "anomaly_monitor_device_fallback_vectors",
            "Vectors scored on the CPU because the GPU had no memory left for them.",
            registry=registry,
        )
        self.detection_latency_seconds = ArrayHistogram(
            "anomaly_monitor_detection_latency_seconds",
            "From a record's timestamp until what came of it is committed; where delivery is "
            "at least once, until it is acknowledged.",
            _LATENCY_SECONDS,
            registry,
        )
        self.consumer_lag_records = Gauge(
            "anomaly_monitor_consumer_lag_records",
            "Records in the partition that are not dealt with yet; assigned partitions only.",
            ["topic", "partition"],
            registry=registry,
        )
        self.offset_resets = Counter(
            "anomaly_monitor_offset_resets",
            "Times a position was out of range (records expired unread, or the topic was made "
            "anew) and was reset as auto_offset_reset says.",
            ["topic", "partition"],
            registry=registry,
        )
        self.rewinds = Counter(
            "anomaly_monitor_rewinds",
            "Times it went back to what is committed, since its records had been taken away or a "
            "transaction had failed; what was in hand is done again and told of once.",
            registry=registry,
        )
        self.state_load_seconds = Histogram(
            "anomaly_monitor_state_load_seconds",
            "Time that loading the state of partitions took, which is when they are assigned.",
            buckets=_STAGE_SECONDS,
            registry=registry,
        )
        self.state_loaded_bytes = Counter(
            "anomaly_monitor_state_loaded_bytes",
            "Bytes of the state topic that were read for it.",
            registry=registry,
        )
        self.state_written_bytes = Counter(
            "anomaly_monitor_state_written_bytes",
            "Bytes written to the state topic, before compression.",
            registry=registry,
        )
        self.state_skipped = Counter(
            "anomaly_monitor_state_skipped_records",
            "Records of the state topic that are damaged, missing or none of the monitor's; what "
            "they would have said is lost.",
            registry=registry,
        )
        self.entities_watched = Gauge(
            "anomaly_monitor_entities_watched",
            "Entities whose levels are held; the setting spikes.max_entities bounds them.",
            registry=registry,
        )
        self.rebalances = Counter(
            "anomaly_monitor_rebalances", "Times partitions were assigned.", registry=registry
        )
        self.bundle = Info("anomaly_monitor_bundle", "What scores, and where.", registry=registry)
        self.broker_connected = Gauge(
            "anomaly_monitor_broker_connected",
            "Whether the group's coordinator is connected.",
            registry=registry,
        )
        self.ready = Gauge(
            "anomaly_monitor_ready",
            "Whether bundle, broker, group, state and outputs are in order.",
            registry=registry,
        )
        self._start_at_zero()
        ProcessCollector(registry=registry)

    def forget_lag(self, partitions: Iterable[tuple[str, int]]) -> None:
        """Whoever reads these partitions now tells their lag."""
        for topic, partition in partitions:
            with suppress(KeyError):
                self.consumer_lag_records.remove(topic, str(partition))

    def _start_at_zero(self) -> None:
        """A series that exists from the start lets Prometheus see its first increase."""
        for severity in Severity:
            for activity in ACTIVITY_CAPTIONS.values():
                self.alerts.labels(severity.caption, activity)
        for counter, values in (
            (self.vectors, OUTCOMES),
            (self.dead_letters, list(Reason)),
            (self.stage_seconds, STAGES),
        ):
            for value in values:
                counter.labels(value)


class SupervisorMetrics:
    """Those of `monitor run --workers N` itself, beside the sums over its workers."""

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()
        self.workers = Gauge(
            "anomaly_monitor_workers",
            "Worker processes, by state: ready, not_ready, or ended and to be started again.",
            ["state"],
            registry=registry,
        )
        self.worker_restarts = Counter(
            "anomaly_monitor_worker_restarts",
            "Times a worker ended unasked and was started again.",
            registry=registry,
        )
        for state in WORKER_STATES:
            self.workers.labels(state)


class ArrayHistogram(Collector):
    """A Prometheus histogram that takes arrays."""

    def __init__(
        self, name: str, documentation: str, buckets: tuple[float, ...], registry: CollectorRegistry
    ) -> None:
        self._name, self._documentation = name, documentation
        self._bounds = np.array(buckets, dtype=np.float64)
        self._counts = np.zeros(len(buckets) + 1, dtype=np.int64)
        self._sum = 0.0
        self._lock = Lock()
        registry.register(self)

    def observe(self, values: ArrayLike) -> None:
        """Count an array of any shape; what is not finite counts as beyond the last bound."""
        x = np.asarray(values, dtype=np.float64).ravel()
        x = np.where(np.isfinite(x), x, self._bounds[-1] * 2)
        places = np.searchsorted(self._bounds, x, side="left")
        counts = np.bincount(places, minlength=len(self._counts))
        with self._lock:
            self._counts += counts
            self._sum += float(x.sum())

    def collect(self) -> Iterator[Metric]:
        with self._lock:
            cumulative, total = np.cumsum(self._counts), self._sum
        bounds = [*map(floatToGoString, self._bounds), "+Inf"]
        family = HistogramMetricFamily(self._name, self._documentation)
        family.add_metric([], list(zip(bounds, cumulative.tolist(), strict=True)), total)
        yield family


class RecentShare:
    """The share of recent events that were hits, exponentially weighted by events, not by time.

    It is unbiased from the first event on, and 0 before it.
    """

    def __init__(self, memory: int) -> None:
        self._memory = memory
        self._hits = self._events = 0.0

    def observe(self, hits: int, events: float) -> None:
        """Add so many events, of which so many were hits."""
        decay = float(np.exp(-events / self._memory))
        self._hits = self._hits * decay + hits
        self._events = self._events * decay + events

    def export(self) -> tuple[float, float]:
        """What to keep of it: weighted hits and events."""
        return self._hits, self._events

    def restore(self, kept: tuple[float, float]) -> None:
        """Go on with what was kept."""
        self._hits, self._events = kept

    @property
    def share(self) -> float:
        """In [0, 1]."""
        return self._hits / self._events if self._events else 0.0

"""What the metrics are told of each micro-batch."""

from collections.abc import Iterator
from contextlib import contextmanager
from operator import attrgetter
from time import monotonic

import numpy as np

from monitor.stream.clock import now_ms
from monitor.stream.pipeline import Judged
from monitor.stream.triage import Scored, Triage
from monitor.telemetry.metrics import Metrics


class Counting:
    """Counts what has been published.

    Attributes:
        vectors: scored so far.
    """

    def __init__(self, metrics: Metrics, triage: Triage) -> None:
        self._metrics, self._triage = metrics, triage
        self.vectors = 0

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time what is done within."""
        started = monotonic()
        yield
        self._metrics.stage_seconds.labels(name).observe(monotonic() - started)

    def batch(self, scored: Scored, judged: Judged) -> None:
        """Count a micro-batch, and what was told of it."""
        metrics, decoded, errors = self._metrics, scored.decoded, scored.errors
        self.vectors += len(errors)
        metrics.batch_vectors.observe(len(errors))
        metrics.vectors.labels("scored").inc(len(errors))
        metrics.vectors.labels("dead_letter").inc(sum(r.vectors for r in decoded.rejects))
        metrics.vectors.labels("not_selected").inc(decoded.not_selected)
        metrics.recent.observe(len(scored.anomalous), len(errors))
        metrics.anomalies.inc(len(scored.anomalous))
        metrics.reconstruction_error.observe(errors)
        for reject in decoded.rejects:
            metrics.dead_letters.labels(reject.reason).inc()
        records = scored.batch.records
        times_ms = np.fromiter(map(attrgetter("timestamp"), records), np.int64, len(records))
        latency_ms = now_ms() - times_ms[times_ms >= 0]
        metrics.detection_latency_seconds.observe(np.maximum(latency_ms, 0) / 1000)
        self.alerts(judged)

    def alerts(self, judged: Judged) -> None:
        """Count what was told of, and what was not."""
        metrics, triage = self._metrics, self._triage
        for alert in judged.alerts:
            metrics.alerts.labels(alert.severity, alert.activity_name).inc()
        for reason in judged.suppressed:
            metrics.suppressed.labels(reason).inc()
        metrics.incidents_open.set(triage.open_incidents)
        metrics.entities_watched.set(triage.entities)
        metrics.spike_level.set(triage.spike_level)

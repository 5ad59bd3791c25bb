"""The data's walk without Kafka: a micro-batch in, what there is to publish of it out.

    decoded = pipeline.decode(batch)
    judged = pipeline.judge(batch, decoded)

Records become arrays at once; a row becomes an object again only once it has been found anomalous.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from operator import attrgetter

import numpy as np
from numpy.typing import NDArray

from monitor.batch import Decoded, Indices, MicroBatch, Record, Reject
from monitor.contracts.alert import Detection, Severity, alert_key, render_alert
from monitor.contracts.dead_letter import MAX_DEAD_LETTER_BYTES, render_dead_letter
from monitor.detect.detector import Detector
from monitor.detect.explain import explain
from monitor.errors import StreamError
from monitor.ingest.json_codec import JsonCodec
from monitor.reasons import Reason
from monitor.stream.contracts import Output


@dataclass(frozen=True, slots=True)
class Judged:
    """What comes of a micro-batch.

    Attributes:
        outputs: alerts, then dead letters.
        errors: (n,) float32 reconstruction errors of its vectors.
        severities, reasons: one of each alert, one of each dead letter.
    """

    outputs: Sequence[Output]
    errors: NDArray[np.float32]
    severities: Sequence[Severity]
    reasons: Sequence[Reason]
    not_selected: int


class Pipeline:
    """Decodes, scores, explains and renders, by one bundle.

    `detector` and `bundle_id` may be replaced between micro-batches.

    Args:
        now_ms: wall time for alerts and dead letters, milliseconds since 1970.
    """

    def __init__(
        self,
        codec: JsonCodec,
        detector: Detector,
        bundle_id: str,
        detector_name: str,
        alert_topic: str,
        dead_letter_topic: str,
        top_features: int,
        now_ms: Callable[[], int],
    ) -> None:
        self._codec, self.detector = codec, detector
        self.bundle_id, self._detector_name = bundle_id, detector_name
        self._alert_topic, self._dead_letter_topic = alert_topic, dead_letter_topic
        self._top_features, self._now_ms = top_features, now_ms

    def decode(self, batch: MicroBatch) -> Decoded:
        """Records to vectors and rejects.

        Raises:
            StreamError: by a defect, it failed on these records.
        """
        with _named("decoding", batch):
            return self._codec.decode(list(map(attrgetter("value"), batch.records)))

    def judge(self, batch: MicroBatch, decoded: Decoded) -> Judged:
        """Score the vectors, and render alerts and dead letters.

        Raises:
            StreamError: by a defect, it failed on these records.
        """
        with _named("scoring", batch):
            scores = self.detector.score(decoded.batch.values)
            detections = self._detect(batch, decoded, scores.errors, scores.anomalous)
            now_ms = self._now_ms()
            alerts = [render_alert(detection, now_ms) for detection in detections]
            outputs = [
                Output(self._alert_topic, alert_key(detection), alert.to_bytes())
                for detection, alert in zip(detections, alerts, strict=True)
            ]
            outputs += [
                self._dead_letter(batch.records[reject.row], reject, now_ms)
                for reject in decoded.rejects
            ]
        return Judged(
            outputs,
            scores.errors,
            [alert.severity_id for alert in alerts],
            [reject.reason for reject in decoded.rejects],
            decoded.not_selected,
        )

    def _detect(
        self,
        batch: MicroBatch,
        decoded: Decoded,
        errors: NDArray[np.float32],
        anomalous: Indices,
    ) -> list[Detection]:
        if not len(anomalous):
            return []
        records = [batch.records[row] for row in decoded.batch.rows[anomalous]]
        events = [self._codec.identify(record.value or b"") for record in records]
        rarities = self.detector.tail_probability(errors[anomalous])
        explained = explain(
            self.detector,
            decoded.batch.values[anomalous],
            [event.observed for event in events],
            self._top_features,
        )
        rows = zip(records, events, errors[anomalous], rarities, explained, strict=True)
        return [
            Detection(
                topic=record.topic,
                partition=record.partition,
                offset=record.offset,
                record_time_ms=record.timestamp,
                event=event,
                reconstruction_error=float(error),
                threshold=self.detector.threshold,
                false_alarm_rate=self.detector.false_alarm_rate,
                tail_probability=float(rarity),
                features=features,
                bundle_id=self.bundle_id,
                detector_name=self._detector_name,
                record_key=record.key,
            )
            for record, event, error, rarity, features in rows
        ]

    def _dead_letter(
        self, record: Record, reject: Reject, now_ms: int, max_bytes: int = MAX_DEAD_LETTER_BYTES
    ) -> Output:
        letter = render_dead_letter(record, reject.reason, reject.error, now_ms, max_bytes)
        smaller = partial(self._dead_letter, record, reject, now_ms)
        return Output(self._dead_letter_topic, letter.key, letter.value, letter.headers, smaller)


@contextmanager
def _named(what: str, batch: MicroBatch) -> Iterator[None]:
    """Name the records on which something failed that never should."""
    try:
        yield
    except Exception as error:
        raise StreamError(
            f"{what} failed on {describe(batch)} ({type(error).__name__}: {error}); nothing of it "
            "is committed, so it is tried again after a restart."
        ) from error


def describe(batch: MicroBatch) -> str:
    """Which records a micro-batch holds: topic[partition] first-last, ..."""
    spans: dict[tuple[str, int], list[int]] = {}
    for record in batch.records:
        spans.setdefault((record.topic, record.partition), []).append(record.offset)
    return ", ".join(
        f"{topic}[{partition}] {min(offsets)}-{max(offsets)}"
        for (topic, partition), offsets in sorted(spans.items())
    )

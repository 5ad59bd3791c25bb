"""From an incident to its alerts: OCSF Detection Findings and their key.

    alert = render_alert(alone(sighting_of(detection, now_ms), now_ms), now_ms)
    producer.send(topic, key=alert.key, value=alert.value)

`monitor.contracts.ocsf` says where in the alert each fact is. Everything that an event says of
itself is untrusted: strings are bounded and made printable, numbers finite, and what is no
address, port or time does not become one.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from hashlib import sha1
from typing import NamedTuple
from uuid import UUID

import numpy as np
import orjson
from numpy.typing import NDArray

from monitor import __version__
from monitor.batch import EventIdentity, FeatureDeviation, Partition
from monitor.contracts.evidence import Json, evidence_of, known, observables_of
from monitor.contracts.network import Flow, parse_ip
from monitor.contracts.ocsf import (
    ACTIVITY_CAPTIONS,
    LATEST_TIME_MS,
    OCSF_VERSION,
    STATUS_OF,
)
from monitor.contracts.severity import severity_of
from monitor.contracts.text import FeatureValue, clean, finite, shown
from monitor.contracts.wording import Explained, Story, description, explained, message
from monitor.detect.incidents import Activity, Change, Incident, Sighting, Subject

MAX_KEY_BYTES = 1024
EARLIEST_EVENT_MS = 631_152_000_000
"""The year 1990: an earlier time is a clock that was never set."""
CLOCK_SKEW_MS = 86_400_000
"""A day: a later time than this from now is no clock running fast."""
PRODUCT = "anomaly-monitor"
SOURCE, DESTINATION, RECORD_KEY = "source", "destination", "record key"

_NAMESPACE = UUID("5f0c9a52-3c0e-4b0e-9d55-2f3d0c9a7e11")


@dataclass(frozen=True, slots=True)
class Detection:
    """A record whose vector is told of.

    Attributes:
        record_time_ms: timestamp of the Kafka record, -1 where it has none.
        tail_probability: share of normal vectors expected to have at least this error.
        features: those that carry most of the error, largest share first.
        record_key: key of the Kafka record, at most MAX_KEY_BYTES of it.
        vector: (f,) float32, for whoever explains it.
        within: its position in the record; -1 where the record is the vector.
    """

    topic: str
    partition: int
    offset: int
    record_time_ms: int
    event: EventIdentity
    reconstruction_error: float
    threshold: float
    false_alarm_rate: float
    tail_probability: float
    features: tuple[FeatureDeviation, ...]
    bundle_id: str
    detector_name: str
    record_key: bytes | None = None
    vector: NDArray[np.float32] | None = field(default=None, compare=False)
    within: int = -1


def subjects(detection: Detection) -> tuple[Subject, ...]:
    """Whom an anomaly may be about, best first.

    The source address, else the first other entity, else the destination; for events that name
    none of them the key of the record or, without one, the input partition. After a source or
    another entity comes the destination.
    """
    return subjects_of(detection.event, detection.topic, detection.partition, detection.record_key)


def subjects_of(
    event: EventIdentity, topic: str, partition: int, key: bytes | None
) -> tuple[Subject, ...]:
    """The same, of the event of a record."""
    found = [Subject(label, name) for label, name in named_entities(event).items()]
    if found:
        return (found[0], *(subject for subject in found[1:] if subject.type == DESTINATION))
    if key:
        text = key[:MAX_KEY_BYTES].decode("utf-8", "backslashreplace")
        return (Subject(RECORD_KEY, clean(text)),)
    return (Subject("partition", f"{clean(topic)}/{partition}"),)


def named_entities(event: EventIdentity) -> dict[str, str]:
    """Everyone that an event names, by their role in it or their label in the spec, best first."""
    named = (
        (SOURCE, event.source_address),
        *event.entities.items(),
        (DESTINATION, event.destination_address),
    )
    found = {label: value for label, value in reversed(named) if value}
    return {clean(label): _name(found[label]) for label, _ in named if label in found}


def sighting_of(detection: Detection, now_ms: int) -> Sighting[Detection]:
    """A single detection as an incident may take it in."""
    time_ms = plausible_time(detection.event.event_time_ms, detection.record_time_ms, now_ms)
    return Sighting(
        subjects=subjects(detection),
        uid=uid_of(detection),
        vectors=1,
        first_seen_ms=time_ms,
        last_seen_ms=time_ms,
        tail_probability=detection.tail_probability,
        error=detection.reconstruction_error,
        evidence=detection,
        home=Partition(detection.topic, detection.partition),
    )


def uid_of(detection: Detection, about: str = "") -> str:
    """The uid of the finding that a detection opens."""
    where = detection.topic, detection.partition, detection.offset, detection.within
    return finding_uid(detection.bundle_id, *where, about)


def finding_uid(
    bundle_id: str, topic: str, partition: int, offset: int, within: int, about: str = ""
) -> str:
    """Depends on the record and the bundle alone: a record scored twice gives one finding.

    Args:
        within: the position in the record; -1 where the record is the vector.
        about: tells apart what one record opens.
    """
    record = f"{clean(topic)}/{partition}/{offset}"
    place = record if within < 0 else f"{record}/{within}"
    return _uuid5(_NAMESPACE, f"{bundle_id}/{place}{about}")


def _uuid5(namespace: UUID, name: str) -> str:
    """`str(uuid5(namespace, name))`, in a third of the time."""
    digest = bytearray(sha1(namespace.bytes + name.encode(), usedforsecurity=False).digest()[:16])
    digest[6] = digest[6] & 0x0F | 0x50  # version 5
    digest[8] = digest[8] & 0x3F | 0x80  # RFC 4122's variant
    text = digest.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def plausible_time(event_time_ms: int | None, record_time_ms: int, now_ms: int) -> int:
    """The first of event, record and present time that a clock may have shown."""
    for time_ms in (event_time_ms, record_time_ms):
        if time_ms is not None and EARLIEST_EVENT_MS <= time_ms <= now_ms + CLOCK_SKEW_MS:
            return time_ms
    return now_ms


def alert_key(change: Change[Detection]) -> bytes:
    """The Kafka key: one subject's alerts stay in one partition, hence in order."""
    incident = change.incident
    if incident.subject.type == RECORD_KEY:
        return (incident.seen.evidence.record_key or b"")[:MAX_KEY_BYTES]
    return incident.subject.name.encode()[:MAX_KEY_BYTES]


class Alert(NamedTuple):
    """An alert as it is published.

    Attributes:
        value: its JSON, which `DetectionFinding.from_bytes` reads.
        severity, activity_name: OCSF's words, the labels of `anomaly_monitor_alerts_total`.
    """

    key: bytes
    value: bytes
    severity: str
    activity_name: str


def render_alert(
    change: Change[Detection],
    now_ms: int,
    features: Sequence[FeatureDeviation] | None = None,
) -> Alert:
    """What became of an incident, as an alert; never fails for what an event says of itself.

    Args:
        features: what explains the detection, where that is not in it.
    """
    told = change.incident.seen.evidence.features if features is None else features
    content = _content(change, [explained(feature) for feature in told], now_ms)
    key, value = alert_key(change), orjson.dumps(content)
    return Alert(key, value, content["severity"], content["activity_name"])


def _content(change: Change[Detection], features: Sequence[Explained], now_ms: int) -> Json:
    """An alert as JSON holds it, in the order of `DetectionFinding`."""
    incident, activity = change.incident, change.activity
    detection, event = incident.seen.evidence, incident.seen.evidence.event
    flow, story = Flow.of(event), _story(incident, features)
    record_id = clean(event.record_id) if event.record_id else None
    severity = severity_of(
        story.tail_probability,
        _share(detection.false_alarm_rate),
        incident.seen.vectors,
        incident.seen.span_ms,
        spike=incident.seen.spike is not None,
    )
    evidence = evidence_of(event, flow, record_id, {f.name: f.observed for f in story.features})
    caption, (status_id, status) = ACTIVITY_CAPTIONS[activity], STATUS_OF[activity]
    return known(
        category_uid=2,
        category_name="Findings",
        class_uid=2004,
        class_name="Detection Finding",
        activity_id=activity.value,
        activity_name=caption,
        type_uid=200400 + activity,
        type_name=f"Detection Finding: {caption}",
        time=incident.seen.last_seen_ms,
        start_time=incident.seen.first_seen_ms,
        end_time=incident.seen.last_seen_ms,
        duration=incident.seen.span_ms,
        count=max(incident.seen.vectors, 1),
        severity_id=severity.value,
        severity=severity.caption,
        status_id=status_id,
        status=status,
        is_alert=True,
        message=message(story, activity),
        metadata=_metadata(change, record_id, now_ms),
        finding_info=_finding_info(change, story, now_ms),
        evidences=[evidence],
        observables=list(observables_of(evidence, record_id, flow.community_id)),
        anomaly_analyses=_analyses(incident.subject, story.features),
        unmapped=_facts(incident, story, record_id, flow.community_id),
    )


def _name(value: str) -> str:
    return str(parse_ip(value) or clean(value))


def _valid_time(time_ms: int | None) -> int | None:
    return time_ms if time_ms is not None and 0 <= time_ms <= LATEST_TIME_MS else None


def _story(incident: Incident[Detection], features: Sequence[Explained]) -> Story:
    detection, spike = incident.seen.evidence, incident.seen.spike
    return Story(
        incident.seen.vectors,
        incident.seen.span_ms,
        spike and replace(spike, observed=finite(spike.observed), usual=finite(spike.usual)),
        finite(detection.reconstruction_error),
        finite(detection.threshold),
        _share(finite(detection.tail_probability, if_nan=1.0)),
        features,
    )


def _metadata(change: Change[Detection], record_id: str | None, now_ms: int) -> Json:
    incident = change.incident
    told = f"{change.activity.name.lower()}{incident.reports or ''}"
    return known(
        version=OCSF_VERSION,
        product={"name": PRODUCT, "vendor_name": PRODUCT, "version": __version__},
        uid=_uuid5(UUID(incident.seen.uid), told),
        original_event_uid=record_id,
        logged_time=_valid_time(incident.seen.evidence.record_time_ms),
        processed_time=now_ms,
    )


def _finding_info(change: Change[Detection], story: Story, now_ms: int) -> Json:
    incident, detection = change.incident, change.incident.seen.evidence
    return known(
        uid=incident.seen.uid,
        title=clean(f"Anomaly: {incident.subject.type} {incident.subject.name}"),
        desc=description(story),
        types=["Anomaly"],
        analytic={
            "uid": detection.bundle_id,
            "name": detection.detector_name,
            "type_id": 4,
            "type": "Learning (ML/DL)",
            "version": __version__,
        },
        data_sources=[clean(detection.topic)],
        created_time=incident.created_ms,
        modified_time=None if change.activity is Activity.CREATE else now_ms,
    )


def _analyses(subject: Subject, features: Sequence[Explained]) -> list[Json] | None:
    if not features:
        return None
    analysis = {
        "analysis_targets": [{"name": subject.name, "type": subject.type}],
        "anomalies": [_parameter(f.name, f.observed) for f in features],
        "baselines": [_parameter(f.name, f.expected) for f in features],
    }
    return [analysis]


def _parameter(feature: str, value: FeatureValue) -> Json:
    return {
        "observation_parameter": feature,
        "observation_type": "Reconstruction Error Analysis",
        "observations": [{"value": shown(value)}],
    }


def _facts(
    incident: Incident[Detection], story: Story, record_id: str | None, community_id: str | None
) -> Json:
    detection, spike = incident.seen.evidence, story.spike
    return known(
        reconstruction_error=story.error,
        threshold=story.threshold,
        tail_probability=story.tail_probability,
        false_alarm_rate=_share(detection.false_alarm_rate),
        features=[_feature(feature) for feature in story.features],
        bundle_id=detection.bundle_id,
        source=known(
            topic=clean(detection.topic),
            partition=detection.partition,
            offset=detection.offset,
            within=detection.within if detection.within >= 0 else None,
        ),
        event_time_ms=_valid_time(detection.event.event_time_ms),
        record_id=record_id,
        community_id=community_id,
        incident=known(
            type=incident.subject.type,
            name=incident.subject.name,
            vectors=incident.seen.vectors,
            span_ms=incident.seen.span_ms,
            spike=spike and asdict(spike),
        ),
    )


def _feature(feature: Explained) -> Json:
    return known(
        name=feature.name,
        observed=feature.observed,
        expected=feature.expected,
        share=feature.share,
        usual=feature.usual,
        unseen=feature.unseen,
    )


def _share(number: float) -> float:
    return min(max(number, 0.0), 1.0)

"""From an incident to its alerts: OCSF Detection Findings and their key.

    alert = render_alert(alone(sighting_of(detection, now_ms), now_ms), now_ms)
    producer.send(topic, key=alert.key, value=alert.value)

`monitor.contracts.ocsf` says where in the alert each fact is. Everything that an event says of
itself is untrusted: strings are bounded and made printable, numbers finite, and what is no
address, port or time does not become one.
"""

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import NamedTuple
from uuid import UUID

import orjson

from monitor import __version__
from monitor.batch import FeatureDeviation
from monitor.contracts.detection import MAX_KEY_BYTES, RECORD_KEY, Detection, uuid5_of
from monitor.contracts.evidence import Json, evidence_of, known, observables_of
from monitor.contracts.network import Flow
from monitor.contracts.ocsf import (
    ACTIVITY_CAPTIONS,
    LATEST_TIME_MS,
    OCSF_VERSION,
    STATUS_OF,
)
from monitor.contracts.severity import severity_of
from monitor.contracts.text import FeatureValue, clean, finite, shown
from monitor.contracts.wording import Explained, Story, description, explained, message
from monitor.detect.incidents import Activity, Change, Incident, Subject

PRODUCT = "anomaly-monitor"


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
        uid=uuid5_of(UUID(incident.seen.uid), told),
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

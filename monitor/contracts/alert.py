"""From a detection to its alert: an OCSF Detection Finding, its key and its severity.

    finding = render_alert(detection, now_ms)
    producer.send(topic, key=alert_key(detection), value=finding.to_bytes())

`monitor.contracts.ocsf` says where in the alert each fact is. Everything that an event says of
itself is untrusted: strings are bounded and made printable, numbers finite, and what is no
address, port or time does not become one.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from uuid import UUID, uuid5

from monitor import __version__
from monitor.batch import EventIdentity, FeatureDeviation
from monitor.contracts.network import Flow, IpAddress, parse_ip
from monitor.contracts.ocsf import (
    LATEST_TIME_MS,
    MAX_LINE,
    OCSF_VERSION,
    AnalysisTarget,
    Analytic,
    AnomalyAnalysis,
    AnomalyFacts,
    ConnectionInfo,
    DetectionFinding,
    Endpoint,
    Evidence,
    ExplainedFeature,
    FindingInfo,
    Metadata,
    Observable,
    ObservableType,
    Observation,
    ObservedParameter,
    Product,
    Resource,
    Severity,
    SourceRecord,
)
from monitor.contracts.text import FeatureValue, clean, finite, shown
from monitor.contracts.wording import explained, reason

__all__ = ["Detection", "DetectionFinding", "Severity", "alert_key", "render_alert", "severity_of"]

MAX_KEY_BYTES = 1024
FEATURES_IN_MESSAGE = 3
EARLIEST_EVENT_MS = 631_152_000_000
"""The year 1990: an earlier time is a clock that was never set."""
CLOCK_SKEW_MS = 86_400_000
"""A day: a later time than this from now is no clock running fast."""

_NAMESPACE = UUID("5f0c9a52-3c0e-4b0e-9d55-2f3d0c9a7e11")
_HOSTNAME = re.compile(r"(?=.{1,253}$)([\w-]{1,63}\.)*(?=[\w-]*[A-Za-z])[\w-]{1,63}\.?", re.ASCII)
_RARER_BY = ((1000, Severity.CRITICAL), (100, Severity.HIGH), (10, Severity.MEDIUM))


@dataclass(frozen=True, slots=True)
class Detection:
    """A record whose vector exceeded the threshold.

    Attributes:
        record_time_ms: timestamp of the Kafka record, -1 where it has none.
        tail_probability: share of normal vectors expected to have at least this error.
        features: those that carry most of the error, largest share first.
        record_key: key of the Kafka record.
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


def severity_of(tail_probability: float, false_alarm_rate: float) -> Severity:
    """Low within the false-alarm budget; a step up where ten times, 100, 1000 times rarer."""
    for factor, severity in _RARER_BY:
        if tail_probability <= false_alarm_rate / factor:
            return severity
    return Severity.LOW


def alert_key(detection: Detection) -> bytes:
    """The Kafka key: one entity's alerts stay in one partition, hence in order.

    The source address, else the first other entity, else the destination; for events that name
    none of them the key of the record or, without one, the input partition.
    """
    if entity := _entity(detection.event):
        return entity.name.encode()[:MAX_KEY_BYTES]
    where = f"{clean(detection.topic)}/{detection.partition}".encode()
    return (detection.record_key or where)[:MAX_KEY_BYTES]


def render_alert(detection: Detection, now_ms: int) -> DetectionFinding:
    """The alert of a detection; never fails for what an event says of itself."""
    event, flow = detection.event, Flow.of(detection.event)
    facts = _facts(detection, flow.community_id)
    severity = severity_of(facts.tail_probability, facts.false_alarm_rate)
    evidence, target = _evidence(event, flow, facts), _target(detection)
    return DetectionFinding(
        category_uid=2,
        category_name="Findings",
        class_uid=2004,
        class_name="Detection Finding",
        activity_id=1,
        activity_name="Create",
        type_uid=200401,
        type_name="Detection Finding: Create",
        time=_plausible_time(event.event_time_ms, detection.record_time_ms, now_ms),
        severity_id=severity,
        severity=severity.caption,
        status_id=1,
        status="New",
        is_alert=True,
        message=_message(facts),
        metadata=_metadata(detection, facts.record_id, now_ms),
        finding_info=_finding_info(detection, facts, target, now_ms),
        evidences=(evidence,),
        observables=tuple(_observables(evidence, facts.record_id, facts.community_id)),
        anomaly_analyses=_analyses(target, facts.features),
        unmapped=facts,
    )


def _finding_uid(detection: Detection) -> UUID:
    """Depends on the record and the bundle alone: a record scored twice gives one finding."""
    record = f"{clean(detection.topic)}/{detection.partition}/{detection.offset}"
    return uuid5(_NAMESPACE, f"{detection.bundle_id}/{record}")


def _plausible_time(event_time_ms: int | None, record_time_ms: int, now_ms: int) -> int:
    for time_ms in (event_time_ms, record_time_ms):
        if time_ms is not None and EARLIEST_EVENT_MS <= time_ms <= now_ms + CLOCK_SKEW_MS:
            return time_ms
    return now_ms


def _valid_time(time_ms: int | None) -> int | None:
    return time_ms if time_ms is not None and 0 <= time_ms <= LATEST_TIME_MS else None


def _metadata(detection: Detection, record_id: str | None, now_ms: int) -> Metadata:
    return Metadata(
        version=OCSF_VERSION,
        product=Product(name="anomaly-monitor", vendor_name="anomaly-monitor", version=__version__),
        uid=str(uuid5(_finding_uid(detection), "create")),
        original_event_uid=record_id,
        logged_time=_valid_time(detection.record_time_ms),
        processed_time=now_ms,
    )


def _finding_info(
    detection: Detection, facts: AnomalyFacts, target: AnalysisTarget, now_ms: int
) -> FindingInfo:
    return FindingInfo(
        uid=str(_finding_uid(detection)),
        title=clean(f"Anomaly: {target.type} {target.name}"),
        desc=_description(facts),
        types=("Anomaly",),
        analytic=Analytic(
            uid=detection.bundle_id,
            name=detection.detector_name,
            type_id=4,
            type="Learning (ML/DL)",
            version=__version__,
        ),
        data_sources=(facts.source.topic,),
        created_time=now_ms,
    )


def _description(facts: AnomalyFacts) -> str:
    p = facts.tail_probability
    rarity = f"about 1 in {1 / p:,.0f}" if p >= 1e-9 else "fewer than 1 in a billion"
    return (
        f"Reconstruction error {facts.reconstruction_error:.3g}, threshold "
        f"{facts.threshold:.3g}: {rarity} normal vectors deviates this much."
    )


def _message(facts: AnomalyFacts) -> str:
    # A category can be the likeliest and still be reconstructed badly: that explains nothing.
    telling = [f for f in facts.features if shown(f.observed, 2) != shown(f.expected, 2)]
    reasons = [reason(f) for f in (telling or facts.features)[:FEATURES_IN_MESSAGE]]
    return clean("; ".join(reasons) or _description(facts), MAX_LINE)


def _entity(event: EventIdentity) -> AnalysisTarget | None:
    """Whom the alert is about."""
    candidates = (
        ("source", event.source_address),
        *event.entities.items(),
        ("destination", event.destination_address),
    )
    for label, value in candidates:
        if value:
            return AnalysisTarget(type=clean(label), name=str(parse_ip(value) or clean(value)))
    return None


def _target(detection: Detection) -> AnalysisTarget:
    topic = AnalysisTarget(type="topic", name=clean(detection.topic))
    return _entity(detection.event) or topic


def _evidence(event: EventIdentity, flow: Flow, facts: AnomalyFacts) -> Evidence:
    source = _endpoint(event.source_address, flow.source, flow.source_port)
    destination = _endpoint(event.destination_address, flow.destination, flow.destination_port)
    resources = tuple(_resource(*entity) for entity in event.entities.items() if entity[1])
    return Evidence(
        src_endpoint=source,
        dst_endpoint=destination,
        connection_info=_connection(flow, facts.record_id) if source and destination else None,
        resources=resources or None,
        # OCSF wants one of these or an endpoint in every evidence; resources alone do not do.
        data=None if source or destination else {f.name: f.observed for f in facts.features},
    )


def _endpoint(address: str | None, ip: IpAddress | None, port: int | None) -> Endpoint | None:
    if not address:
        return None
    if ip:
        return Endpoint(ip=str(ip), port=port)
    if _HOSTNAME.fullmatch(address):
        return Endpoint(hostname=address, port=port)
    return Endpoint(name=clean(address), port=port)


def _connection(flow: Flow, record_id: str | None) -> ConnectionInfo:
    address = flow.source or flow.destination
    return ConnectionInfo(
        uid=record_id,
        community_uid=flow.community_id,
        protocol_num=flow.protocol,
        protocol_name=flow.protocol_name,
        protocol_ver_id=address.version if address else 0,
        direction_id=0,
    )


def _resource(label: str, value: str) -> Resource:
    ip = parse_ip(value)
    return Resource(type=clean(label), name=clean(value), ip=str(ip) if ip else None)


def _observables(
    evidence: Evidence, record_id: str | None, community_id: str | None
) -> Iterator[Observable]:
    """One for each attribute that an analyst would search other logs for."""
    sides = {"src_endpoint": evidence.src_endpoint, "dst_endpoint": evidence.dst_endpoint}
    for side, endpoint in sides.items():
        if endpoint:
            yield _name_or_address(f"evidences[0].{side}", endpoint, ObservableType.OTHER)
    for i, resource in enumerate(evidence.resources or ()):
        path = f"evidences[0].resources[{i}]"
        yield _name_or_address(path, resource, ObservableType.RESOURCE_NAME)
    path = "evidences[0].connection_info.community_uid"
    for name, caption, value in (
        (path, "Community ID", community_id),
        ("metadata.original_event_uid", "Record ID", record_id),
    ):
        if value:
            yield Observable(name=name, type_id=ObservableType.OTHER, type=caption, value=value)


def _name_or_address(
    path: str, named: Endpoint | Resource, type_of_names: ObservableType
) -> Observable:
    types = {
        "ip": ObservableType.IP_ADDRESS,
        "hostname": ObservableType.HOSTNAME,
        "name": type_of_names,
    }
    attribute = next(attribute for attribute in types if getattr(named, attribute, None))
    return Observable(
        name=f"{path}.{attribute}",
        type_id=types[attribute],
        type=types[attribute].caption,
        value=getattr(named, attribute),
    )


def _analyses(
    target: AnalysisTarget, features: tuple[ExplainedFeature, ...]
) -> tuple[AnomalyAnalysis] | None:
    if not features:
        return None
    analysis = AnomalyAnalysis(
        analysis_targets=(target,),
        anomalies=tuple(_parameter(f.name, f.observed) for f in features),
        baselines=tuple(_parameter(f.name, f.expected) for f in features),
    )
    return (analysis,)


def _parameter(feature: str, value: FeatureValue) -> ObservedParameter:
    return ObservedParameter(
        observation_parameter=feature,
        observation_type="Reconstruction Error Analysis",
        observations=(Observation(value=shown(value)),),
    )


def _facts(detection: Detection, community_id: str | None) -> AnomalyFacts:
    event = detection.event
    return AnomalyFacts(
        reconstruction_error=finite(detection.reconstruction_error),
        threshold=finite(detection.threshold),
        tail_probability=_share(finite(detection.tail_probability, if_nan=1.0)),
        false_alarm_rate=_share(detection.false_alarm_rate),
        features=tuple(explained(feature) for feature in detection.features),
        bundle_id=detection.bundle_id,
        source=SourceRecord(
            topic=clean(detection.topic), partition=detection.partition, offset=detection.offset
        ),
        event_time_ms=_valid_time(event.event_time_ms),
        record_id=clean(event.record_id) if event.record_id else None,
        community_id=community_id,
    )


def _share(number: float) -> float:
    return min(max(number, 0.0), 1.0)

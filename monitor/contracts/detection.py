"""A vector that is told of: whom it is about, when it was, and what its finding is called.

    sighting = sighting_of(detection, now_ms)

Everything that an event says of itself is untrusted: names are bounded and made printable, and a
time that no clock may have shown gives way to the record's, or to the present.
"""

from dataclasses import dataclass, field
from hashlib import sha1
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from monitor.batch import EventIdentity, FeatureDeviation, Partition
from monitor.contracts.network import parse_ip
from monitor.contracts.text import clean
from monitor.detect.incidents import Sighting, Subject

MAX_KEY_BYTES = 1024
EARLIEST_EVENT_MS = 631_152_000_000
"""The year 1990: an earlier time is a clock that was never set."""
CLOCK_SKEW_MS = 86_400_000
"""A day: a later time than this from now is no clock running fast."""
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
    return uuid5_of(_NAMESPACE, f"{bundle_id}/{place}{about}")


def uuid5_of(namespace: UUID, name: str) -> str:
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


def _name(value: str) -> str:
    return str(parse_ip(value) or clean(value))

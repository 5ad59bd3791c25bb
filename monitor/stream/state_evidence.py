"""What is kept of the worst vector of an open incident, so that it can be told of after a restart.

packed = pack(detection)
detection = unpack(packed, with_vector=True)
"""

from typing import Any

import msgspec
import numpy as np
from msgspec import Struct

from monitor.batch import EventIdentity
from monitor.contracts.detection import MAX_KEY_BYTES, Detection
from monitor.contracts.text import clean, plain

MAX_TEXT_BYTES = 200_000
"""Of the texts of one event; they are cut where it has so many features that they would be more."""
LONGEST_TEXT = 4096
_CHARACTER_BYTES = 4


class Event(Struct, array_like=True, frozen=True):
    """An `EventIdentity`."""

    observed: tuple[bool | int | float | str | None, ...]
    record_id: str | None
    event_time_ms: int | None
    source_address: str | None
    source_port: int | None
    destination_address: str | None
    destination_port: int | None
    protocol: str | None
    entities: dict[str, str]


class Evidence(Struct, array_like=True, frozen=True):
    """A `Detection`."""

    topic: str
    partition: int
    offset: int
    within: int
    record_time_ms: int
    record_key: bytes | None
    reconstruction_error: float
    threshold: float
    false_alarm_rate: float
    tail_probability: float
    bundle_id: str
    detector_name: str
    vector: bytes
    event: Event


_encoder, _decoder = msgspec.msgpack.Encoder(), msgspec.msgpack.Decoder(Evidence)


def pack(found: Detection) -> bytes:
    """As bytes; texts as they are shown."""
    event, vector = found.event, found.vector
    longest = MAX_TEXT_BYTES // (_CHARACTER_BYTES * max(len(event.observed), 1))

    def observed(value: Any) -> Any:
        shown = plain(value)
        return shown[:longest] if isinstance(shown, str) else shown

    packed = Evidence(
        found.topic,
        found.partition,
        found.offset,
        found.within,
        found.record_time_ms,
        found.record_key,
        found.reconstruction_error,
        found.threshold,
        found.false_alarm_rate,
        found.tail_probability,
        found.bundle_id,
        found.detector_name,
        b"" if vector is None else vector.astype("<f4").tobytes(),
        Event(
            tuple(map(observed, event.observed)),
            _text(event.record_id),
            event.event_time_ms,
            _text(event.source_address),
            event.source_port,
            _text(event.destination_address),
            event.destination_port,
            _text(event.protocol),
            {clean(label): clean(name) for label, name in event.entities.items()},
        ),
    )
    return _encoder.encode(packed)


def _text(value: str | None) -> str | None:
    return value and clean(value, LONGEST_TEXT)


def unpack(value: bytes, with_vector: bool) -> Detection:
    """What `pack` was given, but for its features.

    Args:
        with_vector: whether vectors mean what they meant, so that it can be explained.

    Raises:
        msgspec.MsgspecError, ValueError: it is no such thing.
    """
    packed = _decoder.decode(value)
    event = {name: getattr(packed.event, name) for name in Event.__struct_fields__}
    return Detection(
        packed.topic,
        packed.partition,
        packed.offset,
        packed.record_time_ms,
        EventIdentity(**event),
        packed.reconstruction_error,
        packed.threshold,
        packed.false_alarm_rate,
        packed.tail_probability,
        (),
        packed.bundle_id,
        packed.detector_name,
        packed.record_key and packed.record_key[:MAX_KEY_BYTES],
        np.frombuffer(packed.vector, "<f4").copy() if with_vector and packed.vector else None,
        packed.within,
    )

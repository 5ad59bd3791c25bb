"""Dead letters: records that are no vectors, kept as they came, with the reason in headers.

    letter = render_dead_letter(record, reject.reason, reject.error, now_ms)
    producer.send(topic, key=letter.key, value=letter.value, headers=letter.headers)

Key, value and the producer's headers are the original ones, byte for byte, so that a dead letter
can be produced again once its cause is mended. Only where the dead-letter topic could not take
them are they cut, and then the headers say so.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field

from monitor import __version__
from monitor.batch import Record
from monitor.contracts.text import clean
from monitor.reasons import Reason

PREFIX = "anomaly-monitor."
MAX_ERROR_TEXT = 256
MAX_DEAD_LETTER_BYTES = 16_000_000
"""As much as a topic may be made to take; the sink cuts what its topic takes no more of."""

_ORIGIN = ("topic", "partition", "offset")
MAX_HEADERS = 128
"""Of a record's own headers so many are kept: as objects they take thirty times their bytes."""

_RECORD_OVERHEAD_BYTES = 100
_HEADER_OVERHEAD_BYTES = 10

Header = tuple[str, bytes]


def _header_name(field: str) -> str:
    return PREFIX + field


class DeadLetterHeaders(BaseModel):
    """The headers that the monitor adds to a dead letter.

    Each value is UTF-8 text on the wire; integers are decimal.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=_header_name, populate_by_name=True
    )

    reason: Reason = Field(description="Label of anomaly_monitor_dead_letters_total.")
    error: str = Field(max_length=MAX_ERROR_TEXT, description="What was wrong, for people.")
    topic: str = Field(description="Where the record was read.")
    partition: int = Field(ge=0)
    offset: int = Field(ge=0)
    record_time_ms: int = Field(description="Timestamp of the record; -1 where it has none.")
    time_ms: int = Field(ge=0, description="When the monitor refused it.")
    version: str = Field(description="Of the monitor.")
    vectors: int | None = Field(
        default=None,
        ge=1,
        description="How many the record says it holds, where that is more than one; none of them "
        "was scored.",
    )
    truncated: str | None = Field(
        default=None,
        pattern="^value(,headers(,key)?)?$",
        description="Which parts were too large for the topic and are cut or missing.",
    )
    original_headers: int | None = Field(
        default=None,
        ge=0,
        description=f"How many the record had, where only the first {MAX_HEADERS} are kept.",
    )
    original_value_bytes: int | None = Field(
        default=None, ge=0, description="Size of the whole value, with `truncated`."
    )
    original_value_sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = Field(
        default=None, description="Of the whole value, with `truncated`."
    )

    def to_headers(self) -> list[Header]:
        """As Kafka headers, in the order of the fields."""
        return _headers(self.model_dump(mode="json"))

    @classmethod
    def from_headers(cls, headers: Sequence[Header]) -> Self:
        """Read them back from all headers of a dead letter.

        Raises:
            pydantic.ValidationError: the record is no dead letter of ours.
        """
        ours = {name: value.decode() for name, value in headers if name.startswith(PREFIX)}
        return cls.model_validate(ours)


_ORIGINAL_HEADERS = _header_name("original_headers")


def kept_headers(headers: Sequence[Header]) -> Sequence[Header]:
    """The first of many headers, and one that says how many there were."""
    if len(headers) <= MAX_HEADERS:
        return headers
    return [*headers[:MAX_HEADERS], (_ORIGINAL_HEADERS, str(len(headers)).encode())]


def origin_of(headers: Sequence[Header]) -> tuple[str, int, int] | None:
    """Topic, partition and offset of the record of a dead letter; None where it is none of ours."""
    named = dict(headers)
    try:
        topic, partition, offset = (named[PREFIX + part] for part in _ORIGIN)
        return topic.decode(), int(partition), int(offset)
    except (KeyError, ValueError):
        return None


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A record for the dead-letter topic."""

    key: bytes | None
    value: bytes | None
    headers: list[Header]


def render_dead_letter(
    record: Record,
    reason: Reason,
    error: str,
    now_ms: int,
    max_bytes: int = MAX_DEAD_LETTER_BYTES,
    vectors: int = 1,
) -> DeadLetter:
    """The dead letter of a refused record of so many vectors, of at most `max_bytes` (>= 4,000).

    A record that would not fit loses first the end of its value, then its producer's headers, then
    the end of its key: nobody can stop the stream by sending what cannot be refused.
    """
    theirs = [header for header in record.headers if not header[0].startswith(PREFIX)]
    ours = _describe(record, reason, error, now_ms, vectors)
    value = None if record.value is None else bytes(record.value)  # no client takes an Unread
    letter = DeadLetter(record.key, value, theirs + _headers(ours))
    if _size(letter) <= max_bytes:
        return letter
    return _fit(record, theirs, ours, max_bytes)


def _describe(
    record: Record, reason: Reason, error: str, now_ms: int, vectors: int
) -> dict[str, Any]:
    """The fields of `DeadLetterHeaders`, in their order."""
    return {
        "reason": reason,
        "error": clean(error, MAX_ERROR_TEXT),
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "record_time_ms": record.timestamp,
        "time_ms": now_ms,
        "version": __version__,
        "vectors": vectors if vectors > 1 else None,
        "original_headers": _had_headers(record.headers),
    }


def _had_headers(headers: Sequence[Header]) -> int | None:
    """What `kept_headers` says; anyone may have written such a header."""
    name, count = headers[-1] if headers else ("", b"")
    return (
        int(count)
        if name == _ORIGINAL_HEADERS and count and len(count) < 19 and count.isdigit()
        else None
    )


def _headers(fields: Mapping[str, Any]) -> list[Header]:
    said = fields.items()
    return [(PREFIX + name, str(value).encode()) for name, value in said if value is not None]


def _fit(record: Record, theirs: list[Header], ours: dict[str, Any], max_bytes: int) -> DeadLetter:
    value = record.value or b""
    cuts: tuple[tuple[str, list[Header], bytes | None], ...] = (
        ("value", theirs, record.key),
        ("value,headers", [], record.key),
    )
    for truncated, headers, key in cuts:
        said = _headers(ours | _truncation(truncated, value))
        room = max_bytes - _size(DeadLetter(key, b"", headers + said))
        if room >= 0:
            return DeadLetter(key, value[:room], headers + said)
    said = _headers(ours | _truncation("value,headers,key", value))
    room = max_bytes - _size(DeadLetter(b"", b"", said))
    return DeadLetter((record.key or b"")[:room], b"", said)


def _truncation(parts: str, value: bytes) -> dict[str, str | int]:
    return {
        "truncated": parts,
        "original_value_bytes": len(value),
        "original_value_sha256": hashlib.sha256(value).hexdigest(),
    }


def _size(letter: DeadLetter) -> int:
    """An upper bound of the bytes that a record takes on the wire, uncompressed."""
    headers = sum(
        len(name.encode()) + len(value or b"") + _HEADER_OVERHEAD_BYTES
        for name, value in letter.headers
    )
    return len(letter.key or b"") + len(letter.value or b"") + headers + _RECORD_OVERHEAD_BYTES

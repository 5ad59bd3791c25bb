"""How state is written into its topic, and read back: the records of a compacted topic.

    value = encode(Part(generation=3, writer=7, serial=0, chunks=1, shared=..., levels=...))
    part = decode(value)

Of each input partition there is a snapshot, in one or more records, and what has changed since, in
numbered records. Their keys are used again and again, so that compaction leaves few of them, and
which belong together is told by the generation, not by what happens to be left. A value is MAGIC, a
byte that says the format, then MessagePack. Nothing that it says is believed before it is checked.

Fields may be added at the end of a structure, with a default: older and newer monitors read both.
Anything else is a new format, which an older monitor refuses in a sentence.
"""

from collections.abc import Sequence
from typing import Annotated, Any, NamedTuple, Self

import msgspec
import numpy as np
import orjson
from msgspec import Meta, Struct
from numpy.typing import NDArray

from monitor.batch import Partition
from monitor.contracts.text import clean
from monitor.detect.entity_table import ROW, Levels
from monitor.detect.incidents import Subject
from monitor.detect.spikes import Spike
from monitor.detect.stream_clock import StreamClock
from monitor.errors import StreamError
from monitor.stream.state_evidence import unpack
from monitor.stream.tuning import Tuned

MAGIC, FORMAT = b"state", 1
MAX_RECORD_BYTES = 700_000
"""About what a record holds at most; topics take 1 MB by default."""
MAX_SLOT = 10_000_000
"""As many as the setting spikes.max_entities allows."""
SNAPSHOT, CHANGE = "s", "c"

Count = Annotated[int, Meta(ge=0)]
Uuid = Annotated[str, Meta(pattern="^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")]


class CorruptError(Exception):
    """A record that is none of ours, or is damaged."""


class Key(NamedTuple):
    """Of a record. `kind` is SNAPSHOT or CHANGE; a snapshot's place also tells odd generations."""

    group: str
    topic: str
    partition: int
    kind: str
    place: int

    def encode(self) -> bytes:
        """As JSON, for people to read."""
        return orjson.dumps(list(self))

    @property
    def home(self) -> Partition:
        """The input partition whose state it is of."""
        return Partition(self.topic, self.partition)

    @staticmethod
    def prefix(group: str) -> bytes:
        """How the keys of a group begin."""
        return orjson.dumps([group])[:-1] + b","

    @staticmethod
    def may_be(key: bytes | None) -> bool:
        """Whether it looks like that of any group."""
        return key is not None and key.startswith(b'["')

    @staticmethod
    def decode(key: bytes) -> "Key":
        """Raises:
        CorruptError: it is none.
        """
        try:
            return msgspec.json.decode(key, type=Key)
        except (msgspec.MsgspecError, UnicodeError) as error:
            raise CorruptError(str(error)) from error


class Shared(Struct, array_like=True, frozen=True):
    """What a process has but once, at the time of a record; each of its partitions takes it along.

    Attributes:
        stamp: grows with each write of a process, and from one process to the next.
        timeline: tells processes apart: elapsed times and turns of two do not compare.
        spec: of the vectors in evidence, by its digest.
        detector: whose threshold was tuned, by the digest of its weights.
        tokens, counted_ms: of the bucket that limits incidents; see `Incidents`.
        window_ms, turn, stream: of levels, and the row of the stream; 0 and empty without any.
    """

    stamp: int
    timeline: int
    spec: str
    detector: str
    clock: StreamClock
    tokens: float
    counted_ms: int
    window_ms: Count
    turn: Count
    stream: bytes
    tuned: Tuned


class Entry(Struct, array_like=True, frozen=True):
    """An open incident.

    Attributes:
        evidence: see `monitor.stream.state_evidence`; empty where it is as it was.
    """

    subject: Subject
    uid: Uuid
    vectors: Count
    first_seen_ms: int
    last_seen_ms: int
    tail_probability: float
    error: float
    spike: Spike | None
    created_ms: int
    told_ms: int
    touched_ms: int
    reports: Count
    untold: bool
    evidence: bytes


class Packed(Struct, array_like=True, frozen=True):
    """`Levels`, as the bytes of their arrays."""

    slots: bytes
    names: list[str]
    rows: bytes
    seen: bytes
    counted: bytes
    counts: bytes
    gone: bytes
    turn: Count

    @classmethod
    def of(cls, levels: Levels) -> Self:
        """Levels as they are written."""
        return cls(
            levels.slots.tobytes(),
            _writable(levels.names),
            levels.rows.tobytes(),
            levels.seen.tobytes(),
            levels.counted.tobytes(),
            levels.counts.tobytes(),
            levels.gone.tobytes(),
            levels.turn,
        )

    def unpack(self) -> Levels:
        """Levels that were written.

        Raises:
            ValueError: they are none.
        """
        slots, counted, gone = (
            _array(data, np.dtype("<i4")) for data in (self.slots, self.counted, self.gone)
        )
        for some in (slots, counted, gone):
            if len(some) and not 1 <= some.min() <= some.max() <= MAX_SLOT:
                raise ValueError("a slot is out of range")
        rows, seen = _array(self.rows, ROW), _array(self.seen, np.dtype("<i8"))
        counts = _array(self.counts, np.dtype("<f8")).reshape(-1, 3)
        if not len(slots) == len(self.names) == len(rows) == len(seen):
            raise ValueError("its rows are not as many as their slots")
        if len(counted) != len(counts):
            raise ValueError("its counts are not as many as their slots")
        return Levels(slots, self.names, rows, seen, counted, counts, gone, self.turn)


class Part(Struct, array_like=True, frozen=True):
    """A record's value.

    Attributes:
        generation, writer: those of one snapshot and of what has changed since are the same.
        serial: which of the chunks of the snapshot, or which change since it.
        chunks: in the snapshot; 0 in a change.
        closed: they went before those that are open came.
    """

    generation: Count
    writer: int
    serial: Count
    chunks: Count
    shared: Shared | msgspec.Raw
    closed: list[Subject]
    open: list[Entry]
    levels: Packed


class _Part(Part, array_like=True, frozen=True):
    shared: Shared


_HEAD = len(MAGIC) + 1
_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Part)


def encode(part: Part) -> bytes:
    """A record's value."""
    return MAGIC + bytes([FORMAT]) + _encoder.encode(part)


def encode_shared(shared: Shared) -> msgspec.Raw:
    """Once for all records of a write."""
    return msgspec.Raw(_encoder.encode(shared))


def decode(value: bytes | None) -> Part:
    """What a record's value says.

    Raises:
        CorruptError: nothing that can be used.
        StreamError: it is of a newer monitor.
    """
    if not value or not value.startswith(MAGIC) or len(value) <= _HEAD:
        raise CorruptError("it is no state")
    if (written := value[_HEAD - 1]) > FORMAT:
        raise StreamError(
            f"state of format {written} was written by a newer monitor, and this one knows up to "
            f"{FORMAT}; run the newer one."
        )
    try:
        part = _decoder.decode(memoryview(value)[_HEAD:])
        part.levels.unpack()
        _array(part.shared.stream, ROW)
        for entry in part.open:
            if entry.evidence:
                unpack(entry.evidence, with_vector=True)
    except (msgspec.MsgspecError, ValueError, UnicodeError) as error:
        raise CorruptError(str(error)) from error
    return part


def _writable(names: Sequence[str]) -> list[str]:
    """The names, where they are text at all; lone surrogates are none."""
    try:
        "".join(names).encode()
    except UnicodeEncodeError:
        return [clean(name, len(name)) for name in names]
    return list(names)


def _array(data: bytes, dtype: np.dtype[Any]) -> NDArray[Any]:
    return np.frombuffer(data, dtype)

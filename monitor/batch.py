"""The values that walk through the house: what was polled, what it decoded to, what was refused."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from monitor.reasons import Reason

Matrix = NDArray[np.float32]
Vector64 = NDArray[np.float64]
Indices = NDArray[np.int64]


class Partition(NamedTuple):
    """A topic-partition, as a plain value."""

    topic: str
    partition: int


class Record(Protocol):
    """One Kafka record, as the client returns it."""

    @property
    def topic(self) -> str: ...
    @property
    def partition(self) -> int: ...
    @property
    def offset(self) -> int: ...
    @property
    def timestamp(self) -> int: ...
    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...
    @property
    def headers(self) -> Sequence[tuple[str, bytes]]: ...


class Unread(bytes):
    """The value of a record that could not be read without harm: empty, and why."""

    error: str

    def __new__(cls, error: str) -> "Unread":
        value = super().__new__(cls)
        value.error = error
        return value


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """Records polled together, and the offset to go on from once they are dealt with.

    Attributes:
        epoch: under which assignment they were polled; see `monitor.stream.ledger`.
        first_offsets: where each partition was read on from: the next offset of its micro-batch
            before, or the committed one. Before the first record there may be offsets without any:
            of control records, aborted transactions, compaction. Of a partition that is left out
            it is its first record's.
    """

    records: Sequence[Record]
    next_offsets: Mapping[Partition, int]
    epoch: int = 0
    first_offsets: Mapping[Partition, int] = field(default_factory=dict)


def joined(batches: Sequence[MicroBatch]) -> MicroBatch:
    """Some micro-batches of one epoch, one after the other, as one."""
    if len(batches) == 1:
        return batches[0]
    return MicroBatch(
        [record for batch in batches for record in batch.records],
        {p: offset for batch in batches for p, offset in batch.next_offsets.items()},
        batches[0].epoch,
        {p: offset for batch in reversed(batches) for p, offset in batch.first_offsets.items()},
    )


@dataclass(frozen=True, slots=True)
class Picked(Sequence[Any]):
    """Some items of a sequence, looked up only when they are asked for."""

    items: Sequence[Any]
    positions: Indices

    def __len__(self) -> int:
        return len(self.positions)

    def __getitem__(self, index: Any) -> Any:
        chosen = self.positions[index].tolist()
        return [self.items[n] for n in chosen] if isinstance(index, slice) else self.items[chosen]


@dataclass(frozen=True, slots=True)
class Origins:
    """Who each of n vectors is about and when it was, as the events themselves say.

    Attributes:
        entities: (n,) int32, position of the entity in `names`; -1 where the event names none.
        names: each entity once, as the events spell it, of bounded length.
        times: each event's time, as it stands there; None where it has none.
    """

    entities: NDArray[np.int32]
    names: Sequence[str]
    times: Sequence[Any]

    def at(self, positions: Indices) -> "Origins":
        """Those of some of the vectors, with the names of their entities alone."""
        entities = self.entities[positions]
        named = np.unique(entities[entities >= 0])
        codes = np.full(len(self.names) + 1, -1, np.int32)  # the last is that of -1
        codes[named] = np.arange(len(named))
        names = [self.names[entity] for entity in named.tolist()]
        return Origins(codes[entities], names, Picked(self.times, positions))


@dataclass(frozen=True, slots=True)
class VectorBatch:
    """N vectors, columnar.

    Attributes:
        values: (n, f) float32, features in spec order; numeric in natural units, boolean as 0 or 1,
            categorical as the code of the value in its vocabulary, 0 for an unseen one.
        rows: (n,) int64, position of each vector's record in the micro-batch or file.
        origins: where the codec was asked for them.
        within: (n,) int32, position of each vector in its record; -1 where the record is the
            vector. None where that holds for all.
    """

    values: Matrix
    rows: Indices
    origins: Origins | None = None
    within: NDArray[np.int32] | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def at(self, positions: Indices) -> "VectorBatch":
        """Some of the vectors."""
        return VectorBatch(
            self.values[positions],
            self.rows[positions],
            self.origins and self.origins.at(positions),
            None if self.within is None else self.within[positions],
        )


@dataclass(frozen=True, slots=True)
class Reject:
    """A record that is no vector of the spec: which one, and why.

    Attributes:
        vectors: how many it claims to hold, as far as it can be told.
    """

    row: int
    reason: Reason
    error: str
    vectors: int = 1


@dataclass(frozen=True, slots=True)
class Decoded:
    """What a codec makes of records: vectors, rejects, and how many the spec did not select.

    Attributes:
        passed_over: how many each record holds that the spec did not select, where it is known.
    """

    batch: VectorBatch
    rejects: Sequence[Reject] = ()
    not_selected: int = 0
    passed_over: Mapping[int, int] = field(default_factory=dict)

    @property
    def first_reject(self) -> str | None:
        """Which row was rejected first, counted from 1, and what is wrong with it."""
        if not self.rejects:
            return None
        return f"row {self.rejects[0].row + 1}: {self.rejects[0].error}"


@dataclass(frozen=True, slots=True)
class EventIdentity:
    """What an anomalous event says of itself; read only for those few rows.

    Attributes:
        observed: the features' raw values in spec order, as the event holds them.
        event_time_ms: milliseconds since 1970, where the event has a readable time.
    """

    observed: tuple[Any, ...]
    record_id: str | None = None
    event_time_ms: int | None = None
    source_address: str | None = None
    source_port: int | None = None
    destination_address: str | None = None
    destination_port: int | None = None
    protocol: str | None = None
    entities: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FeatureDeviation:
    """One feature of an anomalous vector.

    Attributes:
        observed: the value in the event; expected: the reconstructed one; both in natural units.
        share: its part of what is wrong with the vector, in [0, 1].
        usual: of a categorical feature the most frequent values in training, of any other the
            smallest and the largest; empty where nothing is known of them.
        unseen: whether the value lies outside of all that training saw.
    """

    name: str
    observed: Any
    expected: Any
    share: float
    usual: tuple[Any, ...] = ()
    unseen: bool = False

"""What is fetched and not yet taken: a micro-batch that grows, and a short queue of full ones.

The source's thread fills it and waits while it is full; the scoring thread takes from it; a
rebalance takes out what is no longer ours.
"""

from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from operator import attrgetter
from threading import Condition

from monitor.batch import MicroBatch, Partition, Record
from monitor.stream.ledger import Ledger

_VALUE = attrgetter("value")


class Backlog:
    """At most `capacity` micro-batches, in order; each is entered in the ledger when it is full.

    Args:
        max_records, max_bytes: what a micro-batch holds at most; the last poll may pass the latter.
    """

    def __init__(self, ledger: Ledger, capacity: int, max_records: int, max_bytes: int) -> None:
        self._ledger, self._capacity = ledger, capacity
        self._max_records, self._max_bytes = max_records, max_bytes
        self._queue: deque[MicroBatch] = deque()
        self._waiting = 0
        self._read_to: dict[Partition, int] = {}
        self._begin()
        self._changed = Condition()
        self._closed = False

    def _begin(self) -> None:
        self._records: list[Record] = []
        self._first_offsets: dict[Partition, int] = {}
        self._next_offsets: dict[Partition, int] = {}
        self._bytes = 0

    def add(self, polled: Mapping[Partition, Sequence[Record]]) -> None:
        """Add records to the growing micro-batch; one in which offsets went back would be two."""
        if any(rs[0].offset < self._next_offsets.get(p, 0) for p, rs in polled.items()):
            self.seal()
        for partition, records in polled.items():
            self._records += records
            self._bytes += _bytes(records)
            first = min(self._read_to.get(partition, records[0].offset), records[0].offset)
            self._first_offsets.setdefault(Partition(*partition), first)
            self._read_to[Partition(*partition)] = records[-1].offset + 1
            self._next_offsets[Partition(*partition)] = records[-1].offset + 1

    def go_on_from(self, positions: Mapping[Partition, int | None]) -> None:
        """Reading of these goes on from there; None: from whatever record comes first."""
        for partition, position in positions.items():
            self._read_to.pop(partition, None)
            if position is not None:
                self._read_to[partition] = position

    @property
    def room(self) -> int:
        """How many more records the growing micro-batch takes."""
        return self._max_records - len(self._records) if self._bytes < self._max_bytes else 0

    @property
    def is_awaited(self) -> bool:
        """Whether somebody has nothing to do until the growing micro-batch is sealed."""
        return self._waiting > 0 and not self._queue

    def seal(self) -> None:
        """End the growing micro-batch and put it in the queue, if it holds anything."""
        with self._changed:
            if self._records:
                epoch = self._ledger.assignment().epoch
                batch = MicroBatch(self._records, self._next_offsets, epoch, self._first_offsets)
                self._ledger.hand_out(self._first_offsets, batch.next_offsets)
                self._begin()
                self._queue.append(batch)
                self._changed.notify_all()

    def take(self, timeout_s: float) -> MicroBatch | None:
        """The oldest micro-batch, or None when there is none within the time."""
        with self._changed:
            self._waiting += timeout_s > 0
            self._changed.wait_for(lambda: self._queue or self._closed, timeout_s)
            self._waiting -= timeout_s > 0
            if not self._queue:
                return None
            self._changed.notify_all()
            return self._queue.popleft()

    def full_for(self, timeout_s: float) -> bool:
        """Whether the queue is full and stays so for this long."""
        return not self._wait(lambda: len(self._queue) < self._capacity, timeout_s)

    def pause(self, timeout_s: float) -> None:
        """Wait, unless it is closed meanwhile."""
        self._wait(lambda: False, timeout_s)

    def drop(self, partitions: Collection[Partition]) -> None:
        """Forget the records of these."""
        dropped: list[Partition] = []

        def keep(records: Sequence[Record]) -> list[Record]:
            return [r for r in records if _of(r) not in partitions]

        with self._changed:
            batches, self._queue = self._queue, deque()
            for batch in batches:
                dropped += [p for p in batch.next_offsets if p in partitions]
                if kept := keep(batch.records):
                    ends = _without(batch.next_offsets, partitions)
                    starts = _without(batch.first_offsets, partitions)
                    self._queue.append(MicroBatch(kept, ends, batch.epoch, starts))
            self._ledger.take_back(dropped)
            self.go_on_from(dict.fromkeys(partitions))
            self._records = keep(self._records)
            self._bytes = _bytes(self._records)
            self._first_offsets = _without(self._first_offsets, partitions)
            self._next_offsets = _without(self._next_offsets, partitions)
            self._changed.notify_all()

    def close(self) -> None:
        """Nobody waits any more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _wait(self, condition: Callable[[], bool], timeout_s: float) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: condition() or self._closed, timeout_s)


def _bytes(records: Sequence[Record]) -> int:
    return sum(map(len, filter(None, map(_VALUE, records))))


def _of(record: Record) -> Partition:
    return Partition(record.topic, record.partition)


def _without(
    offsets: Mapping[Partition, int], partitions: Collection[Partition]
) -> dict[Partition, int]:
    return {p: offset for p, offset in offsets.items() if p not in partitions}

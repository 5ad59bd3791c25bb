"""Which offsets may be committed: bookkeeping for the partitions that are assigned.

An acknowledgement counts only for records handed out since their partition was assigned. One that
comes late, after a revocation, is thus ignored even when the partition has come back since.

Positions may go back: a topic that is made anew begins at 0. From then on only what is handed out
since counts. Acknowledgements come in the order of handing out, though not of everything; so one
that may be of a record of before is taken to be.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from threading import Lock

from monitor.batch import Partition, Record
from monitor.stream.contracts import Assignment, Offsets


@dataclass(slots=True)
class _Progress:
    """Offsets to go on from; -1 where there is none yet since the assignment.

    Attributes:
        before: what was handed out before the position went back, while it may be acknowledged.
    """

    first: int = -1
    handed_out: int = -1
    acknowledged: int = -1
    committed: int = -1
    before: "_Progress | None" = None

    @property
    def settled(self) -> int:
        return max(self.acknowledged, self.first)

    @property
    def in_flight(self) -> bool:
        return self.settled < self.handed_out

    def acknowledge(self, offset: int) -> bool:
        """Whether it is of what was handed out here, or before."""
        if self.before and self.before.acknowledge(offset):
            return True
        if not self.settled < offset <= self.handed_out:
            return False
        self.acknowledged, self.before = offset, None
        return True


class Ledger:
    """Progress of each assigned partition; safe to use from several threads."""

    def __init__(self) -> None:
        self._partitions: dict[Partition, _Progress] = {}
        self._lock = Lock()
        self._epoch = 0

    def assignment(self) -> Assignment:
        """The partitions that are ours at this moment."""
        with self._lock:
            return Assignment(self._epoch, frozenset(self._partitions))

    def assign(self, partitions: Iterable[Partition]) -> None:
        """These are ours from now on, with nothing handed out."""
        with self._lock:
            self._partitions |= {partition: _Progress() for partition in partitions}

    def revoke(self, partitions: Iterable[Partition]) -> None:
        """These are no longer ours; what becomes of their records is no more our concern."""
        with self._lock:
            for partition in partitions:
                self._epoch += self._partitions.pop(partition, None) is not None

    def hand_out(self, first_offsets: Offsets, next_offsets: Offsets) -> None:
        """The records from the first of these offsets on go to whoever deals with them."""
        with self._lock:
            for partition, offset in next_offsets.items():
                if progress := self._partitions.get(partition):
                    if first_offsets[partition] < progress.handed_out:
                        progress = self._partitions[partition] = _Progress(before=progress)
                    if progress.first < 0:
                        progress.first = first_offsets[partition]
                    progress.handed_out = offset

    def take_back(self, records: Iterable[Record]) -> None:
        """These records, the last handed out of their partitions, will not be dealt with."""
        with self._lock:
            for record in records:
                if progress := self._partitions.get(Partition(record.topic, record.partition)):
                    progress.handed_out = min(progress.handed_out, record.offset)

    def acknowledge(self, next_offsets: Offsets) -> None:
        """Everything before these offsets is dealt with."""
        with self._lock:
            for partition, offset in next_offsets.items():
                if progress := self._partitions.get(partition):
                    progress.acknowledge(offset)

    def to_commit(self, partitions: Collection[Partition] | None = None) -> dict[Partition, int]:
        """What is acknowledged and not committed yet, of these partitions or of all."""
        with self._lock:
            return {
                partition: progress.acknowledged
                for partition, progress in self._partitions.items()
                if progress.acknowledged > progress.committed
                and (partitions is None or partition in partitions)
            }

    def committed(self, offsets: Mapping[Partition, int]) -> None:
        """The broker has these offsets."""
        with self._lock:
            for partition, offset in offsets.items():
                progress = self._partitions.get(partition)
                if progress and offset <= progress.acknowledged:  # or it is of before it went back
                    progress.committed = max(progress.committed, offset)

    def in_flight(self, partitions: Collection[Partition]) -> bool:
        """Whether records of any of these are handed out and not acknowledged."""
        with self._lock:
            progress = (self._partitions.get(partition) for partition in partitions)
            return any(p.in_flight for p in progress if p)

    def settled(self) -> dict[Partition, int | None]:
        """For each partition the offset to go on from; None where nothing is in flight."""
        with self._lock:
            return {
                partition: progress.settled if progress.in_flight else None
                for partition, progress in self._partitions.items()
            }

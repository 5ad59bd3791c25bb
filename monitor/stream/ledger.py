"""Which offsets may be committed: bookkeeping for the partitions that are assigned.

An acknowledgement counts only for records handed out since their partition was assigned. One that
comes late, after a revocation, is thus ignored even when the partition has come back since.

Positions may go back: a topic that is made anew begins at 0. From then on only what is handed out
since counts. Acknowledgements come in the order of handing out, though not of everything; so one
that may be of a record of before is taken to be.

What was handed out under one epoch and is written under another may no longer be ours. The epoch
goes up before the group's next generation begins; see `monitor.stream.membership`.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from threading import Lock

from monitor.batch import Partition
from monitor.stream.contracts import Assignment, Offsets


@dataclass(slots=True)
class _Progress:
    """Offsets to go on from; -1 where there is none yet since the assignment.

    Attributes:
        first: everything before it had been dealt with when the partition came.
        ends: next offsets of what is handed out and not acknowledged, in order. Between two of them
            there may be offsets without a record: of control records, aborted transactions,
            compaction.
        before: what was handed out before the position went back, while it may be acknowledged.
    """

    first: int = -1
    acknowledged: int = -1
    committed: int = -1
    ends: list[int] = field(default_factory=list)
    before: "_Progress | None" = None

    @property
    def settled(self) -> int:
        return max(self.acknowledged, self.first)

    @property
    def reached(self) -> int:
        return self.ends[-1] if self.ends else self.settled

    @property
    def in_flight(self) -> bool:
        """Whether anything is handed out and not acknowledged, also of before."""
        return bool(self.ends) or self.before_in_flight

    @property
    def before_in_flight(self) -> bool:
        return self.before is not None and self.before.in_flight

    def gone_back(self) -> "_Progress":
        """Nothing is handed out from there on yet."""
        return _Progress(before=self if self.ends else self.before)

    def take_back(self) -> None:
        """What was handed out last will not be acknowledged."""
        if self.ends:
            self.ends.pop()
        elif self.before:
            self.before.take_back()

    def acknowledge(self, offset: int) -> bool:
        """Whether it is of what was handed out here, or before."""
        if self.before and self.before.acknowledge(offset):
            return True
        if not (self.ends and self.settled < offset <= self.ends[-1]):
            return False
        self.acknowledged, self.before = offset, None
        self.ends = [end for end in self.ends if end > offset]
        return True


class Ledger:
    """Progress of each assigned partition; safe to use from several threads.

    Attributes:
        commits: whether what is acknowledged is still to be committed. Not where offsets are
            committed with the outputs, in one transaction: there it has been.
    """

    def __init__(self) -> None:
        self.commits = True
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

    def begin_afresh(self) -> None:
        """Nothing is handed out, of any partition; what was is of an epoch that is over."""
        with self._lock:
            self._epoch += 1
            self._partitions = {partition: _Progress() for partition in self._partitions}

    def begin_at(self, positions: Offsets) -> None:
        """Where nothing is handed out yet, it will be from these offsets on."""
        with self._lock:
            for partition, offset in positions.items():
                progress = self._partitions.get(partition)
                if progress and not progress.ends and progress.acknowledged < 0:
                    progress.first = offset

    def hand_out(self, first_offsets: Offsets, next_offsets: Offsets) -> None:
        """The records from the first of these offsets on go to whoever deals with them."""
        with self._lock:
            for partition, offset in next_offsets.items():
                if progress := self._partitions.get(partition):
                    if first_offsets[partition] < progress.reached:
                        progress = self._partitions[partition] = progress.gone_back()
                    if progress.reached < 0:
                        progress.first = first_offsets[partition]
                    progress.ends.append(offset)

    def went_back(self, partitions: Iterable[Partition]) -> None:
        """These go on from elsewhere; where they stand is unknown until a position is told."""
        with self._lock:
            for partition in partitions:
                if progress := self._partitions.get(partition):
                    self._partitions[partition] = progress.gone_back()

    def take_back(self, partitions: Iterable[Partition]) -> None:
        """Each time one is named, what was handed out last of it will not be dealt with."""
        with self._lock:
            for partition in partitions:
                if progress := self._partitions.get(partition):
                    progress.take_back()

    def acknowledge(self, next_offsets: Offsets) -> None:
        """Everything before these offsets is dealt with."""
        with self._lock:
            for partition, offset in next_offsets.items():
                if progress := self._partitions.get(partition):
                    progress.acknowledge(offset)
                    if not self.commits:
                        progress.committed = progress.acknowledged

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
                partition: progress.settled if progress.ends else None
                for partition, progress in self._partitions.items()
            }

    def standing(self) -> tuple[int, dict[Partition, int]]:
        """The epoch, and for each partition the offset before which all is dealt with.

        A partition whose position is not known yet is left out, and so is one that has gone back
        while records of before are in flight.
        """
        with self._lock:
            settled = {
                partition: progress.settled
                for partition, progress in self._partitions.items()
                if not progress.before_in_flight
            }
            return self._epoch, {p: offset for p, offset in settled.items() if offset >= 0}

"""Whatever the group does and in whatever order: nothing unwritten is committed, nothing twice.

Topics are made anew meanwhile: what was written of the old one is not of the new one.

A member with its ledger and its backlog reads two partitions with gaps in their offsets, another
takes them over in between, and both write. It is the order of events that is random; the threads
that bring them about are those of `monitor.stream.polling`.
"""

from collections import deque
from collections.abc import Iterable

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from monitor.batch import MicroBatch, Partition
from monitor.stream.backlog import Backlog
from monitor.stream.ledger import Ledger
from tests.unit.test_ledger import Fetched

PARTITIONS = [Partition("t", 0), Partition("t", 1)]
LOG = [n for n in range(400) if n % 7 not in (2, 3)]
"""Offsets that have a record; as many in each partition."""

partitions = st.sampled_from(PARTITIONS)
some = st.sets(partitions, min_size=1)
few = st.integers(1, 9)


class AtLeastOnce(RuleBasedStateMachine):
    """What is acknowledged is committed by and by; what was not is written again."""

    commits = True

    def __init__(self) -> None:
        super().__init__()
        self.ledger = Ledger()
        self.ledger.commits = self.commits
        self.backlog = Backlog(self.ledger, capacity=1000, max_records=1000, max_bytes=10**6)
        self.in_hand: deque[MicroBatch] = deque()
        self.positions: dict[Partition, int] = {}
        self.committed = dict.fromkeys(PARTITIONS, 0)
        self.written: dict[Partition, list[int]] = {p: [] for p in PARTITIONS}
        self.made = dict.fromkeys(PARTITIONS, b"")
        self.gone_back: set[Partition] = set()

    @property
    def ours(self) -> frozenset[Partition]:
        return self.ledger.assignment().partitions

    def begin_at_committed(self, partitions: Iterable[Partition]) -> None:
        committed = {p: self.committed[p] for p in partitions}
        self.positions |= committed
        self.gone_back -= committed.keys()
        self.ledger.begin_at(committed)
        self.backlog.go_on_from(committed)

    @rule(partitions=some)
    def assign(self, partitions: set[Partition]) -> None:
        added = partitions - self.ours
        self.ledger.assign(added)
        self.begin_at_committed(added)

    @rule(partition=partitions, count=few)
    def poll(self, partition: Partition, count: int) -> None:
        if partition in self.ours:
            offsets = [n for n in LOG if n >= self.positions[partition]][:count]
            if offsets:
                fetched = [Fetched(*partition, offset, self.made[partition]) for offset in offsets]
                self.backlog.add({partition: fetched})  # type: ignore[dict-item]
                self.positions[partition] = offsets[-1] + 1

    @rule()
    def seal(self) -> None:
        self.backlog.seal()

    @rule()
    def take(self) -> None:
        if batch := self.backlog.take(0):
            self.in_hand.append(batch)

    @rule()
    def write(self) -> None:
        """Deal with the oldest in hand, unless it is no longer ours."""
        if not self.in_hand:
            return
        if self.in_hand[0].epoch != self.ledger.assignment().epoch:
            self.rewind()
            return
        batch = self.in_hand.popleft()
        for record in batch.records:
            partition = Partition(record.topic, record.partition)
            if record.value == self.made[partition]:
                self.written[partition].append(record.offset)
        self.dealt_with(batch)

    def dealt_with(self, batch: MicroBatch) -> None:
        self.ledger.acknowledge(batch.next_offsets)

    @rule()
    def commit(self) -> None:
        offsets = self.ledger.to_commit()
        self.committed |= offsets
        self.ledger.committed(offsets)

    @rule()
    def rewind(self) -> None:
        before = self.ledger.assignment().epoch
        self.in_hand.clear()
        self.backlog.drop(self.ours)
        self.ledger.begin_afresh()
        self.begin_at_committed(self.ours)
        assert self.ledger.assignment().epoch > before

    @rule(partition=partitions)
    def made_anew(self, partition: Partition) -> None:
        self.backlog.seal()
        if not self.commits and self.ledger.in_flight([partition]):
            return  # a transaction that is under way may commit its offsets later
        self.made[partition] += b"x"
        self.written[partition], self.committed[partition] = [], 0
        self.ledger.went_back([partition])
        self.backlog.go_on_from({partition: None})
        self.positions[partition] = 0
        self.gone_back.add(partition)

    @rule()
    def tell_positions(self) -> None:
        self.backlog.seal()
        self.ledger.begin_at({p: self.positions[p] for p in self.ours})

    @rule(partitions=some)
    def revoke(self, partitions: set[Partition]) -> None:
        before = self.ledger.assignment().epoch
        going = partitions & self.ours
        self.backlog.drop(going)
        self.only_what_may_still_be_acknowledged_is_in_flight()  # which is what is waited for
        self.committed |= self.ledger.to_commit(going)
        self.ledger.revoke(going)
        assert (self.ledger.assignment().epoch > before) == bool(going)

    @rule(partition=partitions, count=few)
    def another_member_goes_on(self, partition: Partition, count: int) -> None:
        if partition not in self.ours:
            offsets = [n for n in LOG if n >= self.committed[partition]][:count]
            self.written[partition] += offsets
            self.committed[partition] = max([self.committed[partition], *(n + 1 for n in offsets)])

    @invariant()
    def nothing_unwritten_is_committed(self) -> None:
        for partition, offset in self.committed.items():
            assert {n for n in LOG if n < offset} <= set(self.written[partition])

    @invariant()
    def it_stands_before_the_first_that_is_not_written(self) -> None:
        epoch, offsets = self.ledger.standing()
        assert epoch == self.ledger.assignment().epoch
        assert self.ours - self.gone_back <= offsets.keys() <= self.ours
        for partition, offset in offsets.items():
            assert offset >= self.committed[partition]
            assert {n for n in LOG if n < offset} <= set(self.written[partition])

    @invariant()
    def only_what_may_still_be_acknowledged_is_in_flight(self) -> None:
        current = [b for b in self.in_hand if b.epoch == self.ledger.assignment().epoch]
        for partition in self.ours:
            expected = any(partition in b.next_offsets for b in [*current, *self.backlog._queue])
            if len(current) == len(self.in_hand):  # others are of an epoch that is over
                assert self.ledger.in_flight([partition]) == expected


class ExactlyOnce(AtLeastOnce):
    """Offsets are committed with what is written."""

    commits = False

    def dealt_with(self, batch: MicroBatch) -> None:
        self.committed |= batch.next_offsets
        super().dealt_with(batch)

    @invariant()
    def nothing_is_written_twice(self) -> None:
        for partition, offsets in self.written.items():
            assert offsets == [n for n in LOG if n < self.committed[partition]]

    @invariant()
    def the_consumer_has_nothing_to_commit(self) -> None:
        assert self.ledger.to_commit() == {}


SHORT = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestAtLeastOnce = AtLeastOnce.TestCase
TestAtLeastOnce.settings = SHORT
TestExactlyOnce = ExactlyOnce.TestCase
TestExactlyOnce.settings = SHORT

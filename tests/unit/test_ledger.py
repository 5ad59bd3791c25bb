"""Which offsets may be committed, and what is waiting to be dealt with."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from monitor.batch import Partition
from monitor.stream.backlog import Backlog
from monitor.stream.ledger import Ledger
from tests.support.waiting import until

A, B = Partition("t", 0), Partition("t", 1)


@dataclass(frozen=True)
class Fetched:
    """As much of a record as is looked at here."""

    topic: str
    partition: int
    offset: int
    value: bytes | None


def records(
    partition: Partition, first: int, last: int, value: bytes | None = None
) -> list[Fetched]:
    return [Fetched(*partition, offset, value) for offset in range(first, last + 1)]


def test_what_is_acknowledged_may_be_committed_once() -> None:
    ledger = Ledger()
    ledger.assign([A])
    ledger.hand_out({A: 10}, {A: 20})
    assert ledger.in_flight([A])
    assert ledger.to_commit() == {}
    ledger.acknowledge({A: 20})
    assert not ledger.in_flight([A])
    assert ledger.to_commit() == {A: 20}
    ledger.committed({A: 20})
    assert ledger.to_commit() == {}


def test_a_late_acknowledgement_never_moves_an_offset_back() -> None:
    ledger = Ledger()
    ledger.assign([A])
    ledger.hand_out({A: 0}, {A: 10})
    ledger.revoke([A])
    ledger.acknowledge({A: 10})
    assert ledger.to_commit() == {}
    # Another member has gone on to 50 meanwhile, and the partition comes back.
    ledger.assign([A])
    ledger.hand_out({A: 50}, {A: 60})
    ledger.acknowledge({A: 10})
    assert ledger.to_commit() == {}
    ledger.acknowledge({A: 60})
    ledger.acknowledge({A: 55})
    assert ledger.to_commit() == {A: 60}


def test_an_acknowledgement_beyond_what_was_handed_out_is_ignored() -> None:
    ledger = Ledger()
    ledger.assign([A])
    ledger.acknowledge({A: 5})
    ledger.hand_out({A: 0}, {A: 10})
    ledger.acknowledge({A: 11})
    assert ledger.to_commit() == {}


def handed_out_and_gone_back() -> Ledger:
    """To 5010, of which 5000 is acknowledged and committed; then it is made anew, to 20."""
    ledger = Ledger()
    ledger.assign([A])
    ledger.hand_out({A: 4000}, {A: 5010})
    ledger.acknowledge({A: 5000})
    ledger.committed(ledger.to_commit())
    ledger.hand_out({A: 0}, {A: 20})
    return ledger


def test_where_a_partition_goes_back_it_is_committed_from_there_on() -> None:
    ledger = handed_out_and_gone_back()
    assert ledger.in_flight([A])
    assert ledger.settled() == {A: 0}
    ledger.acknowledge({A: 10})
    assert ledger.to_commit() == {A: 10}
    ledger.committed({A: 5000})  # asked for before it went back
    assert ledger.to_commit() == {A: 10}
    ledger.acknowledge({A: 20})
    ledger.committed({A: 20})
    assert not ledger.in_flight([A])


def test_what_was_handed_out_before_a_partition_went_back_is_never_committed() -> None:
    ledger = handed_out_and_gone_back()
    ledger.acknowledge({A: 5010})
    assert ledger.to_commit() == {}
    ledger = handed_out_and_gone_back()
    ledger.hand_out({A: 20}, {A: 8000})
    for late in (5005, 5010):
        ledger.acknowledge({A: late})
        assert ledger.to_commit() == {}
    for offset in (20, 5005, 8000):
        ledger.acknowledge({A: offset})
        assert ledger.to_commit() == {A: offset}


def test_acknowledgements_of_before_that_never_come_are_not_waited_for() -> None:
    ledger = handed_out_and_gone_back()
    ledger.acknowledge({A: 20})
    ledger.hand_out({A: 20}, {A: 8000})
    ledger.acknowledge({A: 5005})
    assert ledger.to_commit() == {A: 5005}


def test_where_a_partition_went_back_it_stands_nowhere_until_its_position_is_told() -> None:
    ledger = Ledger()
    ledger.assign([A, B])
    ledger.begin_at({B: 7})
    ledger.hand_out({A: 4000}, {A: 5000})
    ledger.acknowledge({A: 5000})
    ledger.went_back([A])
    assert ledger.standing() == (0, {B: 7})
    ledger.begin_at({A: 0})
    assert ledger.standing() == (0, {A: 0, B: 7})


def test_nor_while_records_of_before_are_in_flight_which_are_waited_for() -> None:
    ledger = Ledger()
    ledger.assign([A])
    ledger.hand_out({A: 4000}, {A: 5000})
    ledger.went_back([A])
    ledger.begin_at({A: 0})
    assert ledger.in_flight([A])
    assert ledger.standing() == (0, {})
    ledger.acknowledge({A: 5000})
    assert not ledger.in_flight([A])
    assert (ledger.standing(), ledger.to_commit()) == ((0, {A: 0}), {})


def test_no_micro_batch_holds_records_from_before_and_after_a_partition_went_back() -> None:
    ledger = Ledger()
    ledger.assign([A, B])
    backlog = Backlog(ledger, capacity=3, max_records=100, max_bytes=1_000)
    backlog.add({A: records(A, 5000, 5009), B: records(B, 0, 1)})
    backlog.add({A: records(A, 0, 9)})
    backlog.seal()
    batches = [backlog.take(0), backlog.take(0)]
    assert [b and b.next_offsets for b in batches] == [{A: 5010, B: 2}, {A: 10}]
    ledger.acknowledge({A: 5010, B: 2})
    ledger.acknowledge({A: 10})
    assert ledger.to_commit() == {A: 10, B: 2}


def test_records_taken_back_are_no_longer_in_flight() -> None:
    ledger = Ledger()
    ledger.assign([A])
    ledger.hand_out({A: 0}, {A: 10})
    ledger.acknowledge({A: 10})
    ledger.hand_out({A: 10}, {A: 20})
    assert ledger.settled() == {A: 10}
    ledger.take_back([A])
    assert ledger.settled() == {A: None}
    assert ledger.to_commit() == {A: 10}


def test_a_revocation_takes_its_partitions_out_of_the_backlog_and_leaves_the_others() -> None:
    ledger = Ledger()
    ledger.assign([A, B])
    backlog = Backlog(ledger, capacity=3, max_records=100, max_bytes=1_000)
    backlog.add({A: records(A, 0, 2), B: records(B, 5, 6)})
    backlog.seal()
    backlog.add({A: records(A, 3, 4)})
    backlog.seal()
    backlog.add({A: records(A, 5, 5), B: records(B, 7, 7)})
    backlog.drop([A])
    backlog.seal()
    assert not ledger.in_flight([A])
    batches = [backlog.take(0), backlog.take(0), backlog.take(0)]
    assert [b and b.next_offsets for b in batches] == [{B: 7}, {B: 8}, None]
    assert [b and [r.offset for r in b.records] for b in batches] == [[5, 6], [7], None]


def test_a_full_backlog_says_so_until_something_is_taken() -> None:
    ledger = Ledger()
    ledger.assign([A])
    backlog = Backlog(ledger, capacity=2, max_records=100, max_bytes=1_000)
    for offset in range(2):
        assert not backlog.full_for(0)
        backlog.add({A: records(A, offset, offset)})
        backlog.seal()
    assert backlog.full_for(0.01)
    assert backlog.take(0)
    assert not backlog.full_for(0)


def test_a_micro_batch_has_room_until_its_records_or_their_bytes_are_enough() -> None:
    backlog = Backlog(Ledger(), capacity=1, max_records=10, max_bytes=30)
    backlog.add({A: records(A, 0, 1)})
    assert backlog.room == 8
    backlog.add({A: records(A, 2, 2, bytes(30))})
    assert backlog.room == 0
    backlog.seal()
    assert backlog.room == 10


def test_what_a_revocation_takes_out_makes_room() -> None:
    backlog = Backlog(Ledger(), capacity=1, max_records=10, max_bytes=30)
    backlog.add({A: records(A, 0, 0, bytes(20)), B: records(B, 0, 0, bytes(10))})
    assert backlog.room == 0
    backlog.drop([A])
    assert backlog.room == 9
    backlog.drop([B])
    backlog.seal()
    assert backlog.room == 10
    backlog.add({A: records(A, 1, 1, bytes(25))})
    assert backlog.room == 9


def test_a_micro_batch_is_awaited_while_somebody_waits_for_it() -> None:
    ledger = Ledger()
    backlog = Backlog(ledger, capacity=1, max_records=10, max_bytes=1_000)
    with ThreadPoolExecutor(1) as executor:
        assert not backlog.is_awaited
        taken = executor.submit(backlog.take, 30)
        until(lambda: backlog.is_awaited)
        backlog.add({A: records(A, 0, 0)})
        backlog.seal()
        assert taken.result(30)
    assert not backlog.is_awaited


def test_nobody_waits_for_a_closed_backlog() -> None:
    backlog = Backlog(Ledger(), capacity=1, max_records=100, max_bytes=1_000)
    backlog.close()
    assert backlog.take(timeout_s=60) is None
    backlog.pause(timeout_s=60)

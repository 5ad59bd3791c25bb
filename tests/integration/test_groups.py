"""A member of the group on a real broker: going back, its epochs, and its static membership."""

import ctypes
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from kafka import KafkaProducer, OffsetAndMetadata, TopicPartition

from monitor.batch import Partition
from monitor.stream.contracts import RewindError
from tests.integration.test_source import Group, Member, numbers, values
from tests.support.brokers import Broker
from tests.support.waiting import until

pytestmark = pytest.mark.kafka


@pytest.fixture
def group(kafka_broker: Broker, client: str) -> Iterator[Group]:
    group = Group(kafka_broker, kafka_broker.create_topic(partitions=2), client)
    with group.stack:
        yield group


def offsets(member: Member) -> dict[int, int]:
    """Where it stands."""
    return {p.partition: offset for p, offset in member.source.standing().next_offsets.items()}


def by_partition(batches: list, partition: int) -> list[bytes]:
    return [r.value for b in batches for r in b.records if r.partition == partition]


def test_after_a_rewind_all_that_is_not_committed_comes_again_in_another_epoch(
    group: Group,
) -> None:
    for partition in (0, 1):
        group.broker.produce(group.topic, *numbers(500), partition=partition)
    member = group.join(max_vectors=50)
    first, *_ = member.take(300)
    member.source.acknowledge(first.next_offsets)
    until(lambda: sum(group.committed.values()) == 50)
    committed = group.committed
    member.source.rewind()
    again = member.take(950)
    for partition in (0, 1):
        start = committed.get(partition, 0)
        assert by_partition(again, partition) == numbers(500 - start, start)
    assert {batch.epoch for batch in again} == {first.epoch + 1}
    assert member.source.assignment().epoch == first.epoch + 1


def test_where_nothing_is_committed_a_rewind_begins_as_the_first_time(group: Group) -> None:
    group.broker.produce(group.topic, *numbers(20), partition=0)
    member = group.join(auto_offset_reset="latest")
    until(lambda: offsets(member) == {0: 20, 1: 0})
    group.broker.produce(group.topic, b"new", partition=0)
    assert values(member.take(1)) == [b"new"]
    member.source.rewind()
    assert values(member.take(1)) == [b"new"]


def test_what_came_before_the_first_commit_is_not_skipped_after_a_crash(group: Group) -> None:
    member = group.join(auto_offset_reset="latest")
    until(lambda: offsets(member) == {0: 0, 1: 0})
    member.source.close(10.0)
    group.broker.produce(group.topic, b"while nobody was there", partition=0)
    assert values(group.join(auto_offset_reset="latest").take(1)) == [b"while nobody was there"]


def test_it_stands_where_all_before_is_dealt_with(group: Group) -> None:
    group.broker.produce(group.topic, *numbers(30), partition=0)
    member = group.join(max_vectors=10)
    until(lambda: offsets(member) == {0: 0, 1: 0})
    taken = member.take(30)
    assert offsets(member)[0] == 0
    member.source.acknowledge(taken[1].next_offsets)
    assert offsets(member) == {0: 20, 1: 0}
    assert member.source.standing().epoch == taken[0].epoch


def test_with_offsets_in_a_transaction_the_consumer_commits_nothing(group: Group) -> None:
    group.broker.produce(group.topic, *numbers(30), partition=0)
    member = group.join(max_vectors=10, start=False)
    member.source.commit_no_more()
    member.source.start()
    for batch in member.take(30):
        member.source.acknowledge(batch.next_offsets)
    member.source.close(10.0)
    assert group.committed == {}


def test_it_goes_back_to_what_a_transaction_has_committed(group: Group) -> None:
    if group.client != "kafka-python":
        pytest.skip("the metadata of one client is not for the producer of another")
    group.broker.produce(group.topic, *numbers(30), partition=0)
    member = group.join(max_vectors=10, start=False)
    member.source.commit_no_more()
    with pytest.raises(RewindError, match="no member of the group"):
        member.source.group_metadata()
    member.source.start()
    first, *_ = member.take(30)
    producer = KafkaProducer(**group.broker.client(transactional_id=group.name))
    producer.init_transactions()
    producer.begin_transaction()
    [(partition, offset)] = first.next_offsets.items()
    producer.send_offsets_to_transaction(
        {TopicPartition(*partition): OffsetAndMetadata(offset)}, member.source.group_metadata()
    )
    with ThreadPoolExecutor(1) as executor:
        gone_back = executor.submit(member.source.rewind)
        with pytest.raises(TimeoutError):  # it waits while it may still be aborted
            gone_back.result(0.7)
        producer.commit_transaction()
        gone_back.result(30)
    producer.close()
    assert values(member.take(20)) == numbers(20, start=10)


def test_who_holds_the_interpreter_and_takes_nothing_stays_a_member(group: Group) -> None:
    group.broker.produce(group.topic, *numbers(1000), partition=0)
    member = group.join(max_vectors=10, session_timeout_ms=3000)
    until(lambda: member.joined)
    for _ in range(3):
        ctypes.PyDLL(None).usleep(1_000_000)  # does not let go of the GIL
        time.sleep(0.2)
    taken = member.take(1000)
    assert values(taken) == numbers(1000)
    assert member.metric("anomaly_monitor_rebalances_total") == 1
    member.source.acknowledge(taken[-1].next_offsets)
    until(lambda: group.committed == {0: 1000})


def test_aborted_records_are_not_handed_out_and_gaps_confuse_nobody(group: Group) -> None:
    producer = KafkaProducer(**group.broker.client(transactional_id=group.name))
    producer.init_transactions()
    for number in range(6):
        producer.begin_transaction()
        producer.send(group.topic, b"%d" % number, partition=0).get(30)
        producer.abort_transaction() if number % 2 else producer.commit_transaction()
    producer.close()
    member = group.join(max_vectors=2)
    taken = member.take(3)
    assert values(taken) == [b"0", b"2", b"4"]
    for batch in taken:
        member.source.acknowledge(batch.next_offsets)
    until(lambda: member.source.standing().next_offsets[Partition(group.topic, 0)] == 9)
    until(lambda: group.committed == {0: 9})
    assert not member.source._ledger.in_flight([Partition(group.topic, 0)])


def test_a_partition_that_is_added_is_read_from_its_beginning_whatever_the_policy(
    group: Group, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = "source" if group.client == "kafka-python" else "confluent_source"
    monkeypatch.setattr(f"monitor.stream.{module}.METADATA_MS", 1000)
    member = group.join(auto_offset_reset="latest")
    until(lambda: offsets(member) == {0: 0, 1: 0})
    admin = group.broker.admin()
    admin.create_partitions({group.topic: 3})
    admin.close()
    group.broker.produce(group.topic, b"first of its partition", partition=2)
    assert values(member.take(1)) == [b"first of its partition"]


def moves(members: dict[str, Member], before: dict[str, frozenset[Partition]]) -> int:
    """How many partitions are with another than before."""
    return sum(len(m.source.assignment().partitions - before[n]) for n, m in members.items())


def test_a_rolling_restart_of_static_members_moves_no_partition(
    kafka_broker: Broker, client: str
) -> None:
    if not kafka_broker.is_apache_kafka:
        pytest.skip("the embedded broker knows no static members")
    group = Group(kafka_broker, kafka_broker.create_topic(partitions=12), client)
    with group.stack:
        names = [f"host-{n}" for n in range(3)]
        members = {name: group.join(group_instance_id=name) for name in names}

        def assigned() -> dict[str, frozenset[Partition]]:
            return {name: m.source.assignment().partitions for name, m in members.items()}

        until(lambda: sorted(map(len, assigned().values())) == [4, 4, 4])
        before = assigned()
        rebalances = {n: m.metric("anomaly_monitor_rebalances_total") for n, m in members.items()}
        for name in names:
            members[name].source.close(10.0)
            members[name] = group.join(group_instance_id=name)
            until(lambda: len(assigned()[name]) == 4)  # noqa: B023
            others = [n for n in names if n != name]
            assert moves(members, before) == 0
            for other in others:
                told = members[other].metric("anomaly_monitor_rebalances_total")
                assert told == (1 if other in names[: names.index(name)] else rebalances[other])

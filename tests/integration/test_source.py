"""The source on a real broker: what it hands out, what it commits, and what it survives."""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import structlog
from kafka import OffsetAndMetadata, TopicPartition

from monitor.batch import MicroBatch, Partition, Unread
from monitor.config import BatchSettings, KafkaSettings
from monitor.contracts.dead_letter import MAX_HEADERS
from monitor.errors import BrokerError, MonitorError, StreamError
from monitor.stream.link import BrokerLink
from monitor.stream.polling import QUEUED_BATCHES, PollingSource
from monitor.stream.transport import build_source
from monitor.telemetry.health import Health
from monitor.telemetry.metrics import Metrics
from tests.support.brokers import Broker, fresh_name
from tests.support.kafka_server import KafkaServer
from tests.support.waiting import until

pytestmark = pytest.mark.kafka


@dataclass
class Member:
    """A source, with what it tells."""

    source: PollingSource
    metrics: Metrics
    health: Health

    def take(self, count: int, timeout_s: float = 30.0) -> list[MicroBatch]:
        """Micro-batches with at least so many records."""
        batches: list[MicroBatch] = []
        deadline = time.monotonic() + timeout_s
        while sum(len(b.records) for b in batches) < count:
            assert time.monotonic() < deadline, f"only {batches}"
            if batch := self.source.next(timeout_s=0.2):
                batches.append(batch)
        return batches

    def metric(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(name, labels)

    @property
    def joined(self) -> bool:
        return self.health.parts["group"] == "ok"


@dataclass
class Group:
    """Members of one group that read one topic; all of them end with the test."""

    broker: Broker
    topic: str
    client: str
    name: str = field(default_factory=lambda: fresh_name("group"))
    stack: ExitStack = field(default_factory=ExitStack)

    def join(
        self, max_vectors: int = 100, max_delay_ms: int = 20, start: bool = True, **kafka: Any
    ) -> Member:
        settings = KafkaSettings(
            bootstrap_servers=self.broker.bootstrap_servers,
            group_id=self.name,
            input_topics=(self.topic,),
            client=self.client,
            **{"session_timeout_ms": 6000, **kafka},
        )
        batch = BatchSettings(max_vectors=max_vectors, max_delay_ms=max_delay_ms)
        metrics, health = Metrics(), Health("broker", "group")
        link = BrokerLink(settings.bootstrap_servers, metrics, health)
        member = Member(build_source(settings, batch, metrics, health, link), metrics, health)
        if start:
            member.source.start()
        self.stack.callback(member.source.close, 10.0)
        return member

    @property
    def committed(self) -> dict[int, int]:
        return self.broker.committed(self.name, self.topic)


@pytest.fixture
def group(kafka_broker: Broker, client: str) -> Iterator[Group]:
    group = Group(kafka_broker, kafka_broker.create_topic(), client)
    with group.stack:
        yield group


def until_taken(member: Member, value: bytes) -> MicroBatch:
    """The micro-batch that ends with this value."""
    while values([batch := member.take(1)[-1]])[-1] != value:
        pass
    return batch


def numbers(count: int, start: int = 0) -> list[bytes]:
    return [b"%d" % i for i in range(start, start + count)]


def values(batches: list[MicroBatch]) -> list[bytes]:
    return [record.value for batch in batches for record in batch.records]


def test_records_come_in_order_in_micro_batches_of_bounded_size(group: Group) -> None:
    group.broker.produce(group.topic, *numbers(1050))
    batches = group.join(max_vectors=100).take(1050)
    assert values(batches) == numbers(1050)
    assert max(len(batch.records) for batch in batches) == 100
    assert batches[-1].next_offsets == {Partition(group.topic, 0): 1050}


def test_a_micro_batch_does_not_wait_longer_than_its_delay(group: Group) -> None:
    member = group.join(max_vectors=10_000, max_delay_ms=50)
    until(lambda: member.joined)
    group.broker.produce(group.topic, b"alone")
    start = time.monotonic()
    assert values(member.take(1)) == [b"alone"]
    assert time.monotonic() - start < 2.0


@pytest.mark.parametrize("value", [None, b""])
def test_a_record_without_a_value_is_handed_out_as_any(group: Group, value: bytes | None) -> None:
    member = group.join()
    until(lambda: member.joined)
    group.broker.produce(group.topic, value, key=b"key", headers=[("trace", b"1")])
    [[record]] = [batch.records for batch in member.take(1)]
    assert (record.key, record.value, list(record.headers)) == (b"key", value, [("trace", b"1")])


def test_nothing_is_committed_before_it_is_acknowledged(group: Group) -> None:
    group.broker.produce(group.topic, *numbers(300))
    member = group.join(max_vectors=100)
    first, _, third = member.take(300)
    member.source.acknowledge(first.next_offsets)
    until(lambda: group.committed == {0: 100})
    member.source.close(10.0)
    assert group.committed == {0: 100}
    again = group.join(max_vectors=100)
    assert values(again.take(200)) == numbers(200, start=100)
    again.source.acknowledge(third.next_offsets)
    until(lambda: group.committed == {0: 300})
    until(lambda: again.metric("anomaly_monitor_stage_seconds_count", stage="commit"))


def test_what_is_acknowledged_last_is_committed_on_closing(group: Group) -> None:
    group.broker.produce(group.topic, *numbers(50))
    member = group.join()
    batches = member.take(50)
    member.source.acknowledge(batches[-1].next_offsets)
    member.source.close(10.0)
    assert group.committed == {0: 50}


def test_while_nobody_takes_the_queue_stays_short_and_the_membership_alive(group: Group) -> None:
    group.broker.produce(group.topic, *numbers(3000))
    member = group.join(max_vectors=10, session_timeout_ms=1000)
    lag = "anomaly_monitor_consumer_lag_records"
    until(lambda: member.metric(lag, topic=group.topic, partition="0") == 3000)
    time.sleep(2.5)  # sessions pass, and nothing tells of it
    assert member.metric("anomaly_monitor_rebalances_total") == 1
    assert len(member.source._backlog._queue) <= QUEUED_BATCHES
    assert values(member.take(3000)) == numbers(3000)
    assert member.metric("anomaly_monitor_rebalances_total") == 1


def test_lag_counts_what_is_not_acknowledged(group: Group) -> None:
    group.broker.produce(group.topic, *numbers(40))
    member = group.join(max_vectors=20)

    def lag() -> float | None:
        return member.metric(
            "anomaly_monitor_consumer_lag_records", topic=group.topic, partition="0"
        )

    first, second = member.take(40)
    until(lambda: lag() == 40)
    member.source.acknowledge(first.next_offsets)
    until(lambda: lag() == 20)
    member.source.acknowledge(second.next_offsets)
    until(lambda: lag() == 0)
    member.source.close(10.0)
    assert lag() is None


def test_a_new_member_takes_over_where_the_old_one_had_finished(
    kafka_broker: Broker, client: str
) -> None:
    group = Group(kafka_broker, kafka_broker.create_topic(partitions=2), client)
    with group.stack:
        for partition in (0, 1):
            kafka_broker.produce(group.topic, *numbers(100), partition=partition)
        old = group.join(max_vectors=50)
        batches = old.take(200)
        for batch in batches[:-1]:
            old.source.acknowledge(batch.next_offsets)
        new = group.join()
        # The revocation waits for the batch in hand, and it is committed before the partition goes.
        until(lambda: old.health.parts["group"] == "rebalancing")
        old.source.acknowledge(batches[-1].next_offsets)
        until(lambda: new.joined and old.joined)
        assert group.committed == {0: 100, 1: 100}
        for partition in (0, 1):
            kafka_broker.produce(group.topic, b"later", partition=partition)
        assert values(old.take(1)) == values(new.take(1)) == [b"later"]


def test_what_was_fetched_and_not_taken_is_read_again_after_a_rebalance(
    kafka_broker: Broker, client: str
) -> None:
    if client == "confluent-kafka" and not kafka_broker.is_apache_kafka:
        pytest.skip("the embedded broker gives this client nothing after a rebalance")
    group = Group(kafka_broker, kafka_broker.create_topic(partitions=2), client)
    with group.stack:
        for partition in (0, 1):
            kafka_broker.produce(group.topic, *numbers(200), partition=partition)
        old = group.join(max_vectors=10)
        until(lambda: len(old.source._backlog._queue) >= QUEUED_BATCHES)
        new = group.join(max_vectors=10)
        until(lambda: new.joined and old.metric("anomaly_monitor_rebalances_total") == 2)
        assert values(old.take(200)) == values(new.take(200)) == numbers(200)


def test_after_a_revocation_another_epoch_begins_at_what_is_committed_and_late_work_is_ignored(
    kafka_broker: Broker, client: str
) -> None:
    group = Group(kafka_broker, kafka_broker.create_topic(partitions=2), client)
    with group.stack:
        for partition in (0, 1):
            kafka_broker.produce(group.topic, *numbers(10), partition=partition)
        old = group.join(max_vectors=20)
        batches = old.take(20)
        new = group.join(max_vectors=20)
        until(lambda: new.joined and old.joined)
        assert old.source.assignment().epoch > batches[0].epoch
        for batch in batches:
            old.source.acknowledge(batch.next_offsets)
        assert values(old.take(10)) == numbers(10)
        taken = new.take(10)
        assert values(taken) == numbers(10)
        new.source.acknowledge(taken[-1].next_offsets)
        until(lambda: len(group.committed) >= 1)
        [ours] = taken[-1].next_offsets
        assert group.committed[ours.partition] == 10


@pytest.mark.parametrize(("policy", "expected"), [("earliest", 20), ("latest", None)])
def test_a_position_out_of_range_is_counted_and_goes_where_the_policy_says(
    kafka_broker: Broker, client: str, policy: str, expected: int | None
) -> None:
    if not kafka_broker.is_apache_kafka:
        pytest.skip("the embedded broker does not delete records")
    group = Group(kafka_broker, kafka_broker.create_topic(), client)
    with group.stack:
        kafka_broker.produce(group.topic, *numbers(30))
        first = group.join(max_vectors=10)
        until(lambda: first.joined)
        [batch, *_] = first.take(10)
        first.source.acknowledge(batch.next_offsets)
        first.source.close(10.0)
        admin = kafka_broker.admin()
        admin.delete_records({TopicPartition(group.topic, 0): 20})
        admin.close()
        second = group.join(auto_offset_reset=policy)
        until(
            lambda: (
                second.metric(
                    "anomaly_monitor_offset_resets_total", topic=group.topic, partition="0"
                )
                == 1
            )
        )
        until(
            lambda: (
                second.metric(
                    "anomaly_monitor_consumer_lag_records", topic=group.topic, partition="0"
                )
                is not None
            )
        )
        kafka_broker.produce(group.topic, b"new")
        wanted = [*(numbers(10, start=20) if expected else []), b"new"]
        assert values(second.take(len(wanted))) == wanted


def test_beside_a_partition_out_of_range_others_are_read_once(
    kafka_broker: Broker, client: str
) -> None:
    if not kafka_broker.is_apache_kafka:
        pytest.skip("the embedded broker does not delete records")
    group = Group(kafka_broker, kafka_broker.create_topic(partitions=2), client)
    with group.stack:
        for partition in (0, 1):
            kafka_broker.produce(group.topic, *numbers(1000), partition=partition)
        first = group.join(max_vectors=100)
        until(lambda: first.joined)
        first.source.close(10.0)
        admin = kafka_broker.admin()
        lost, healthy = (TopicPartition(group.topic, n) for n in (0, 1))
        admin.alter_group_offsets(
            group.name, {lost: OffsetAndMetadata(10), healthy: OffsetAndMetadata(10)}
        )
        admin.delete_records({lost: 990})
        admin.close()
        second = group.join(max_vectors=400)
        taken = [r for b in second.take(1000) for r in b.records]
        kafka_broker.produce(group.topic, b"last", partition=1)
        while taken[-1].value != b"last":
            taken += second.take(1)[-1].records
        read = [[r.offset for r in taken if r.partition == n] for n in (0, 1)]
        assert read == [[*range(990, 1000)], [*range(10, 1001)]]


def test_a_topic_that_is_made_anew_is_committed_from_its_beginning_on(
    kafka_broker: Broker, client: str
) -> None:
    if not kafka_broker.is_apache_kafka:
        pytest.skip("the embedded broker does not delete topics")
    group = Group(kafka_broker, kafka_broker.create_topic(), client)
    with group.stack:
        kafka_broker.produce(group.topic, *numbers(30))
        member = group.join()
        member.source.acknowledge(member.take(30)[-1].next_offsets)
        until(lambda: group.committed == {0: 30})
        admin = kafka_broker.admin()
        admin.delete_topics([group.topic])
        admin.close()
        until(lambda: group.committed == {})
        kafka_broker.create_topic(group.topic)
        anew = {Partition(group.topic, 0): 0}
        until(lambda: member.source.standing().next_offsets == anew)
        kafka_broker.produce(group.topic, *numbers(5))
        batches = member.take(5)
        assert values(batches) == numbers(5)
        member.source.acknowledge(batches[-1].next_offsets)
        until(lambda: group.committed == {0: 5})


def test_latest_starts_at_new_records_where_the_group_has_no_offset(group: Group) -> None:
    if not group.broker.is_apache_kafka:
        pytest.skip("the embedded broker does not say how far a topic without new records goes")
    group.broker.produce(group.topic, *numbers(10))
    member = group.join(auto_offset_reset="latest")
    until(
        lambda: (
            member.metric("anomaly_monitor_consumer_lag_records", topic=group.topic, partition="0")
            == 0
        )
    )
    group.broker.produce(group.topic, b"new")
    assert values(member.take(1)) == [b"new"]
    assert not member.metric(
        "anomaly_monitor_offset_resets_total", topic=group.topic, partition="0"
    )


def stopped(member: Member, kind: type[MonitorError]) -> str:
    """Why the source ended."""

    def failure() -> str:
        try:
            member.source.next(timeout_s=0.1)
        except kind as error:
            return str(error)
        return ""

    return until(failure)


def test_what_the_group_refuses_is_said(group: Group) -> None:
    if not group.broker.is_apache_kafka:
        pytest.skip("the embedded broker takes any session timeout")
    member = group.join(session_timeout_ms=3_600_000)
    assert "bring kafka.session_timeout_ms within" in stopped(member, BrokerError)


def test_a_member_whose_place_is_taken_ends_though_it_has_nothing_to_commit(
    kafka_broker: Broker, client: str
) -> None:
    if not kafka_broker.is_apache_kafka:
        pytest.skip("the embedded broker knows no static members")
    group = Group(kafka_broker, kafka_broker.create_topic(), client)
    with group.stack:
        first = group.join(group_instance_id="one", session_timeout_ms=1500)
        until(lambda: first.joined)
        second = group.join(group_instance_id="one", session_timeout_ms=1500)
        until(lambda: second.joined)
        assert "another member has taken its place" in stopped(first, StreamError)
        kafka_broker.produce(group.topic, b"read by one")
        assert values(second.take(1)) == [b"read by one"]


class NotUtf8(str):
    """A header's name as no Java client would write it."""

    def encode(self, *_: object) -> bytes:
        return b"\xff"


def test_a_record_is_read_whatever_its_headers_are_called(group: Group) -> None:
    odd = NotUtf8("name")
    group.broker.produce(group.topic, b"0")
    group.broker.produce(group.topic, b"1", headers=[("first", b"1"), (odd, b"2"), ("third", b"")])
    group.broker.produce(group.topic, b"2", headers=[("last", b"3")])
    records = [record for batch in group.join().take(3) for record in batch.records]
    assert [record.value for record in records] == [b"0", b"1", b"2"]
    assert list(records[2].headers) == [("last", b"3")]
    if group.client == "kafka-python":
        assert [(n.encode(), v) for n, v in records[1].headers] == [
            (b"first", b"1"),
            (b"\xff", b"2"),
            (b"third", b""),
        ]
    else:
        assert not records[1].headers


def test_of_very_many_headers_the_first_are_kept_and_their_number(group: Group) -> None:
    group.broker.produce(group.topic, b"flood", headers=[("h", b"")] * 100_000)
    [record] = group.join().take(1)[0].records
    assert list(record.headers) == [
        *[("h", b"")] * MAX_HEADERS,
        ("anomaly-monitor.original_headers", b"100000"),
    ]


def test_a_batch_that_is_damaged_on_the_brokers_disk_ends_the_source_and_is_named(
    group: Group,
) -> None:
    if group.broker.server is None:
        pytest.skip("the embedded broker keeps nothing on disk")
    group.broker.produce(group.topic, *numbers(3))
    group.broker.produce(group.topic, b"to be damaged")
    [segment] = group.broker.server.folder.glob(f"data/{group.topic}-0/*.log")
    with segment.open("r+b") as log:
        log.seek(segment.read_bytes().index(b"to be damaged"))
        log.write(b"has been harm")
    member = group.join()
    sentence = stopped(member, StreamError)
    assert f"cannot read on from {group.topic}[0] at 3 (CorruptRecordError" in sentence


def test_a_broker_that_goes_and_comes_back_is_said_once_each(
    kafka_server: KafkaServer, client: str
) -> None:
    broker = Broker("Kafka", kafka_server.bootstrap_servers, server=kafka_server)
    group = Group(broker, broker.create_topic(), client)
    with group.stack, structlog.testing.capture_logs() as logs:
        broker.produce(group.topic, b"before")
        member = group.join()
        [batch] = member.take(1)
        kafka_server.kill()
        until(lambda: "the connection is lost" in member.health.parts["broker"])
        assert member.metric("anomaly_monitor_broker_connected") == 0
        member.source.acknowledge(batch.next_offsets)
        kafka_server.start()
        broker.produce(group.topic, b"after")
        taken = until_taken(member, b"after")
        until(lambda: member.health.parts["broker"] == member.health.parts["group"] == "ok")
        assert member.metric("anomaly_monitor_broker_connected") == 1
        if client == "kafka-python":
            until(lambda: group.committed.get(0, 0) >= 1)
        # The other leaves a group that it has not heard from for a session, and reads again what
        # it had not committed.
        member.source.acknowledge(taken.next_offsets)
        until(lambda: group.committed == {0: 2})
    told = [entry["event"] for entry in logs if "broker" in entry["event"]]
    assert told == ["broker found", "broker is away, trying on", "broker is back"]


def test_a_batch_that_would_fill_the_memory_is_refused_and_got_past_by_kafka_python(
    group: Group,
) -> None:
    group.broker.produce(group.topic, b"before")
    bomb, options = [bytes(10_000_000)] * 15, {"batch_size": 2**30, "max_request_size": 2**30}
    group.broker.produce(group.topic, *bomb, compression_type="zstd", linger_ms=3000, **options)
    group.broker.produce(group.topic, b"after")
    member = group.join()
    if group.client == "confluent-kafka":  # it does not say how many records there are
        assert f"cannot read on from {group.topic}[0] at 1 (Corrupt" in stopped(member, StreamError)
        member.source.close(10.0)
        member = replace(group, client="kafka-python").join()
    first, *refused, last = [r for batch in member.take(17) for r in batch.records]
    assert (first.value, last.value) == (b"before", b"after")
    assert [record.offset for record in refused] == [*range(1, 16)]
    assert all(isinstance(record.value, Unread) for record in refused)

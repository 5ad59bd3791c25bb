"""What kafka-python 3.0.12 does wrong in transactions, each shown alone, and the sink beside it.

Where the first part of one of these fails, the defect is fixed upstream, and the guard that the
message names can go.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from kafka import KafkaProducer, OffsetAndMetadata, TopicPartition
from kafka.admin import TransactionState
from kafka.errors import (
    CommitFailedError,
    InvalidProducerEpochError,
    KafkaError,
    KafkaTimeoutError,
)
from kafka.structs import ConsumerGroupMetadata

from monitor.stream import delivery, transaction
from tests.support.brokers import Broker, fresh_name
from tests.support.transacting import Bench, bench_on, freeze, thaw
from tests.support.waiting import until

pytestmark = pytest.mark.kafka

LOOK = "the look at every answer before a commit (`_after` in monitor/stream/transaction.py)"
ANEW = "the new producer after any failure (`_recover` in monitor/stream/transaction.py)"


@pytest.fixture
def broker(kafka_broker: Broker) -> Broker:
    if not kafka_broker.is_apache_kafka:
        pytest.skip("the embedded broker shows what is not committed")
    return kafka_broker


@pytest.fixture
def topic(broker: Broker) -> str:
    return broker.create_topic(partitions=2)


@pytest.fixture
def make(broker: Broker) -> Iterator["Make"]:
    make = Make(broker)
    yield make
    for producer in make.made:
        producer._sender.force_close()
        producer._closed = True


class Make:
    """Transactional producers, used as their manual says."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self.made: list[KafkaProducer] = []

    def __call__(self, transactional_id: str, **options: Any) -> KafkaProducer:
        options = {"transactional_id": transactional_id, "retry_backoff_ms": 10, **options}
        producer = KafkaProducer(**self._broker.client(**options))
        self.made.append(producer)
        producer.init_transactions()
        return producer


@pytest.fixture
def bench(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    """Its transactions are short, and each of its outputs is sent for itself."""
    monkeypatch.setattr(transaction, "TIMEOUT_SECONDS", 1.5)
    monkeypatch.setattr(delivery, "WRITE_BYTES", 1)
    monkeypatch.setattr(delivery, "RETRY_SECONDS", 0.1)
    bench = bench_on(broker, "kafka-python")
    broker.produce(bench.topic, b"1", b"2", b"3")
    bench.start()
    yield bench
    thaw(broker)
    bench.close()


def test_refused_offsets_are_committed_by_the_next_transaction(
    broker: Broker, topic: str, make: Make
) -> None:
    group, producer = fresh_name("group"), make(fresh_name("id"))
    stranger = ConsumerGroupMetadata(group, 5, "not a member", None)
    producer.begin_transaction()
    with pytest.raises(CommitFailedError):
        producer.send_offsets_to_transaction(_offset(topic, 0, 33), stranger)
    producer.abort_transaction()
    producer.begin_transaction()
    producer.send_offsets_to_transaction(_offset(topic, 1, 7), group)
    producer.commit_transaction()
    assert broker.committed(group, topic) == {0: 33, 1: 7}, _fixed(ANEW)


# The sink beside it: test_transaction.py, what the group has given to another.


def test_a_commit_succeeds_after_the_broker_has_aborted(
    broker: Broker, topic: str, make: Make, bench: Bench
) -> None:
    name = fresh_name("id")
    producer = _begun(make(name, transaction_timeout_ms=500), topic)
    until(lambda: not _is_open(broker, name))
    lost = producer.send(topic, b"second", partition=0)
    producer.commit_transaction()
    assert isinstance(lost.exception, InvalidProducerEpochError), _fixed(LOOK)
    assert _visible(broker, topic) == []

    bench.producer.after["send"] = lambda: until(lambda: not _is_open(broker, _id(bench)))
    bench.sink.write([bench.alert(b"first"), bench.alert(b"second")], bench.take())
    assert bench.visible == [b"first", b"second"]


def test_a_process_of_before_ends_the_transaction_of_its_successor_whose_commit_succeeds(
    broker: Broker, topic: str, make: Make, bench: Bench
) -> None:
    name = fresh_name("id")
    zombie = _begun(make(name), topic)
    successor = _begun(make(name), topic)
    zombie.send(topic, b"of a zombie", partition=0)
    until(lambda: not _is_open(broker, name))
    lost = successor.send(topic, b"second", partition=0)
    successor.commit_transaction()
    assert isinstance(lost.exception, InvalidProducerEpochError), _fixed(LOOK)
    assert _visible(broker, topic) == []

    zombie = _begun(make(_id(bench)), topic)
    bench.sink.close(0)  # and begins anew as the successor

    def it_sends() -> None:
        zombie.send(topic, b"of a zombie", partition=0)
        until(lambda: not _is_open(broker, _id(bench)))

    bench.producer.after["send"] = it_sends
    bench.sink.write([bench.alert(b"first"), bench.alert(b"second")], bench.take())
    assert bench.visible == [b"first", b"second"]
    assert _visible(broker, topic) == []


def test_a_commit_succeeds_although_a_record_has_failed(
    broker: Broker, topic: str, make: Make, bench: Bench
) -> None:
    timing = {"delivery_timeout_ms": 500, "request_timeout_ms": 400, "linger_ms": 0}
    producer = _begun(make(fresh_name("id"), **timing), topic)
    with _silent(broker):
        failed = producer.send(topic, b"second", partition=0)
        until(lambda: failed.is_done)
    producer.commit_transaction()
    assert isinstance(failed.exception, KafkaTimeoutError), _fixed(LOOK)

    def fall_silent() -> None:
        freeze(broker)
        bench.producer.before["open"] = lambda: thaw(broker)

    bench.producer.after["send"] = fall_silent
    bench.sink.write([bench.alert(b"first"), bench.alert(b"second")], bench.take())
    assert bench.visible == [b"first", b"second"]


def test_a_request_that_is_not_answered_in_time_is_the_end_of_a_producer(
    broker: Broker, topic: str, make: Make
) -> None:
    producer = _begun(make(fresh_name("id"), request_timeout_ms=500), topic)
    with _silent(broker), pytest.raises(KafkaError, match="RequestTimedOutError"):
        producer.commit_transaction()
    with pytest.raises(KafkaError) as caught:
        producer.abort_transaction()
    assert "we are in an error state" in str(caught.value), _fixed(ANEW)


def _fixed(guard: str) -> str:
    return f"fixed upstream: {guard} can go"


def _id(bench: Bench) -> str:
    return transaction.transactional_id(bench.kafka)


def _offset(topic: str, partition: int, offset: int) -> dict[TopicPartition, OffsetAndMetadata]:
    return {TopicPartition(topic, partition): OffsetAndMetadata(offset, "", -1)}


def _begun(producer: KafkaProducer, topic: str) -> KafkaProducer:
    """With a transaction that has a record."""
    producer.begin_transaction()
    producer.send(topic, b"first", partition=0).get(10)
    return producer


def _visible(broker: Broker, topic: str) -> list[bytes | None]:
    records = broker.consume_all(topic, isolation_level="read_committed")
    return [record.value for record in records]


def _is_open(broker: Broker, transactional_id: str) -> bool:
    admin = broker.admin()
    try:
        [found] = admin.describe_transactions([transactional_id]).values()
    finally:
        admin.close()
    return found.state in (TransactionState.ONGOING, TransactionState.PREPARE_ABORT)


@contextmanager
def _silent(broker: Broker) -> Iterator[None]:
    freeze(broker)
    try:
        yield
    finally:
        thaw(broker)

"""Exactly once on a real broker: outputs and offsets appear together, or not at all."""

import random
import threading
from collections.abc import Iterator
from time import monotonic

import pytest
from kafka.errors import KafkaTimeoutError
from kafka.protocol.producer import TxnOffsetCommitRequest

from monitor.config import KafkaSettings
from monitor.errors import BrokerError, StreamError
from monitor.stream import delivery, support, transaction
from monitor.stream.contracts import Output, RewindError
from monitor.stream.delivery import AbandonedError
from monitor.stream.transport import build_sink
from monitor.telemetry.health import Health
from tests.support.brokers import Broker
from tests.support.kafka_server import KafkaServer
from tests.support.members import Loner
from tests.support.transacting import Bench, bench_on, freeze, thaw
from tests.support.waiting import until

pytestmark = pytest.mark.kafka


@pytest.fixture(scope="module")
def broker(kafka_broker: Broker) -> Broker:
    if not kafka_broker.is_apache_kafka:
        pytest.skip("the embedded broker shows what is not committed")
    return kafka_broker


@pytest.fixture
def bench(broker: Broker, client: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    monkeypatch.setattr(delivery, "RETRY_SECONDS", 0.1)
    bench = bench_on(broker, client)
    broker.produce(bench.topic, b"1", b"2", b"3")
    bench.start()
    yield bench
    bench.close()


def test_outputs_and_offsets_appear_together(bench: Bench) -> None:
    batch = bench.take()

    def look() -> None:
        assert bench.written == [b"first", b"second"]
        assert (bench.visible, bench.committed) == ([], {})

    bench.producer.before["commit"] = look
    bench.sink.write([bench.alert(b"first"), bench.alert(b"second")], batch)
    assert bench.visible == [b"first", b"second"]
    assert bench.committed == {0: 3}


def test_a_commit_that_has_happened_though_its_answer_is_lost_is_not_made_again(
    bench: Bench,
) -> None:
    bench.producer.after["commit"] = _lose_the_answer
    bench.sink.write([bench.alert(b"once")], bench.take())
    assert bench.written == [b"once"]
    assert bench.committed == {0: 3}
    bench.producer.after["commit"] = _lose_the_answer
    bench.sink.write([bench.alert(b"told while nothing came")], bench.source.standing())
    assert bench.written == [b"once", b"told while nothing came"]


@pytest.mark.parametrize("step", ["send", "send_offsets", "commit"])
def test_a_transaction_that_is_left_open_is_aborted_and_made_again(bench: Bench, step: str) -> None:
    bench.producer.before[step] = _lose_the_answer
    bench.sink.write([bench.alert(b"once")], bench.take())
    assert bench.visible == [b"once"]
    assert bench.committed == {0: 3}


def test_offsets_are_committed_where_nothing_is_told_of_their_records(bench: Bench) -> None:
    bench.sink.write([], bench.take())
    assert bench.committed == {0: 3}


def test_a_broker_that_is_silent_for_longer_than_a_transaction_may_last(
    broker: Broker, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transaction, "TIMEOUT_SECONDS", 2.0)
    bench.sink.write([], bench.take())
    bench.sink.close(0)
    broker.produce(bench.topic, b"4")

    def fall_silent() -> None:
        freeze(broker)
        threading.Timer(3.0, thaw, (broker,)).start()

    bench.producer.before["commit"] = fall_silent
    bench.sink.write([bench.alert(b"once")], bench.take())
    assert bench.visible == [b"once"]
    assert bench.committed == {0: 4}


def test_told_to_stop_while_the_broker_is_silent_it_gives_up_and_nothing_is_committed(
    broker: Broker, bench: Bench
) -> None:
    def fall_silent() -> None:
        freeze(broker)
        bench.sink.stop_trying(0.5)

    bench.producer.before["send_offsets"] = fall_silent
    started = monotonic()
    try:
        with pytest.raises(AbandonedError):
            bench.sink.write([bench.alert(b"to no one")], bench.take())
        bench.sink.close(0.5)
        assert monotonic() - started < 10
    finally:
        thaw(broker)
    restarted = Bench(broker, bench.kafka)
    restarted.sink.connect()
    assert (bench.visible, bench.committed) == ([], {})
    restarted.sink.close(0)


def test_what_the_group_has_given_to_another_is_neither_published_nor_committed_later(
    broker: Broker, client: str
) -> None:
    ours = bench_on(broker, client, partitions=2)
    other = Bench(broker, ours.kafka.model_copy(update={"group_instance_id": "two"}))
    for partition in range(2):
        broker.produce(ours.topic, b"1", partition=partition)
    ours.start()
    batch = ours.take()
    while len(batch.next_offsets) < 2:
        ours.sink.write([], batch)
        broker.produce(ours.topic, b"2", partition=0)
        broker.produce(ours.topic, b"2", partition=1)
        batch = ours.take()
    before = ours.committed

    def another_joins() -> None:
        other.start()
        until(lambda: all(len(m.source.assignment().partitions) == 1 for m in (ours, other)))

    ours.producer.before["send_offsets"] = another_joins
    with pytest.raises(RewindError, match="the group went on"):
        ours.sink.write([ours.alert(b"stale")], batch)
    with pytest.raises(RewindError, match="taken away"):
        ours.sink.write([ours.alert(b"stale")], batch)
    assert (ours.visible, ours.committed) == ([], before)
    ours.source.rewind()
    again = ours.take()
    ours.sink.write([ours.alert(b"ours")], again)
    [(partition, offset)] = again.next_offsets.items()
    assert ours.visible == [b"ours"]
    assert ours.committed == before | {partition.partition: offset}
    ours.close()
    other.close()


def test_a_process_whose_name_another_has_taken_publishes_nothing_and_stops(bench: Bench) -> None:
    other = Bench(bench.broker, bench.kafka)

    def take_the_name() -> None:
        other.sink.close(0)
        other.sink.connect()

    batch = bench.take()
    for _ in range(2):
        bench.producer.before["commit"] = take_the_name
        with pytest.raises(RewindError, match="ended by the broker"):
            bench.sink.write([bench.alert(b"of a zombie")], batch)
    bench.producer.before["commit"] = take_the_name
    with pytest.raises(StreamError, match="another process writes with the transactional id"):
        bench.sink.write([bench.alert(b"of a zombie")], batch)
    assert (bench.visible, bench.committed) == ([], {})
    other.sink.close(0)


def test_an_output_that_is_too_large_for_its_topic_is_cut_and_all_are_published_once(
    broker: Broker, client: str
) -> None:
    small = broker.create_topic(config={"max.message.bytes": "20000"})
    bench = bench_on(broker, client, dead_letter_topic=small)
    broker.produce(bench.topic, b"1")
    bench.start()
    noise = random.Random(1).randbytes(40_000)

    def cut(size: int) -> Output:
        return Output(small, None, noise[:size], smaller=cut)

    large = [Output(bench.alerts, None, noise[:30_000]), cut(40_000), bench.alert(b"after")]
    bench.sink.write([Output(small, b"k", b"before"), *large], bench.take())
    letters = broker.consume_all(small, isolation_level="read_committed")
    assert sorted(len(record.value) for record in letters) == [6, 20_000 // 2]
    assert sorted(map(len, bench.visible)) == [5, 30_000]
    bench.close()


def test_a_transactional_id_that_may_not_be_used_is_named(
    secured_kafka: KafkaServer, client: str
) -> None:
    nobody = KafkaSettings(
        bootstrap_servers=secured_kafka.address("LOGIN"),
        security_protocol="SASL_PLAINTEXT",
        sasl_mechanism="PLAIN",
        sasl_username="nobody",
        sasl_password="nobody-secret",
        client=client,
        input_topics=("vectors",),
        group_instance_id="one",
    )
    sink = build_sink(nobody, Loner(), lambda: None, Health("outputs"))
    with pytest.raises(BrokerError, match="the transactional id 'monitor-one' may not be used"):
        sink.connect()


@pytest.fixture
def old_broker(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> Broker:
    """A broker that lacks a version of a request: the one of today needs one of the future."""
    monkeypatch.setitem(support.NEEDED, TxnOffsetCommitRequest, 99)
    return broker


def test_a_broker_too_old_for_transactions_is_told_before_anything_is_read(
    old_broker: Broker,
) -> None:
    bench = bench_on(old_broker, "kafka-python")
    with pytest.raises(BrokerError, match=r"it lacks TxnOffsetCommit.*set kafka.delivery to at_le"):
        bench.sink.connect()


def test_where_the_broker_is_too_old_auto_is_at_least_once(old_broker: Broker) -> None:
    bench = bench_on(old_broker, "kafka-python", delivery="auto")
    old_broker.produce(bench.topic, b"1", b"2")
    bench.start()
    bench.sink.write([bench.alert(b"told")], bench.take())
    assert bench.visible == [b"told"]
    until(lambda: bench.committed == {0: 2})
    bench.close()


def test_at_least_once_begins_at_new_records_where_it_is_to(broker: Broker, client: str) -> None:
    bench = bench_on(broker, client, delivery="at_least_once", auto_offset_reset="latest")
    broker.produce(bench.topic, b"old")
    bench.start()
    until(lambda: bench.committed == {0: 1})
    broker.produce(bench.topic, b"new")
    batch = bench.take()
    assert [record.value for record in batch.records] == [b"new"]
    bench.sink.write([bench.alert(b"told")], batch)
    assert bench.visible == [b"told"]
    until(lambda: bench.committed == {0: 2})
    bench.close()


def _lose_the_answer() -> None:
    raise KafkaTimeoutError("lost")

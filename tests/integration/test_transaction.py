"""Exactly once on a real broker: outputs and offsets appear together, or not at all."""

from collections.abc import Iterator

import pytest
from kafka.errors import KafkaTimeoutError

from tests.support.brokers import Broker
from tests.support.transacting import Bench, bench_on

pytestmark = pytest.mark.kafka


@pytest.fixture(scope="module")
def broker(kafka_broker: Broker) -> Broker:
    if not kafka_broker.is_apache_kafka:
        pytest.skip("the embedded broker shows what is not committed")
    return kafka_broker


@pytest.fixture
def bench(broker: Broker, client: str) -> Iterator[Bench]:
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


def _lose_the_answer() -> None:
    raise KafkaTimeoutError("lost")

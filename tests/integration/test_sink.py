"""The sink on a real broker, at least once: first everything is published, then acknowledged."""

import random
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from monitor.batch import MicroBatch, Partition
from monitor.config import KafkaSettings
from monitor.errors import StreamError
from monitor.stream.checks import verify_outputs
from monitor.stream.contracts import Offsets, Output
from monitor.stream.delivery import AbandonedError
from monitor.stream.transport import build_sink
from monitor.telemetry.health import Health
from tests.support.brokers import Broker
from tests.support.kafka_server import KafkaServer
from tests.support.members import Loner
from tests.support.waiting import until

pytestmark = pytest.mark.kafka

OFFSETS = {Partition("vectors", 0): 7}
BATCH = MicroBatch((), OFFSETS)


@dataclass
class Bench:
    """A sink with topics of its own, and what it acknowledged."""

    broker: Broker
    client: str
    alerts: str
    letters: str
    state: str
    journal: str
    health: Health = field(default_factory=lambda: Health("outputs"))
    member: Loner = field(default_factory=Loner)

    def __post_init__(self) -> None:
        kafka = KafkaSettings(
            bootstrap_servers=self.broker.bootstrap_servers,
            client=self.client,
            input_topics=("vectors",),
            alert_topic=self.alerts,
            dead_letter_topic=self.letters,
            state_topic=self.state,
            journal_topic=self.journal,
            delivery="at_least_once",
        )
        self.sink = build_sink(kafka, self.member, lambda: verify_outputs(kafka), self.health)

    @property
    def acknowledged(self) -> list[Offsets]:
        return self.member.acknowledged

    def published(self, topic: str, count: int | None = None) -> list[bytes | None]:
        return [record.value for record in self.broker.consume_all(topic, count)]


def bench_on(broker: Broker, client: str, letters: str | None = None) -> Bench:
    alerts, state, journal = (broker.create_topic() for _ in range(3))
    return Bench(broker, client, alerts, letters or broker.create_topic(), state, journal)


@pytest.fixture
def bench(kafka_broker: Broker, client: str) -> Iterator[Bench]:
    bench = bench_on(kafka_broker, client)
    yield bench
    bench.sink.close(5.0)


def test_outputs_are_published_in_order_and_then_acknowledged(bench: Bench) -> None:
    values = [b"%d" % i for i in range(5000)]
    bench.sink.write([Output(bench.alerts, b"10.0.0.5", value) for value in values], BATCH)
    assert bench.acknowledged == [OFFSETS]
    # The embedded broker is wrong about how many there are.
    assert bench.published(bench.alerts, count=len(values)) == values


def test_a_sink_without_work_keeps_what_its_client_has_to_say_from_piling_up(
    kafka_broker: Broker,
) -> None:
    bench = bench_on(kafka_broker, "confluent-kafka")
    bench.sink.write([Output(bench.alerts, b"k", b"first")], BATCH)
    producer = bench.sink._producer._producer
    producer.produce(bench.alerts, b"its answer is an event that waits")

    def is_taken() -> bool:
        bench.sink.write([], BATCH)
        return len(producer) == 0

    until(is_taken)
    bench.sink.close(5.0)


def test_without_outputs_the_offsets_are_acknowledged_and_no_producer_is_made(
    bench: Bench,
) -> None:
    bench.sink.write([], BATCH)
    assert bench.acknowledged == [OFFSETS]
    assert "kafka-io" not in {thread.name for thread in threading.enumerate()}
    assert not {"_connection", "_producer"} & vars(bench.sink._producer).keys()


def test_key_value_and_headers_arrive_as_they_are(bench: Bench) -> None:
    odd = [
        Output(bench.letters, b"\xff\x00", b"\xfe{", [("trace", b"\xff"), ("empty", b"")]),
        Output(bench.letters, b"key", None),
        Output(bench.letters, None, None, [("reason", b"tombstone")]),
        Output(bench.letters, None, b""),
    ]
    bench.sink.write(odd, BATCH)
    records = bench.broker.consume_all(bench.letters, count=4)
    assert [(r.key, r.value, list(r.headers)) for r in records] == [
        (output.key, output.value, list(output.headers)) for output in odd
    ]


def test_an_output_that_is_too_large_for_its_topic_is_cut_if_it_may_be(
    kafka_broker: Broker, client: str
) -> None:
    if not kafka_broker.is_apache_kafka:
        pytest.skip("the embedded broker takes records of any size")
    small = kafka_broker.create_topic(config={"max.message.bytes": "20000"})
    bench = bench_on(kafka_broker, client, letters=small)

    noise = random.Random(1).randbytes(100_000)

    def cut(size: int) -> Output:
        return Output(small, None, noise[:size], smaller=cut)

    outputs = [Output(small, b"k", b"before"), cut(100_000), Output(small, b"k", b"after")]
    bench.sink.write(outputs, BATCH)
    bench.sink.write(outputs, BATCH)
    assert bench.acknowledged == [OFFSETS, OFFSETS]
    values = bench.published(small)
    assert sorted(map(len, values)) == [5, 5, 6, 6, 12_500, 12_500]
    bench.sink.close(5.0)


def test_an_output_that_is_too_large_and_must_not_be_cut_stops_the_stream(
    kafka_broker: Broker, client: str
) -> None:
    if not kafka_broker.is_apache_kafka:
        pytest.skip("the embedded broker takes records of any size")
    bench = bench_on(kafka_broker, client)
    huge = random.Random(1).randbytes(2_000_000)
    with pytest.raises(StreamError, match=f"topic {bench.alerts}: a record of 2000001 bytes is"):
        bench.sink.write([Output(bench.alerts, b"k", huge)], BATCH)
    assert bench.acknowledged == []
    bench.sink.close(5.0)


def test_a_topic_that_is_deleted_stops_the_stream(kafka_broker: Broker, client: str) -> None:
    if not kafka_broker.is_apache_kafka:
        pytest.skip("the embedded broker makes topics anew")
    bench = bench_on(kafka_broker, client)
    bench.sink.write([Output(bench.alerts, b"k", b"first")], BATCH)
    admin = kafka_broker.admin()
    admin.delete_topics([bench.alerts])
    admin.close()
    with pytest.raises(StreamError) as caught:
        bench.sink.write([Output(bench.alerts, b"k", b"second")], BATCH)
    assert f"topic '{bench.alerts}': does not exist" in str(caught.value)
    assert bench.acknowledged == [OFFSETS]
    bench.sink.close(timeout_s=0.5)
    until(lambda: not any("network-thread" in t.name for t in threading.enumerate()))


def test_while_the_broker_is_away_a_write_waits_and_then_succeeds(
    kafka_server: KafkaServer, client: str
) -> None:
    bench = bench_on(Broker("Kafka", kafka_server.bootstrap_servers, server=kafka_server), client)
    bench.sink.write([Output(bench.alerts, b"k", b"before")], BATCH)
    kafka_server.kill()
    later = {Partition("vectors", 0): 8}
    outputs = [Output(bench.alerts, b"k", b"during")]
    writing = threading.Thread(
        target=bench.sink.write, args=(outputs, MicroBatch((), later)), daemon=True
    )
    writing.start()
    until(lambda: "refused" in bench.health.parts["outputs"])
    assert bench.acknowledged == [OFFSETS]
    kafka_server.start()
    writing.join(60)
    assert bench.acknowledged == [OFFSETS, later]
    assert bench.health.ready
    assert set(bench.published(bench.alerts)) == {b"before", b"during"}
    bench.sink.close(5.0)


def test_a_sink_that_is_told_to_stop_gives_up_and_acknowledges_nothing(client: str) -> None:
    bench = Bench(Broker("none", "127.0.0.1:1"), client, "alerts", "letters", "state", "journal")
    bench.sink.stop_trying(after_s=0.5)
    with pytest.raises(AbandonedError):
        bench.sink.write([Output("alerts", b"k", b"lost to no one")], BATCH)
    assert bench.acknowledged == []

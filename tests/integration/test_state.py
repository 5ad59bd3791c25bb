"""State in a real topic: compacted at any moment, and read as far as it is committed."""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from threading import Thread

import pytest
import structlog
from kafka import KafkaAdminClient, KafkaProducer

from monitor.batch import Partition, Record
from monitor.config import KafkaSettings
from monitor.stream import state
from monitor.stream.contracts import Output
from monitor.stream.state_topic import read_committed
from tests.support.brokers import Broker, fresh_name
from tests.support.lives import START_MS, KeptTopic, Life, Seen
from tests.support.waiting import until

pytestmark = pytest.mark.kafka

COMPACTED = {
    "cleanup.policy": "compact",
    "min.cleanable.dirty.ratio": "0.01",
    "segment.ms": "100",
    "segment.jitter.ms": "0",
}
HOMES = [Partition("vectors", number) for number in range(3)]


@dataclass
class RealTopic(KeptTopic):
    """A topic of a broker, for a `Life` to keep its state in."""

    kafka: KafkaSettings
    producer: KafkaProducer

    def write(self, outputs: Iterable[Output]) -> None:
        for output in outputs:
            self.producer.send(output.topic, output.value, output.key, partition=output.partition)
        self.producer.flush()

    def read(self, name: str, numbers: Collection[int]) -> tuple[int, list[Record]]:
        return read_committed(self.kafka, name, numbers)


@pytest.fixture
def partitions() -> int:
    return 2


@pytest.fixture
def topic(kafka_broker: Broker, partitions: int) -> Iterator[RealTopic]:
    name = kafka_broker.create_topic(partitions=partitions, config=COMPACTED)
    kafka = KafkaSettings(
        bootstrap_servers=kafka_broker.bootstrap_servers,
        group_id="monitor",
        input_topics=("vectors",),
        state_topic=name,
    )
    producer = KafkaProducer(
        **kafka_broker.client(transactional_id=fresh_name("id"), retry_backoff_ms=10)
    )
    producer.init_transactions()
    yield RealTopic(kafka, producer)
    producer.close()


def life(topic: RealTopic) -> Life:
    return Life(topic, HOMES, kafka=topic.kafka)


def step(of: Life, *seen: Seen) -> None:
    """One micro-batch in one transaction."""
    assert isinstance(of.topic, RealTopic)
    of.topic.producer.begin_transaction()
    of.step(seen, START_MS)
    of.topic.producer.commit_transaction()


def test_a_topic_that_is_compacted_holds_all_of_it_in_few_records(
    kafka_broker: Broker, topic: RealTopic, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not kafka_broker.is_apache_kafka:
        pytest.skip("only Apache Kafka compacts soon")
    monkeypatch.setattr(state, "RING_RECORDS", 8)
    before = life(topic)
    for n in range(70):
        step(before, Seen(f"10.0.0.{n % 7}", n % 3), Seen(f"10.0.1.{n % 60}", (n + 1) % 3, False))
    held = 0

    def is_compacted() -> bool:
        nonlocal held
        step(before, Seen("10.0.0.0", 0))  # an older segment ends by it
        held = len(kafka_broker.consume_all(topic.kafka.state_topic))
        return held < 3 * (8 + 2) + 10

    until(is_compacted, 60)
    after = life(topic)
    assert before.triage.incidents
    assert after.triage.incidents
    for home in HOMES:
        kept, found = before.triage.incidents.held(home), after.triage.incidents.held(home)
        assert [i.seen.vectors for i in found.open] == [i.seen.vectors for i in kept.open]
    assert (after.triage.open_incidents, after.triage.entities) == (7, 67)


@pytest.mark.parametrize("commits", [True, False])
def test_a_transaction_that_another_has_open_is_waited_for(topic: RealTopic, commits: bool) -> None:
    before = life(topic)
    step(before, Seen("10.0.0.5"))
    topic.producer.begin_transaction()
    before.step([Seen("10.0.0.5"), Seen("10.0.0.6")], START_MS)
    loaded: list[Life] = []
    loading = Thread(target=lambda: loaded.append(life(topic)))
    loading.start()
    loading.join(1)
    assert loading.is_alive()
    if commits:
        topic.producer.commit_transaction()
    else:
        topic.producer.abort_transaction()
    loading.join(20)
    assert loaded[0].triage.open_incidents == (2 if commits else 1)


@pytest.mark.parametrize("partitions", [1])
def test_more_partitions_of_the_topic_lose_no_incident(
    kafka_broker: Broker, topic: RealTopic
) -> None:
    before = life(topic)
    step(before, *(Seen(f"10.0.0.{home.partition}", home.partition) for home in HOMES))
    admin = KafkaAdminClient(**kafka_broker.client())
    admin.create_partitions({topic.kafka.state_topic: 4})
    admin.close()
    until(lambda: topic.read(topic.kafka.state_topic, [0])[0] == 4)
    topic.producer._metadata.request_update()
    until(lambda: len(topic.producer.partitions_for(topic.kafka.state_topic)) == 4)
    with structlog.testing.capture_logs() as logs:
        moved = Life(topic, HOMES[2:], kafka=topic.kafka)
    told = "state topic has more partitions than before, the state is taken from the old ones"
    assert [entry["of"] for entry in logs if entry["event"] == told] == [["vectors[2]"]]
    assert moved.triage.open_incidents == 1
    step(moved, Seen("10.0.2.2", 2))
    with structlog.testing.capture_logs() as logs:
        after = life(topic)
    assert after.triage.open_incidents == len(HOMES) + 1  # the newest of both places
    assert [entry["of"] for entry in logs if entry["event"] == told] == []

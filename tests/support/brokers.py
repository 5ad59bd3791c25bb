"""What a test does with a broker, whichever it is: make topics, produce, consume, ask for offsets.

topic = broker.create_topic(partitions=2)
broker.produce(topic, b"one", b"two")
records = broker.consume_all(topic, count=2)
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count as counter
from time import monotonic, sleep
from typing import Any
from uuid import uuid4

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.consumer.fetcher import ConsumerRecord

from tests.support.kafka_server import KafkaServer

_serial = counter(1)


def fresh_name(prefix: str = "topic") -> str:
    """A name for a topic or group that no other test has."""
    return f"{prefix}-{next(_serial)}-{uuid4().hex[:8]}"


def wait_until(condition: Callable[[], bool], what: str, timeout_s: float = 30.0) -> None:
    """Return as soon as the condition holds; fail, naming what was awaited, when it never does."""
    deadline = monotonic() + timeout_s
    while not condition():
        assert monotonic() < deadline, f"not after {timeout_s:.0f} s: {what}"
        sleep(0.05)


@dataclass(frozen=True)
class Broker:
    """A running broker as seen by one user of it.

    `security` holds the keyword arguments of kafka-python's clients that log this user in;
    `server` is the process behind it where it is Apache Kafka, to be stopped and started again.
    """

    name: str
    bootstrap_servers: str
    security: Mapping[str, Any] = field(default_factory=dict)
    server: KafkaServer | None = None

    @property
    def is_apache_kafka(self) -> bool:
        return self.server is not None

    def client(self, **options: Any) -> dict[str, Any]:
        """Keyword arguments for any of kafka-python's clients."""
        return {"bootstrap_servers": self.bootstrap_servers, **self.security, **options}

    def admin(self, **options: Any) -> KafkaAdminClient:
        return KafkaAdminClient(**self.client(**options))

    def create_topic(
        self,
        name: str | None = None,
        partitions: int = 1,
        config: Mapping[str, str] | None = None,
    ) -> str:
        """Create a topic, under a fresh name unless one is given, and return its name."""
        name = name or fresh_name()
        wanted = {"num_partitions": partitions, "replication_factor": 1, "configs": config or {}}
        admin = self.admin()
        try:
            admin.create_topics({name: wanted}, wait_for_metadata=True)
        finally:
            admin.close()
        return name

    def produce(
        self,
        topic: str,
        *values: bytes | None,
        key: bytes | None = None,
        headers: Sequence[tuple[str, bytes]] = (),
        partition: int | None = None,
        timestamp_ms: int | None = None,
        **options: Any,
    ) -> None:
        """Produce the values in order and wait until all of them are acknowledged."""
        producer = KafkaProducer(**self.client(**options))
        try:
            sent = [
                producer.send(topic, value, key, list(headers), partition, timestamp_ms)
                for value in values
            ]
            producer.flush(timeout=30)
            for future in sent:
                future.get(timeout=30)
        finally:
            producer.close()

    def consume_all(
        self,
        topic: str,
        count: int | None = None,
        until: Callable[[list[ConsumerRecord]], bool] | None = None,
        timeout_s: float = 30.0,
        **options: Any,
    ) -> list[ConsumerRecord]:
        """The topic from its beginning, partition by partition in order.

        Reads on until there are `count` records or `until` is true of them, and fails when that
        is not so after `timeout_s`; with neither, reads what the topic holds at the moment.
        """
        consumer = KafkaConsumer(**self.client(auto_offset_reset="earliest", **options))
        try:
            partitions = self._assign_all(consumer, topic)
            ends = consumer.end_offsets(partitions)

            def enough(records: list[ConsumerRecord]) -> bool:
                if until is not None:
                    return until(records)
                if count is not None:
                    return len(records) >= count
                return all(consumer.position(p) >= ends[p] for p in partitions)

            return _poll_until(consumer, enough, timeout_s)
        finally:
            consumer.close()

    def committed(self, group_id: str, topic: str) -> dict[int, int]:
        """The next offset of each partition that the group has committed one for."""
        admin = self.admin()
        try:
            [offsets] = admin.list_group_offsets({group_id: None}).values()
        finally:
            admin.close()
        return {p.partition: o.offset for p, o in offsets.items() if p.topic == topic}

    def end_offsets(self, topic: str) -> dict[int, int]:
        """The offset that the next record of each partition will have."""
        consumer = KafkaConsumer(**self.client())
        try:
            ends = consumer.end_offsets(self._assign_all(consumer, topic))
            return {p.partition: offset for p, offset in ends.items()}
        finally:
            consumer.close()

    def _assign_all(self, consumer: KafkaConsumer, topic: str) -> list[TopicPartition]:
        numbers = consumer.partitions_for_topic(topic)
        assert numbers, f"{self.name} has no topic {topic}"
        partitions = [TopicPartition(topic, number) for number in sorted(numbers)]
        consumer.assign(partitions)
        return partitions


def _poll_until(
    consumer: KafkaConsumer,
    enough: Callable[[list[ConsumerRecord]], bool],
    timeout_s: float,
) -> list[ConsumerRecord]:
    records: list[ConsumerRecord] = []
    deadline = monotonic() + timeout_s
    while not enough(records):
        assert monotonic() < deadline, f"after {timeout_s} s only {len(records)} records: {records}"
        for polled in consumer.poll(timeout_ms=200).values():
            records.extend(polled)
    return records

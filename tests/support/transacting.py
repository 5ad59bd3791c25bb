"""A sink and a source of one member on a real broker, and a way to step in between.

bench = bench_on(broker, "kafka-python")
batch = bench.take(3)
bench.sink.write([Output(bench.alerts, None, b"alert")], batch)
assert bench.visible == [b"alert"]
"""

import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

from monitor.batch import MicroBatch
from monitor.config import BatchSettings, KafkaSettings
from monitor.stream.checks import verify_outputs
from monitor.stream.contracts import Output
from monitor.stream.link import BrokerLink
from monitor.stream.producing import Claim, Failures, Producer, Transactional, Waiting
from monitor.stream.sink import PublishingSink
from monitor.stream.transport import build_producer, build_source
from monitor.telemetry.health import Health
from monitor.telemetry.metrics import Metrics
from tests.support.brokers import Broker, fresh_name

Step = Callable[[], None]


class Interrupted(Producer):
    """A client's producer, and what a test wants just before or after one of its steps, once."""

    def __init__(self, inner: Producer) -> None:
        self.inner = inner
        self.before: dict[str, Step] = {}
        self.after: dict[str, Step] = {}

    def open(self, waiting: Waiting, transactional: Transactional | None = None) -> None:
        with self._step("open"):
            self.inner.open(waiting, transactional)

    def close(self, timeout_s: float) -> None:
        self.inner.close(timeout_s)

    def tend(self) -> None:
        self.inner.tend()

    def send(self, outputs: Sequence[Output], waiting: Waiting) -> Failures:
        with self._step("send"):
            return self.inner.send(outputs, waiting)

    def begin(self) -> None:
        with self._step("begin"):
            self.inner.begin()

    def send_offsets(self, claim: Claim, waiting: Waiting) -> None:
        with self._step("send_offsets"):
            self.inner.send_offsets(claim, waiting)

    def commit(self, waiting: Waiting) -> None:
        with self._step("commit"):
            self.inner.commit(waiting)

    @contextmanager
    def _step(self, name: str) -> Iterator[None]:
        self.before.pop(name, _nothing)()
        yield
        self.after.pop(name, _nothing)()


def _nothing() -> None:
    return


@dataclass
class Bench:
    """A member of a group that reads one topic of numbered records."""

    broker: Broker
    kafka: KafkaSettings
    health: Health = field(default_factory=lambda: Health("broker", "group", "outputs"))

    def __post_init__(self) -> None:
        kafka, metrics = self.kafka, Metrics()
        link = BrokerLink(kafka.bootstrap_servers, metrics, self.health)
        batch = BatchSettings(max_vectors=10, max_delay_ms=20)
        self.source = build_source(kafka, batch, metrics, self.health, link)
        self.producer = Interrupted(build_producer(kafka))
        self.sink = PublishingSink(
            kafka, self.producer, self.source, lambda: verify_outputs(kafka), self.health
        )

    def start(self) -> "Bench":
        self.sink.connect()
        self.source.start()
        return self

    def close(self) -> None:
        self.source.close(5.0)
        self.sink.close(0.5)

    @property
    def topic(self) -> str:
        return self.kafka.input_topics[0]

    @property
    def alerts(self) -> str:
        return self.kafka.alert_topic

    @property
    def visible(self) -> list[bytes | None]:
        """The alerts that a subscriber with isolation.level=read_committed sees."""
        records = self.broker.consume_all(self.alerts, isolation_level="read_committed")
        return [record.value for record in records]

    @property
    def written(self) -> list[bytes | None]:
        """Those of transactions that were aborted, or are open, as well."""
        return [record.value for record in self.broker.consume_all(self.alerts)]

    @property
    def committed(self) -> dict[int, int]:
        return self.broker.committed(self.kafka.group_id, self.topic)

    def take(self, timeout_s: float = 30.0) -> MicroBatch:
        deadline = monotonic() + timeout_s
        while (batch := self.source.next(0.1)) is None:
            assert monotonic() < deadline, "no micro-batch came"
        return batch

    def alert(self, value: bytes) -> Output:
        return Output(self.alerts, b"key", value)


def bench_on(broker: Broker, client: str, partitions: int = 1, **kafka: Any) -> Bench:
    """A bench with topics and a group of its own, not started yet."""
    topics = {name: broker.create_topic() for name in _TOPICS if name not in kafka}
    kafka.setdefault("group_id", fresh_name("group"))
    kafka.setdefault("group_instance_id", "one")
    if "input_topics" not in kafka:
        kafka["input_topics"] = (broker.create_topic(partitions=partitions),)
    settings = KafkaSettings(
        **{
            "bootstrap_servers": broker.bootstrap_servers,
            "client": client,
            "delivery": "exactly_once",
            "session_timeout_ms": 6000,
            **topics,
            **kafka,
        }
    )
    return Bench(broker, settings)


_TOPICS = ("alert_topic", "dead_letter_topic", "state_topic", "journal_topic")


def freeze(broker: Broker) -> None:
    """From now on it keeps its connections, and says nothing."""
    assert broker.server is not None
    broker.server.signal(signal.SIGSTOP)


def thaw(broker: Broker) -> None:
    """It answers again."""
    assert broker.server is not None
    broker.server.signal(signal.SIGCONT)

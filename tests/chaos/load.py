"""The load: a thread that produces at a rate, whatever the broker is going through."""

from threading import Event, Lock, Thread
from time import monotonic

from confluent_kafka import KafkaError, Message, Producer

from tests.chaos.traffic import Kind, Traffic

TICK_SECONDS = 0.02
FLUSH_SECONDS = 120
IN_FLIGHT = 200_000


class Load:
    """Produces `traffic` to the partitions of a topic in turn; each record once, or it fails.

    Attributes:
        rate: records a second; may be changed at any time, and 0 makes a pause.
    """

    def __init__(
        self, servers: str, topic: str, partitions: int, traffic: Traffic, rate: float
    ) -> None:
        self.traffic, self.rate = traffic, rate
        self._topic, self._partitions = topic, partitions
        self._producer = Producer(
            {
                "bootstrap.servers": servers,
                "enable.idempotence": True,
                "compression.type": "lz4",
                "linger.ms": 5,
                "message.timeout.ms": 600_000,
                "queue.buffering.max.messages": 2 * IN_FLIGHT,
                "reconnect.backoff.max.ms": 500,
                "log_level": 0,
            }
        )
        self._failed: list[KafkaError] = []
        self._ended, self._turn = Event(), Lock()
        self._thread = Thread(target=self._run, name="load", daemon=True)

    @property
    def produced(self) -> int:
        """Records handed to the producer."""
        return self.traffic.number

    def start(self) -> None:
        self._thread.start()

    def say(self, kind: Kind, source: str) -> None:
        """Produce a record of the caller's beside the others."""
        with self._turn:
            self._send(self.traffic.record(kind, source))

    def stop(self) -> None:
        """Produce no more, and wait until all of it is acknowledged."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()
        left = self._producer.flush(FLUSH_SECONDS)
        if left or self._failed:
            raise RuntimeError(f"the load itself failed: {left} not produced, {self._failed[:3]}")

    def close(self) -> None:
        """Let go of what was not produced."""
        self._ended.set()
        self._producer.purge()

    def _run(self) -> None:
        debt, last = 0.0, monotonic()
        while not self._ended.wait(TICK_SECONDS):
            now = monotonic()
            debt = min(debt + (now - last) * self.rate, self.rate)
            last = now
            room = IN_FLIGHT - len(self._producer)
            with self._turn:
                for _ in range(min(int(debt), room)):
                    self._send(self.traffic.next())
                    debt -= 1
            self._producer.poll(0)

    def _send(self, record: bytes) -> None:
        partition = self.traffic.number % self._partitions
        self._producer.produce(self._topic, record, partition=partition, callback=self._told)

    def _told(self, error: KafkaError | None, _: Message) -> None:
        if error is not None:
            self._failed.append(error)

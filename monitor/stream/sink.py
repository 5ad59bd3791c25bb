"""The sink: Kafka's producer, and the only place that lets offsets be committed.

    sink = KafkaSink(settings.kafka, source.acknowledge, verify, health)
    sink.write(outputs, batch)

What does not depend on the client is in `monitor.stream.publishing`.
"""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from kafka import KafkaProducer
from kafka.errors import KafkaError
from kafka.future import Future
from kafka.serializer import Serializer

from monitor.contracts.dead_letter import MAX_DEAD_LETTER_BYTES
from monitor.stream.client import Connection, close_producer, connect
from monitor.stream.contracts import Output
from monitor.stream.publishing import (
    BATCH_BYTES,
    DELIVERY_TIMEOUT_MS,
    FLUSH_SECONDS,
    LINGER_MS,
    REQUEST_TIMEOUT_MS,
    PublishingSink,
)

METADATA_TIMEOUT_MS = 2_000

_NOTHING: Any = object()


class KafkaSink(PublishingSink):
    """Produces with kafka-python."""

    _connection: Connection[KafkaProducer] | None = None

    @property
    def is_open(self) -> bool:
        return self._connection is not None

    def close(self, timeout_s: float) -> None:
        connection, self._connection = self._connection, None
        if connection:
            close_producer(connection.client, timeout_s)

    def _open(self) -> None:
        if self._connection is None:
            self._connection = connect(
                KafkaProducer,
                self._kafka,
                acks="all",
                enable_idempotence=True,
                compression_type="lz4",  # alerts become 5 times smaller, and are sent no slower
                batch_size=BATCH_BYTES,
                linger_ms=LINGER_MS,
                value_serializer=_NothingAsNull(),
                delivery_timeout_ms=DELIVERY_TIMEOUT_MS,
                request_timeout_ms=REQUEST_TIMEOUT_MS,
                max_block_ms=METADATA_TIMEOUT_MS,
                max_request_size=2 * MAX_DEAD_LETTER_BYTES,
                metrics_enabled=False,
            )

    def _send(self, outputs: Sequence[Output]) -> list[tuple[Output, Exception]]:
        assert self._connection is not None
        producer = self._connection.client
        for topic in {output.topic for output in outputs}:
            producer.partitions_for(topic)
        sent = [(output, _produce(producer, output)) for output in outputs]
        for _ in self._waiting():
            if all(future.is_done for _, future in sent):
                break
            with suppress(KafkaError):
                producer.flush(FLUSH_SECONDS)
        return [(output, future.exception) for output, future in sent if future.failed()]


def _produce(producer: KafkaProducer, output: Output) -> Future:
    # The client takes neither a header without a value nor a record without key and value, though
    # Kafka has both.
    headers = [(name, value or b"") for name, value in output.headers]
    value = _NOTHING if output.value is None else output.value
    try:
        return producer.send(output.topic, value, output.key, headers, output.partition)
    except KafkaError as error:
        return Future().failure(error)


class _NothingAsNull(Serializer):  # type: ignore[misc]
    def serialize(self, _topic: str, _headers: Any, data: Any) -> bytes | None:
        return None if data is _NOTHING else data

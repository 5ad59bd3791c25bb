"""The sink with confluent-kafka."""

from collections.abc import Sequence
from contextlib import suppress
from functools import partial

from confluent_kafka import KafkaError as ClientError
from confluent_kafka import KafkaException, Message, Producer
from kafka.errors import UnknownProducerIdError

from monitor.contracts.dead_letter import MAX_DEAD_LETTER_BYTES
from monitor.stream import confluent_client
from monitor.stream.contracts import Output
from monitor.stream.publishing import (
    BATCH_BYTES,
    DELIVERY_TIMEOUT_MS,
    FLUSH_SECONDS,
    LINGER_MS,
    REQUEST_TIMEOUT_MS,
    PublishingSink,
)

ANY_PARTITION = -1
QUEUED_RECORDS = 1_000_000
"""More than are ever written at a time."""


class ConfluentSink(PublishingSink):
    """Produces with confluent-kafka."""

    _producer: Producer | None = None

    @property
    def is_open(self) -> bool:
        return self._producer is not None

    def close(self, timeout_s: float) -> None:
        producer, self._producer = self._producer, None
        if producer:
            with suppress(KafkaException):
                producer.flush(timeout_s)
                producer.purge()
                producer.flush(FLUSH_SECONDS)

    def tend(self) -> None:
        """Take what waits in the client's queue, which grows otherwise: its log, and its tokens."""
        if self._producer:
            self._producer.poll(0)

    def _open(self) -> None:
        if self._producer is None:
            confluent_client.find_broker(self._kafka)
            options = {
                **confluent_client.options(self._kafka),
                "acks": "all",
                "enable.idempotence": True,
                "partitioner": "murmur2_random",  # a key's partition is the one of other clients
                "compression.type": "lz4",
                "batch.size": BATCH_BYTES,
                "linger.ms": LINGER_MS,
                "delivery.timeout.ms": DELIVERY_TIMEOUT_MS,
                "request.timeout.ms": REQUEST_TIMEOUT_MS,
                "socket.timeout.ms": REQUEST_TIMEOUT_MS,
                "message.max.bytes": 2 * MAX_DEAD_LETTER_BYTES,
                "queue.buffering.max.messages": QUEUED_RECORDS,
            }
            self._producer = Producer(options, logger=confluent_client.LOGGER)

    def _send(self, outputs: Sequence[Output]) -> list[tuple[Output, Exception]]:
        assert self._producer is not None
        failed: list[tuple[Output, Exception]] = []
        answered = 0

        def answer(output: Output, error: ClientError | None, _: Message | None = None) -> None:
            nonlocal answered
            answered += 1
            if error:
                failed.append((output, _in_words(error)))

        for output in outputs:
            try:
                self._producer.produce(
                    output.topic,
                    output.value,
                    output.key,
                    ANY_PARTITION if output.partition is None else output.partition,
                    headers=list(output.headers),
                    on_delivery=partial(answer, output),
                )
            except KafkaException as error:
                answer(output, error.args[0])
        for _ in self._waiting():
            if answered == len(outputs):
                break
            self._producer.flush(FLUSH_SECONDS)
        return failed


# A producer of this client that cannot go on has lost its place in the sequence: a new one can.
_in_words = partial(confluent_client.in_words, fatal=UnknownProducerIdError)

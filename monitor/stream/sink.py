"""The sink: Kafka's producer, and the only place that lets offsets be committed.

    sink = KafkaSink(settings.kafka, source.acknowledge, health, verify_outputs)
    sink.write(outputs, batch.next_offsets)

Every output is acknowledged by all in-sync replicas before an offset is. While the broker is away
it tries on, and the input waits; what no retry mends stops the stream rather than lose an output.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from time import monotonic, sleep
from typing import Any

import structlog
from kafka import KafkaProducer
from kafka.errors import (
    BrokerResponseError,
    InvalidProducerEpochError,
    InvalidProducerIdMappingError,
    KafkaError,
    MessageSizeTooLargeError,
    OutOfOrderSequenceNumberError,
    RecordListTooLargeError,
    RetriableError,
    UnknownError,
    UnknownProducerIdError,
)
from kafka.future import Future
from kafka.serializer import Serializer

from monitor.config import KafkaSettings
from monitor.errors import BrokerError, StreamError
from monitor.stream.client import REFUSALS, BrokerAwayError, Connection, connect
from monitor.stream.contracts import Offsets, Output
from monitor.telemetry.health import Health

FLUSH_SECONDS = 0.25
"""How often a write that waits looks whether it is to give up."""
RETRY_SECONDS = 1.0
WRITE_BYTES = 8 * 1024 * 1024
"""Outputs in the producer's memory at a time."""
SMALLEST_BYTES = 4_000
DELIVERY_TIMEOUT_MS = 30_000
REQUEST_TIMEOUT_MS = 10_000

_STATE = (
    InvalidProducerEpochError,
    InvalidProducerIdMappingError,
    OutOfOrderSequenceNumberError,
    UnknownProducerIdError,
)
_TOO_LARGE = (MessageSizeTooLargeError, RecordListTooLargeError)
_NOTHING: Any = object()

log = structlog.get_logger()


class AbandonedError(Exception):
    """The sink was told to stop while the broker was away; nothing was acknowledged."""


class KafkaSink:
    """Publishes in order and exactly what it is given; see `monitor.stream.contracts.Sink`.

    Args:
        acknowledge: called with the offsets once everything before them is published.
        verify: raises BrokerError if an output topic is gone or may not be written.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        acknowledge: Callable[[Offsets], None],
        verify: Callable[[], None],
        health: Health,
    ) -> None:
        self._kafka, self._acknowledge, self._verify = kafka, acknowledge, verify
        self._health = health
        self._connection: Connection[KafkaProducer] | None = None
        self._give_up_at = float("inf")

    def connect(self) -> None:
        """Connect ahead of the first output.

        Raises:
            BrokerAwayError: no broker answers.
            BrokerError: it refuses.
        """
        self._producer()
        self._health.ok("outputs")

    def write(self, outputs: Sequence[Output], next_offsets: Offsets) -> None:
        """Publish all outputs, then acknowledge; on return both have happened.

        Raises:
            StreamError: an output cannot be published.
            AbandonedError: `stop_trying` was called and the time is over.
        """
        for chunk in _chunks(outputs):
            self._publish(chunk)
        self._acknowledge(next_offsets)

    def stop_trying(self, after_s: float) -> None:
        """From now on a write that is not acknowledged gives up after so many seconds."""
        self._give_up_at = monotonic() + after_s

    def close(self, timeout_s: float) -> None:
        """Close the producer; a write that was abandoned is dropped with it."""
        connection, self._connection = self._connection, None
        if connection:
            with suppress(KafkaError):
                connection.client.close(timeout_s)

    def _publish(self, outputs: Sequence[Output]) -> None:
        """Try until all are acknowledged."""
        while outputs := self._attempt(outputs):
            if monotonic() > self._give_up_at:
                raise AbandonedError
        self._health.ok("outputs")

    def _attempt(self, outputs: Sequence[Output]) -> list[Output]:
        """Send each once; returns those that are to be sent again."""
        try:
            producer = self._producer()
        except BrokerAwayError as reason:
            self._in_trouble(str(reason))
            return list(outputs)
        sent = [(output, self._send(producer, output)) for output in outputs]
        self._wait_for(producer, [future for _, future in sent])
        again: list[Output] = []
        for output, future in sent:
            if future.failed():
                again.append(self._after(output, future.exception))
        if any(not isinstance(f.exception, (*_TOO_LARGE, type(None))) for _, f in sent):
            self._recover(sent)
        return again

    def _producer(self) -> KafkaProducer:
        if self._connection is None:
            self._connection = connect(
                KafkaProducer,
                self._kafka,
                acks="all",
                enable_idempotence=True,
                compression_type="lz4",
                batch_size=256 * 1024,
                linger_ms=5,
                value_serializer=_NothingAsNull(),
                delivery_timeout_ms=DELIVERY_TIMEOUT_MS,
                request_timeout_ms=REQUEST_TIMEOUT_MS,
                max_block_ms=REQUEST_TIMEOUT_MS,
                metrics_enabled=False,
            )
        return self._connection.client

    def _send(self, producer: KafkaProducer, output: Output) -> Future:
        # The client takes neither a header without a value nor a record without key and value,
        # though Kafka has both.
        headers = [(name, value or b"") for name, value in output.headers]
        value = _NOTHING if output.value is None else output.value
        try:
            return producer.send(output.topic, value, output.key, headers)
        except KafkaError as error:
            return Future().failure(error)

    def _wait_for(self, producer: KafkaProducer, futures: list[Future]) -> None:
        while not all(future.is_done for future in futures):
            with suppress(KafkaError):
                producer.flush(FLUSH_SECONDS)
            if monotonic() > self._give_up_at:
                raise AbandonedError

    def _after(self, output: Output, error: Exception) -> Output:
        """What to send in place of an output that was not taken."""
        if isinstance(error, _TOO_LARGE):
            size = len(output.value or b"") // 2
            if output.smaller is None or size < SMALLEST_BYTES:
                raise StreamError(
                    f"topic {output.topic}: a record of {len(output.value or b'')} bytes is too "
                    f"large for it ({error}); raise its max.message.bytes."
                ) from error
            return output.smaller(size)
        if isinstance(error, REFUSALS) or _is_final(error):
            raise StreamError(
                f"topic {output.topic}: the broker does not take a record ({error}); nothing past "
                "this is committed."
            ) from error
        return output

    def _recover(self, sent: list[tuple[Output, Future]]) -> None:
        """After any other failure: see that the topics are there, and begin with a new producer."""
        reason = next(future.exception for _, future in sent if future.failed())
        self._in_trouble(str(reason))
        self.close(timeout_s=1.0)
        try:
            self._verify()
        except BrokerAwayError as away:
            self._in_trouble(str(away))
        except BrokerError as error:
            raise StreamError(f"{error} Nothing past this is committed.") from error
        sleep(RETRY_SECONDS)

    def _in_trouble(self, reason: str) -> None:
        if self._health.parts.get("outputs") == "ok":
            log.warning("outputs are not acknowledged, trying on", reason=reason)
        self._health.problem("outputs", reason)


def _is_final(error: Exception) -> bool:
    """Whether the broker would say the same again; a new producer mends what is in _STATE."""
    ours_to_mend = isinstance(error, (RetriableError, UnknownError, *_STATE))
    return isinstance(error, BrokerResponseError) and not ours_to_mend


class _NothingAsNull(Serializer):  # type: ignore[misc]
    def serialize(self, _topic: str, _headers: Any, data: Any) -> bytes | None:
        return None if data is _NOTHING else data


def _chunks(outputs: Sequence[Output]) -> Iterator[Sequence[Output]]:
    """Runs of at most WRITE_BYTES, or single outputs that are larger."""
    chunk: list[Output] = []
    size = 0
    for output in outputs:
        if chunk and size + len(output.value or b"") > WRITE_BYTES:
            yield chunk
            chunk, size = [], 0
        chunk.append(output)
        size += len(output.value or b"")
    if chunk:
        yield chunk

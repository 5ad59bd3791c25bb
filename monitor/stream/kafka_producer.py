"""Writing with kafka-python.

Of a transaction this client, 3.0.12, waits for ever for answers that were lost with a connection,
and calls one committed whose records failed. So here no answer is waited for without an end, and
who commits has seen that of every record before; tests/integration/test_kafka_python_3_0_12.py
shows both, and more.
"""

import gc
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from kafka import KafkaProducer, OffsetAndMetadata, TopicPartition
from kafka.errors import KafkaError, KafkaTimeoutError
from kafka.future import Future
from kafka.producer.transaction_manager import TransactionalRequestResult, TransactionManager
from kafka.serializer import Serializer

from monitor.contracts.dead_letter import MAX_DEAD_LETTER_BYTES
from monitor.stream.client import Connection, close_producer, connect
from monitor.stream.contracts import Output
from monitor.stream.producing import (
    BATCH_BYTES,
    DELIVERY_TIMEOUT_MS,
    FLUSH_SECONDS,
    LINGER_MS,
    MARK_END,
    REQUEST_TIMEOUT_MS,
    RETRY_BACKOFF_MS,
    Claim,
    Failures,
    Producer,
    Transactional,
    Waiting,
)

METADATA_TIMEOUT_MS = 2_000
END_SECONDS = 0.5
"""How long a producer that is dropped may take to end: it could still send."""
NO_LEADER_EPOCH = -1

_NOTHING: Any = object()


class KafkaPythonProducer(Producer):
    """See `monitor.stream.producing.Producer`."""

    _connection: Connection[KafkaProducer] | None = None

    def open(self, waiting: Waiting, transactional: Transactional | None = None) -> None:
        if self._connection:
            return
        self._connection = connect(
            KafkaProducer,
            self._kafka,
            acks="all",
            enable_idempotence=True,
            compression_type="lz4",  # alerts become 5 times smaller, and are sent no slower
            batch_size=BATCH_BYTES,
            linger_ms=LINGER_MS,
            value_serializer=_NothingAsNull(),
            max_block_ms=METADATA_TIMEOUT_MS,
            max_request_size=2 * MAX_DEAD_LETTER_BYTES,
            metrics_enabled=False,
            **_timing(transactional),
        )
        if transactional:
            try:
                self._ask(self._transactions.initialize_transactions(), waiting)
            except BaseException:
                self.close(0)
                raise

    def close(self, timeout_s: float) -> None:
        connection, self._connection = self._connection, None
        if connection:
            close_producer(connection.client, timeout_s)
            connection.client._sender.join(END_SECONDS)
            del connection
            gc.collect()  # it is tied to itself in circles, with all that it could not send

    def send(self, outputs: Sequence[Output], waiting: Waiting) -> Failures:
        producer = self._producer
        for topic in {output.topic for output in outputs}:
            producer.partitions_for(topic)
        sent = [(output, _produce(producer, output)) for output in outputs]
        for _ in waiting():
            if all(future.is_done for _, future in sent):
                break
            with suppress(KafkaError):
                producer.flush(FLUSH_SECONDS)
        return [(output, future.exception) for output, future in sent if future.failed()]

    def begin(self) -> None:
        self._producer.begin_transaction()

    def send_offsets(self, claim: Claim, waiting: Waiting) -> None:
        mark = claim.mark + MARK_END
        offsets = {
            TopicPartition(*partition): OffsetAndMetadata(offset, mark, NO_LEADER_EPOCH)
            for partition, offset in claim.offsets.items()
        }
        asked = self._transactions.send_offsets_to_transaction(offsets, claim.group)
        self._ask(asked, waiting)

    def commit(self, waiting: Waiting) -> None:
        self._ask(self._transactions.begin_commit(), waiting)

    @property
    def _producer(self) -> KafkaProducer:
        assert self._connection is not None
        return self._connection.client

    @property
    def _transactions(self) -> TransactionManager:
        return self._producer._transaction_manager

    def _ask(self, asked: TransactionalRequestResult, waiting: Waiting) -> None:
        """Have a request sent and its answer; the client's own calls wait without an end."""
        self._producer._sender.wakeup()
        for _ in waiting():
            if asked.wait(timeout_ms=FLUSH_SECONDS * 1000):
                return


def _timing(transactional: Transactional | None) -> dict[str, Any]:
    if transactional is None:
        return {
            "delivery_timeout_ms": DELIVERY_TIMEOUT_MS,
            "request_timeout_ms": REQUEST_TIMEOUT_MS,
        }
    patience_ms = int(1000 * transactional.patience_s)
    return {
        "transactional_id": transactional.id,
        "transaction_timeout_ms": int(1000 * transactional.timeout_s),
        "delivery_timeout_ms": patience_ms,
        "request_timeout_ms": patience_ms - LINGER_MS,
        "retry_backoff_ms": RETRY_BACKOFF_MS,
    }


def _produce(producer: KafkaProducer, output: Output) -> Future:
    # The client takes neither a header without a value nor a record without key and value, though
    # Kafka has both.
    headers = [(name, value or b"") for name, value in output.headers]
    value = _NOTHING if output.value is None else output.value
    try:
        return producer.send(output.topic, value, output.key, headers, output.partition)
    except KafkaError as error:
        return Future().failure(error)
    except ValueError as error:  # a partition that is newer than what the client knows
        producer._metadata.request_update()
        return Future().failure(KafkaTimeoutError(str(error)))


class _NothingAsNull(Serializer):  # type: ignore[misc]
    def serialize(self, _topic: str, _headers: Any, data: Any) -> bytes | None:
        return None if data is _NOTHING else data

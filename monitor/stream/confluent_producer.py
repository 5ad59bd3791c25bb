"""Writing with confluent-kafka."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from threading import Thread
from typing import Any

from confluent_kafka import KafkaError as ClientError
from confluent_kafka import KafkaException, Message, TopicPartition
from confluent_kafka import Producer as ClientProducer
from kafka.errors import UnknownProducerIdError

from monitor.contracts.dead_letter import MAX_DEAD_LETTER_BYTES
from monitor.stream import confluent_client
from monitor.stream.contracts import Output
from monitor.stream.producing import (
    BATCH_BYTES,
    DELIVERY_TIMEOUT_MS,
    FLUSH_SECONDS,
    LINGER_MS,
    REQUEST_TIMEOUT_MS,
    RETRY_BACKOFF_MS,
    Claim,
    Failures,
    Producer,
    Transactional,
    Waiting,
)

ANY_PARTITION = -1
CALL_SECONDS = 10.0
QUEUED_RECORDS = 1_000_000
"""More than are ever written at a time."""


class ConfluentProducer(Producer):
    """See `monitor.stream.producing.Producer`."""

    _producer: ClientProducer | None = None

    def open(self, waiting: Waiting, transactional: Transactional | None = None) -> None:
        if self._producer:
            return
        confluent_client.find_broker(self._kafka)
        options = {
            **confluent_client.options(self._kafka),
            "acks": "all",
            "enable.idempotence": True,
            "partitioner": "murmur2_random",  # a key's partition is the one of other clients
            "compression.type": "lz4",
            "batch.size": BATCH_BYTES,
            "linger.ms": LINGER_MS,
            "message.max.bytes": 2 * MAX_DEAD_LETTER_BYTES,
            "queue.buffering.max.messages": QUEUED_RECORDS,
            **_timing(transactional),
        }
        self._producer = ClientProducer(options, logger=confluent_client.LOGGER)
        if transactional:
            try:
                self._ask(self._producer.init_transactions, waiting)
            except BaseException:
                self.close(0)
                raise

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

    def send(self, outputs: Sequence[Output], waiting: Waiting) -> Failures:
        assert self._producer is not None
        failed: Failures = []
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
        for _ in waiting():
            if answered == len(outputs):
                break
            self._producer.flush(FLUSH_SECONDS)
        return failed

    def begin(self) -> None:
        assert self._producer is not None
        try:
            self._producer.begin_transaction()
        except KafkaException as error:
            raise _in_words(error.args[0]) from error

    def send_offsets(self, claim: Claim, waiting: Waiting) -> None:
        assert self._producer is not None
        offsets = [
            TopicPartition(*partition, offset, claim.mark)
            for partition, offset in claim.offsets.items()
        ]
        send = self._producer.send_offsets_to_transaction
        self._ask(partial(send, offsets, claim.group), waiting)

    def commit(self, waiting: Waiting) -> None:
        assert self._producer is not None
        self._ask(self._producer.commit_transaction, waiting)

    def _ask(self, call: Callable[[float], None], waiting: Waiting) -> None:
        """Call on a thread of its own: some calls take as long as a request, whatever they may.

        The thread ends with the call, which is at most so long after nobody waits for it any more.
        """
        answer: Future[None] = Future()
        Thread(target=_answer, args=(answer, call), name="transaction", daemon=True).start()
        for _ in waiting():
            with suppress(TimeoutError):
                answer.result(FLUSH_SECONDS)
                break


def _answer(answer: "Future[None]", call: Callable[[float], None]) -> None:
    try:
        call(CALL_SECONDS)
        answer.set_result(None)
    except KafkaException as error:
        answer.set_exception(_in_words(error.args[0]))
    except Exception as error:
        answer.set_exception(error)


def _timing(transactional: Transactional | None) -> dict[str, Any]:
    if transactional is None:
        return {
            "delivery.timeout.ms": DELIVERY_TIMEOUT_MS,
            "request.timeout.ms": REQUEST_TIMEOUT_MS,
            "socket.timeout.ms": REQUEST_TIMEOUT_MS,
        }
    patience_ms = int(1000 * transactional.patience_s)
    return {
        "transactional.id": transactional.id,
        "transaction.timeout.ms": int(1000 * transactional.timeout_s),
        "delivery.timeout.ms": patience_ms,
        "request.timeout.ms": patience_ms,
        "socket.timeout.ms": patience_ms,
        "retry.backoff.ms": RETRY_BACKOFF_MS,
    }


# A producer of this client that cannot go on has lost its place in the sequence: a new one can.
_in_words = partial(confluent_client.in_words, fatal=UnknownProducerIdError)

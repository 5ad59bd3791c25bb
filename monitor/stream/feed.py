"""Records into a topic at a steady rate, all acknowledged in the end; what `monitor replay` does.

sent = feed(settings, "vectors", pack(records, spec, "json", 1), rate_per_second=2_000)
"""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from operator import attrgetter
from typing import TypeVar

from kafka import KafkaProducer
from kafka.errors import KafkaError

from monitor.config import KafkaSettings
from monitor.errors import BrokerError, StreamError
from monitor.ingest.packing import Packed
from monitor.stream.client import BrokerAwayError, connect

T = TypeVar("T")

TOPIC_SECONDS = 10.0
"""How long to wait for a topic to be there, or for room in the producer's buffer."""
ACKNOWLEDGE_SECONDS = 15.0
_TOO_SHORT_SECONDS = 0.002
"""A sleep this short costs more than it is worth."""


def feed(
    kafka: KafkaSettings,
    topic: str,
    records: Iterable[Packed],
    rate_per_second: float | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> int:
    """Send every record, and wait until the broker has acknowledged all of them.

    Args:
        rate_per_second: of rows, of which a record may hold many.
        progress: called with the number of rows sent so far.

    Returns:
        How many rows.

    Raises:
        BrokerError: no broker answers, or it refuses: the login, the topic, the right to write.
        StreamError: it stopped taking records on the way.
    """
    producer = _producer(kafka, topic)
    failures: list[BaseException] = []
    sent = told = 0
    progress_every = max(int(rate_per_second / 10), 1) if rate_per_second else 200
    try:
        for record in paced(records, rate_per_second, attrgetter("rows")):
            producer.send(topic, record.value).add_errback(failures.append)
            sent += record.rows
            if failures:
                break
            if sent - told >= progress_every:
                progress(told := sent)
        producer.flush(2 * ACKNOWLEDGE_SECONDS)
    except KafkaError as error:
        failures.append(error)
    finally:
        with suppress(KafkaError):
            producer.close(1.0)
    if failures:
        raise StreamError(
            f"topic {topic}: {kafka.bootstrap_servers} did not take all of {sent} rows "
            f"({failures[0]}); look at the broker, then replay again."
        )
    progress(sent)
    return sent


def paced(
    records: Iterable[T],
    rate_per_second: float | None,
    rows: Callable[[T], int] = lambda _: 1,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[T]:
    """The same records, none before its turn; a delay is caught up with, so the mean rate holds.

    Args:
        rate_per_second: of rows.
        rows: how many a record holds.
    """
    if rate_per_second is None:
        yield from records
        return
    start, turn = clock(), 0
    for record in records:
        early = start + turn / rate_per_second - clock()
        if early > _TOO_SHORT_SECONDS:
            sleep(early)
        yield record
        turn += rows(record)


def _producer(kafka: KafkaSettings, topic: str) -> KafkaProducer:
    """A producer that has found the topic."""
    try:
        producer = connect(
            KafkaProducer,
            kafka,
            acks="all",
            linger_ms=20,
            batch_size=1 << 17,
            compression_type="lz4",
            max_block_ms=int(TOPIC_SECONDS * 1000),
            delivery_timeout_ms=int(ACKNOWLEDGE_SECONDS * 1000),
            request_timeout_ms=int(ACKNOWLEDGE_SECONDS * 500),
        ).client
    except BrokerAwayError as error:
        raise BrokerError(
            f"kafka.bootstrap_servers {kafka.bootstrap_servers}: no broker answers ({error}); "
            "start it or correct the address."
        ) from error
    try:
        producer.partitions_for(topic)
    except KafkaError as error:
        producer.close(0)
        raise BrokerError(
            f"topic {topic}: cannot be written to at {kafka.bootstrap_servers} ({error}); create "
            "it, or allow this user to write to it."
        ) from error
    return producer

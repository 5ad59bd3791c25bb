"""Read a topic as it grows, as a subscriber outside any group.

for record in subscribe(settings, "alerts", from_beginning=True): ...
"""

from collections.abc import Iterator
from itertools import islice

from kafka import KafkaConsumer
from kafka.errors import KafkaError, RetriableError

from monitor.batch import Record
from monitor.config import KafkaSettings
from monitor.errors import BrokerError, StreamError
from monitor.stream.checks import check_topic, cluster
from monitor.stream.client import BrokerAwayError, connect

POLL_MS = 500


def subscribe(
    kafka: KafkaSettings, topic: str, from_beginning: bool = False, limit: int | None = None
) -> Iterator[Record]:
    """Records of all partitions, for ever or up to `limit`; a broker that goes away is waited for.

    Raises:
        BrokerError: no broker answers, or it refuses; the topic does not exist.
        StreamError: the broker began to refuse on the way.
    """
    try:
        with cluster(kafka) as admin:
            check_topic(admin, kafka, topic, "READ")
        consumer = connect(
            KafkaConsumer,
            kafka,
            auto_offset_reset="earliest" if from_beginning else "latest",
            isolation_level="read_committed",
            metrics_enabled=False,
        ).client
    except BrokerAwayError as reason:
        raise BrokerError(
            f"kafka.bootstrap_servers {kafka.bootstrap_servers}: {reason}."
        ) from reason
    consumer.subscribe([topic])
    try:
        yield from islice(_records(consumer), limit)
    except KafkaError as error:
        raise StreamError(f"topic {topic!r}: cannot be read on ({error}).") from error
    finally:
        consumer.close(timeout_ms=POLL_MS)


def _records(consumer: KafkaConsumer) -> Iterator[Record]:
    while True:
        try:
            polled = consumer.poll(timeout_ms=POLL_MS)
        except RetriableError:
            continue
        for records in polled.values():
            yield from records

"""A consumer beside the group: what is committed, and what a topic of ours holds.

    with onlooker(settings.kafka) as seen:
        seen.committed(Partition("vectors", 0))
        for record in seen.records([Partition("monitor-state", 0)]):
            ...

It reads what is committed alone, and waits for transactions that are neither committed nor aborted.
It is kafka-python's, whichever client reads the input: it has little to do.
"""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from time import monotonic

from kafka import KafkaConsumer, OffsetAndMetadata, TopicPartition
from kafka.consumer.fetcher import ConsumerRecord
from kafka.errors import (
    AuthorizationError,
    KafkaError,
    KafkaTimeoutError,
    UnknownTopicOrPartitionError,
)

from monitor.batch import Partition
from monitor.config import KafkaSettings
from monitor.errors import BrokerError
from monitor.stream.client import BrokerAwayError, connect

ANSWER_SECONDS = 15.0
"""How long an answer may take: a transaction that a dead member left open ends within 10 s."""
POLL_MS = 200
EMPTY_MS = 20
"""After so long the broker answers that there is nothing."""
RETRY_BACKOFF_MS = 10


class Onlooker:
    """Reads without being a member of the group."""

    def __init__(self, consumer: KafkaConsumer) -> None:
        self._consumer = consumer

    def committed(
        self, partition: Partition, timeout_s: float = ANSWER_SECONDS
    ) -> OffsetAndMetadata | None:
        """The group's offset and its metadata; None where there is none.

        Raises:
            KafkaTimeoutError: a transaction that commits another is still open.
        """
        return self._consumer.committed(
            TopicPartition(*partition), metadata=True, timeout_ms=timeout_s * 1000
        )

    def partitions(self, topic: str) -> int:
        """How many it has.

        Raises:
            UnknownTopicOrPartitionError: it does not exist.
        """
        found = self._consumer.partitions_for_topic(topic)
        if not found:
            raise UnknownTopicOrPartitionError(topic)
        return len(found)

    def records(self, partitions: Collection[Partition]) -> Iterator[ConsumerRecord]:
        """All that these hold now, each partition in order.

        Up to the high watermark of the first answer, and not to the last stable offset, which
        `end_offsets` would give: what an open transaction of another has written counts as well.

        Raises:
            KafkaTimeoutError: nothing came for a while.
        """
        wanted = [TopicPartition(*partition) for partition in partitions]
        self._consumer.assign(wanted)
        self._consumer.seek_to_beginning(*wanted)
        ends = dict[TopicPartition, int]()
        deadline = monotonic() + ANSWER_SECONDS
        while len(ends) < len(wanted) or any(
            self._consumer.position(tp) < end for tp, end in ends.items()
        ):
            for polled in self._consumer.poll(POLL_MS).values():
                yield from polled
                deadline = monotonic() + ANSWER_SECONDS
            for tp in wanted:
                if (end := self._consumer.highwater(tp)) is not None:
                    ends.setdefault(tp, end)
            if monotonic() > deadline:
                raise KafkaTimeoutError(f"nothing of {sorted(partitions)} was read")


@contextmanager
def onlooker(kafka: KafkaSettings) -> Iterator[Onlooker]:
    """One for a moment.

    Raises:
        BrokerAwayError: no broker answers, or it goes away meanwhile.
        BrokerError: it refuses.
    """
    consumer = connect(
        KafkaConsumer,
        kafka,
        group_id=kafka.group_id,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
        retry_backoff_ms=RETRY_BACKOFF_MS,
        fetch_max_wait_ms=EMPTY_MS,
        metrics_enabled=False,
    ).client
    try:
        yield Onlooker(consumer)
    except AuthorizationError as error:
        raise BrokerError(
            f"kafka.bootstrap_servers {kafka.bootstrap_servers}: does not allow this ({error})."
        ) from error
    except KafkaError as error:
        raise BrokerAwayError(str(error)) from error
    finally:
        consumer.close(autocommit=False)

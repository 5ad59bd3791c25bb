"""A consumer beside the group: what is committed, and what a topic of ours holds.

    with onlooker(settings.kafka) as seen:
        seen.committed(Partition("vectors", 0))
        for record in seen.records([Partition("monitor-state", 0)]):
            ...

It reads what is committed alone, and waits for transactions that are neither committed nor aborted.
It is kafka-python's, whichever client reads the input: it has little to do.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from time import monotonic

from kafka import KafkaConsumer, OffsetAndMetadata, TopicPartition
from kafka.consumer.fetcher import ConsumerRecord
from kafka.errors import (
    KafkaTimeoutError,
    UnknownTopicOrPartitionError,
)

from monitor.batch import Partition
from monitor.config import KafkaSettings
from monitor.stream.client import connect, told_apart

ANSWER_SECONDS = 15.0
"""How long an answer may take: a transaction that a dead member left open ends within 10 s."""
POLL_MS = 200
EMPTY_MS = 20
"""After so long the broker answers that there is nothing."""
RETRY_BACKOFF_MS = 10
REQUEST_TIMEOUT_MS = 3_000
"""No request waits for anything; kafka-python's own 30 s would outlast what stopping may take."""
CLOSE_MS = 200
SILENT_SECONDS = 1.0
"""After so long without a record it is looked whether a transaction is open."""
ASK_MS = 1_000

Look = Callable[[Collection[Partition]], None]
"""Called between two polls, with the partitions on which the transaction of another is open.

What it raises ends the reading.
"""


def look_away(_: Collection[Partition]) -> None:
    """For who neither tells of waiting nor ends it."""


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

    def records(
        self, partitions: Collection[Partition], look: Look = look_away
    ) -> Iterator[ConsumerRecord]:
        """All that these hold now, each partition in order.

        Up to the high watermark of the first answer, and not to the last stable offset, which
        `end_offsets` would give: what an open transaction of another has written counts as well,
        and is waited for as long as it is open.

        Raises:
            KafkaTimeoutError: nothing came for a while.
        """
        wanted = [TopicPartition(*partition) for partition in partitions]
        self._consumer.assign(wanted)
        self._consumer.seek_to_beginning(*wanted)
        ends = dict[TopicPartition, int]()
        answered_at = looked_at = monotonic()
        while len(ends) < len(wanted) or any(map(self._is_before, ends, ends.values())):
            polled = self._consumer.poll(POLL_MS)
            for records in polled.values():
                yield from records
            for tp in wanted:
                if (end := self._consumer.highwater(tp)) is not None:
                    ends.setdefault(tp, end)
            held = set[Partition]()
            if polled:
                answered_at = looked_at = monotonic()
            elif monotonic() > looked_at + SILENT_SECONDS:
                held = self._held(ends)
                looked_at = monotonic()
                answered_at = looked_at if held else answered_at
            look(held)
            if monotonic() > answered_at + ANSWER_SECONDS:
                raise KafkaTimeoutError(f"nothing of {sorted(partitions)} was read")

    def _is_before(self, tp: TopicPartition, offset: int) -> bool:
        position = self._consumer.position(tp, timeout_ms=0)
        return position is None or position < offset

    def _held(self, ends: Mapping[TopicPartition, int]) -> set[Partition]:
        """Those of which an open transaction keeps what is before these offsets."""
        behind = {tp: end for tp, end in ends.items() if self._is_before(tp, end)}
        try:
            stable = self._consumer.end_offsets(behind, timeout_ms=ASK_MS) if behind else {}
        except KafkaTimeoutError:
            return set()
        return {Partition(*tp) for tp, end in behind.items() if stable[tp] < end}


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
        request_timeout_ms=REQUEST_TIMEOUT_MS,
        fetch_max_wait_ms=EMPTY_MS,
        metrics_enabled=False,
    ).client
    try:
        with told_apart(kafka):
            yield Onlooker(consumer)
    finally:
        consumer.close(autocommit=False, timeout_ms=CLOSE_MS)

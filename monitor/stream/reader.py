"""Read ranges of topics that are there already, outside any group, and only what is committed.

with reader(settings.kafka, progress) as kafka:
    partitions = kafka.partitions("vectors")
    for records in kafka.read({p: (0, end) for p, end in kafka.ends(partitions).items()}):
        ...
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from time import monotonic

from kafka import KafkaConsumer, TopicPartition
from kafka.consumer.fetcher import ConsumerRecord
from kafka.errors import AuthorizationError, KafkaError, KafkaTimeoutError

from monitor.batch import Partition
from monitor.config import KafkaSettings
from monitor.errors import BrokerError, StreamError
from monitor.stream.client import BrokerAwayError, connect
from monitor.stream.ranges import Range

POLL_MS = 200
SILENT_SECONDS = 20.0
"""How long nothing may come: a transaction that a dead member left open ends sooner."""
POLL_RECORDS = 5_000
FETCH_BYTES = 16 * 1024 * 1024

Progress = Callable[[str, int, int], None]
"""Called with what is read, how many offsets of it are, and of how many."""


class Reader:
    """Reads with two consumers: one sees what is committed alone, the other all there is."""

    def __init__(
        self, committed: KafkaConsumer, everything: KafkaConsumer, progress: Progress
    ) -> None:
        self._consumer, self._everything, self._progress = committed, everything, progress

    def partitions(self, topic: str, setting: str = "") -> list[Partition]:
        """Those of a topic, which this setting names.

        Raises:
            BrokerError: it does not exist.
        """
        numbers = self._consumer.partitions_for_topic(topic)
        if not numbers:
            remedy = f"; if {setting} is another, name it with --config" if setting else ""
            raise BrokerError(f"topic {topic!r}: does not exist, or may not be read{remedy}.")
        return [Partition(topic, number) for number in sorted(numbers)]

    def starts(self, partitions: Iterable[Partition]) -> dict[Partition, int]:
        """The oldest offset that each still holds."""
        return _ours(self._consumer.beginning_offsets(_theirs(partitions)))

    def ends(self, partitions: Iterable[Partition]) -> dict[Partition, int]:
        """Where the first open transaction of each begins, or its end."""
        return _ours(self._consumer.end_offsets(_theirs(partitions)))

    def held_back(self, partitions: Iterable[Partition]) -> dict[Partition, int]:
        """Offsets that an open transaction keeps from readers, where there are any."""
        partitions = list(partitions)
        readable = self.ends(partitions)
        ends = _ours(self._everything.end_offsets(_theirs(partitions)))
        return {p: ends[p] - readable[p] for p in partitions if ends[p] > readable[p]}

    def at(self, time_ms: int, partitions: Iterable[Partition]) -> dict[Partition, int]:
        """The first offset of a record of that time or later; the end where there is none."""
        partitions = list(partitions)
        found = self._consumer.offsets_for_times(dict.fromkeys(_theirs(partitions), time_ms))
        ends = self.ends(partitions)
        return {
            p: ends[p] if (at := found.get(TopicPartition(*p))) is None else at.offset
            for p in partitions
        }

    def committed(self, partition: Partition) -> int | None:
        """The offset that the group has committed."""
        offset: int | None = self._consumer.committed(TopicPartition(*partition))
        return offset

    def read(self, what: str, spans: Mapping[Partition, Range]) -> Iterator[list[ConsumerRecord]]:
        """The records of these ranges, each partition in order.

        Raises:
            KafkaTimeoutError: nothing came for a while.
        """
        left = {TopicPartition(*p): end for p, (start, end) in spans.items() if start < end}
        total = sum(max(end - start, 0) for start, end in spans.values())
        if not left:
            return
        self._consumer.assign(list(left))
        self._consumer.resume(*left)  # from what was read to its end before
        for tp in left:
            self._consumer.seek(tp, spans[Partition(*tp)][0])
        deadline, read = monotonic() + SILENT_SECONDS, 0
        while left:
            for tp, records in self._consumer.poll(POLL_MS, max_records=POLL_RECORDS).items():
                if tp in left:
                    yield [record for record in records if record.offset < left[tp]]
            before, read = read, total - self._unread(left)
            self._progress(what, read, total)
            if read > before:
                deadline = monotonic() + SILENT_SECONDS
            elif monotonic() > deadline:
                names = ", ".join(f"{tp.topic}[{tp.partition}]" for tp in sorted(left))
                raise KafkaTimeoutError(f"nothing more of {names} came")

    def _unread(self, left: dict[TopicPartition, int]) -> int:
        """Offsets that are not read yet; what has been read to its end is left out from now on."""
        unread = 0
        for tp, end in list(left.items()):
            missing = end - self._consumer.position(tp)
            unread += max(missing, 0)
            if missing <= 0:
                del left[tp]
                self._consumer.pause(tp)
        return unread


@contextmanager
def reader(kafka: KafkaSettings, progress: Progress = lambda *_: None) -> Iterator[Reader]:
    """A reader for a moment.

    Raises:
        BrokerError: no broker answers, or it refuses.
        StreamError: it stopped answering on the way.
    """
    where = f"kafka.bootstrap_servers {kafka.bootstrap_servers}"
    consumers: list[KafkaConsumer] = []
    try:
        for isolation in ("read_committed", "read_uncommitted"):
            options = {"isolation_level": isolation, "group_id": kafka.group_id}
            consumers.append(connect(KafkaConsumer, kafka, **_OPTIONS, **options).client)
        yield Reader(consumers[0], consumers[1], progress)
    except BrokerAwayError as reason:
        raise BrokerError(f"{where}: {reason}.") from reason
    except AuthorizationError as error:
        raise BrokerError(f"{where}: does not allow this ({error}).") from error
    except KafkaError as error:
        raise StreamError(f"{where}: cannot be read on ({error}).") from error
    finally:
        for consumer in consumers:
            consumer.close(timeout_ms=POLL_MS)


_OPTIONS = {
    "auto_offset_reset": "earliest",
    "enable_auto_commit": False,
    "fetch_max_bytes": FETCH_BYTES,
    "max_partition_fetch_bytes": FETCH_BYTES // 4,
    "metrics_enabled": False,
}


def _theirs(partitions: Iterable[Partition]) -> list[TopicPartition]:
    return [TopicPartition(*partition) for partition in partitions]


def _ours(offsets: Mapping[TopicPartition, int]) -> dict[Partition, int]:
    return {Partition(*tp): offset for tp, offset in offsets.items()}

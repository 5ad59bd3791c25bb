"""The topic that keeps the state: which record is whose, and what it holds of some partitions.

topic = StateTopic(settings.kafka, partial(read_committed, settings.kafka))
found = topic.read([Partition("vectors", 3)])
yield topic.output(Partition("vectors", 3), SNAPSHOT, 0, value)
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

import structlog

from monitor.batch import Partition, Record
from monitor.config import KafkaSettings
from monitor.errors import StreamError
from monitor.stream.contracts import Output
from monitor.stream.membership import names
from monitor.stream.onlooker import Look, look_away, onlooker
from monitor.stream.state_layout import CorruptError, Key, Part, decode

Read = Callable[[str, Collection[int]], tuple[int, Iterable[Record]]]
"""How many partitions a topic has, and all records of those whose input partitions are these."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Found:
    """What the topic holds of some partitions.

    Attributes:
        skipped: of each record that is damaged or nobody's, which it is and why.
        read_bytes: of all records, those of others included.
    """

    parts: Mapping[Partition, list[Part]]
    skipped: list[str]
    read_bytes: int


class StateTopic:
    """The state of a group's partitions, each in the partition of the same number or of the rest.

    A topic may serve several groups: each reads its own records alone.
    """

    def __init__(self, kafka: KafkaSettings, read: Read) -> None:
        self._name, self._group, self._read = kafka.state_topic, kafka.group_id, read
        self._partitions = 1

    def output(self, home: Partition, kind: str, place: int, value: bytes) -> Output:
        """A record of a partition's state."""
        key = Key(self._group, home.topic, home.partition, kind, place)
        where = home.partition % self._partitions
        return Output(self._name, key.encode(), value, partition=where)

    def read(self, partitions: Collection[Partition]) -> Found:
        """All that it holds of these.

        Where the topic has been given more partitions, what is older than that lies in others than
        what follows. So those of which nothing is found are looked for in the rest.

        Raises:
            BrokerAwayError, BrokerError: it cannot be read.
            StreamError: a newer monitor wrote it.
        """
        numbers = {partition.partition for partition in partitions}
        self._partitions, records = self._read(self._name, numbers)
        found = self._found(records, partitions)
        others = {*range(self._partitions)} - {number % self._partitions for number in numbers}
        missing = {*partitions} - found.parts.keys()
        if not (missing and others):
            return found
        elsewhere = self._found(self._read(self._name, others)[1], missing)
        if elsewhere.parts:
            log.warning(
                "state topic has more partitions than before, the state is taken from the old ones",
                topic=self._name,
                of=names(elsewhere.parts),
            )
        return Found(
            {**found.parts, **elsewhere.parts},
            found.skipped + elsewhere.skipped,
            found.read_bytes + elsewhere.read_bytes,
        )

    def _found(self, records: Iterable[Record], partitions: Collection[Partition]) -> Found:
        ours, newest = Key.prefix(self._group), dict[tuple[int, bytes], bytes | None]()
        skipped, read_bytes = list[str](), 0
        for record in records:
            read_bytes += len(record.value or b"")
            if record.key and record.key.startswith(ours):
                newest[record.partition, record.key] = record.value
            elif not Key.may_be(record.key):
                skipped.append(f"offset {record.offset} of partition {record.partition}: no key")
        parts = defaultdict[Partition, list[Part]](list)
        for (_, key), value in newest.items():
            try:
                home = Key.decode(key).home
                if home in partitions:
                    parts[home].append(decode(value))
            except CorruptError as reason:
                skipped.append(f"{key!r}: {reason}")
            except StreamError as error:
                raise StreamError(f"topic {self._name}: {error}") from error
        return Found(parts, skipped, read_bytes)


def read_committed(
    kafka: KafkaSettings, topic: str, numbers: Collection[int], look: Look = look_away
) -> tuple[int, list[Record]]:
    """See `Read`: from Kafka, what is committed.

    Args:
        look: called while it waits; what it raises ends that.

    Raises:
        BrokerAwayError: no broker answers.
        BrokerError: it refuses.
    """
    with onlooker(kafka) as seen:
        look(())
        count = seen.partitions(topic)
        where = {Partition(topic, number % count) for number in numbers}
        return count, list(seen.records(where, look))

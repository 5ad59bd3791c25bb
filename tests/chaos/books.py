"""The auditor: what subscribers that read committed records see, against what was put in.

    python -m tests.chaos.books --bootstrap-servers 127.0.0.1:9092 --topic T --group G

It shares no client with the daemon's default, and trusts nobody: the input topic says by each
record's uid what must become of it (`tests.chaos.traffic`).
"""

import argparse
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from time import monotonic
from typing import NamedTuple

import orjson
from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)

from monitor.contracts.dead_letter import DeadLetterHeaders
from tests.chaos.traffic import uid_of

NAMED = 10
"""Offsets that a complaint names; it counts the rest."""
READ_SECONDS = 600.0
CALL_SECONDS = 10.0


class Place(NamedTuple):
    """A record of the input."""

    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.partition}@{self.offset}"


@dataclass
class Books:
    """What was put in, and what came of it.

    Attributes:
        lost: records of which nothing, or too little, is seen.
        double: those of which something is seen more than once.
        strange: what nobody asked for, in words.
        incidents: found in the alerts, where they are grouped.
    """

    records: int = 0
    odd: int = 0
    broken: int = 0
    incidents: int = 0
    lost: list[str] = field(default_factory=list)
    double: list[str] = field(default_factory=list)
    strange: list[str] = field(default_factory=list)

    @property
    def balanced(self) -> bool:
        return not (self.lost or self.double or self.strange)

    def __str__(self) -> str:
        told = f"{self.records:,} records, {self.odd:,} odd, {self.broken:,} broken: "
        if self.balanced:
            return told + "0 lost, 0 double"
        return told + "; ".join(
            f"{len(found):,} {what}: {', '.join(found[:NAMED])}{', ...' * (len(found) > NAMED)}"
            for what, found in vars(self).items()
            if isinstance(found, list) and found
        )


@dataclass(frozen=True)
class Ledgers:
    """Where the books are kept: the topics and the group of one scene.

    Attributes:
        journal: its topic; None where no journal is kept.
        grouped: whether vectors are counted to incidents, not told of one by one.
    """

    servers: str
    topic: str
    group: str
    journal: str | None = None
    grouped: bool = False

    def audit(self) -> Books:
        """Add it all up."""
        books, kinds = Books(), self._put_in()
        books.records = sum(len(found) for found in kinds.values())
        wanted = {
            kind: {Place(p, n) for p, found in kinds.items() for n, k in enumerate(found) if k == c}
            for kind, c in (("odd", _CODES["odd"]), ("broken", _CODES["broken"]))
        }
        books.odd, books.broken = len(wanted["odd"]), len(wanted["broken"])
        letters = Counter(_dead_letter(m) for m in read(self.servers, f"{self.topic}-dead-letters"))
        _compare(books, "a dead letter", wanted["broken"], letters)
        alerts = [orjson.loads(m.value()) for m in read(self.servers, f"{self.topic}-alerts")]
        if self.grouped:
            _add_up(books, alerts)
        else:
            _compare(books, "an alert", wanted["odd"], Counter(map(_source, alerts)))
        if self.journal:
            _follow(books, {p: len(found) for p, found in kinds.items()}, self._journal())
        for partition, offset in Offsets(self).committed().items():
            if offset != len(kinds[partition]):
                books.strange.append(f"committed {Place(partition, offset)}")
        return books

    def _put_in(self) -> dict[int, bytearray]:
        """By partition the kind of the record at each offset, as one of _CODES."""
        kinds: dict[int, bytearray] = defaultdict(bytearray)
        for message in read(self.servers, self.topic):
            found = kinds[message.partition()]
            found.extend(bytes(message.offset() - len(found)))
            found.append(_CODES[uid_of(message.value()).partition("-")[0]])
        return kinds

    def _journal(self) -> dict[int, list[tuple[int, int]]]:
        spans: dict[int, list[tuple[int, int]]] = defaultdict(list)
        assert self.journal is not None
        for message in read(self.servers, self.journal):
            entry = orjson.loads(message.value())
            spans[entry["partition"]].append((entry["first_offset"], entry["next_offset"]))
        return spans


class Offsets:
    """What the group has committed, and where the input ends."""

    def __init__(self, ledgers: Ledgers) -> None:
        self._consumer = _consumer(ledgers.servers, ledgers.group)
        topic = self._consumer.list_topics(ledgers.topic, CALL_SECONDS).topics[ledgers.topic]
        self._partitions = [TopicPartition(ledgers.topic, number) for number in topic.partitions]

    def close(self) -> None:
        """Let go of the connection."""
        self._consumer.close()

    def committed(self) -> dict[int, int]:
        """The offset to go on from, by partition; 0 where there is none.

        Raises:
            KafkaException: no broker answers.
        """
        found = self._consumer.committed(self._partitions, CALL_SECONDS)
        return {partition.partition: max(partition.offset, 0) for partition in found}

    def ends(self) -> dict[int, int]:
        """Where the input ends, by partition; raises as `committed`."""
        return {
            p.partition: self._consumer.get_watermark_offsets(p, CALL_SECONDS)[1]
            for p in self._partitions
        }


def read(servers: str, topic: str) -> Iterator[Message]:
    """The committed records that a topic holds; nothing where it does not exist."""
    consumer = _consumer(servers, "auditor")
    partitions = consumer.list_topics(topic, CALL_SECONDS).topics[topic].partitions
    consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for number in partitions])
    left, deadline = set(partitions), monotonic() + READ_SECONDS
    while left:
        for message in consumer.consume(10_000, 0.1):
            error = message.error()
            if error is None:
                yield message
            elif error.code() == KafkaError._PARTITION_EOF:
                left.discard(message.partition())
            elif not error.retriable():
                raise KafkaException(error)
        assert monotonic() < deadline, f"{topic} cannot be read within {READ_SECONDS:.0f} s"
    consumer.close()


_CODES = {"normal": 1, "odd": 2, "broken": 3}


def _consumer(servers: str, group: str) -> Consumer:
    return Consumer(
        {
            "bootstrap.servers": servers,
            "group.id": group,
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
            "reconnect.backoff.max.ms": 500,
            "log_level": 0,
        }
    )


def _dead_letter(message: Message) -> Place:
    headers = DeadLetterHeaders.from_headers(message.headers())
    return Place(headers.partition, headers.offset)


def _source(alert: dict) -> Place:
    source = alert["unmapped"]["source"]
    return Place(source["partition"], source["offset"])


def _compare(books: Books, what: str, wanted: set[Place], seen: Counter[Place]) -> None:
    """Each that is wanted is seen once, and no other."""
    books.lost += [f"{place} has not {what}" for place in sorted(wanted - seen.keys())]
    books.strange += [f"{place} has {what}" for place in sorted(seen.keys() - wanted)]
    books.double += [f"{place} has {what} {n} times" for place, n in sorted(seen.items()) if n > 1]


def _add_up(books: Books, alerts: Sequence[dict]) -> None:
    """What the incidents say in the end is as many vectors as were odd."""
    told = Counter(alert["metadata"]["uid"] for alert in alerts)
    books.double += [f"alert {uid} {n} times" for uid, n in told.items() if n > 1]
    vectors: dict[str, int] = defaultdict(int)
    for alert in alerts:
        uid = alert["finding_info"]["uid"]
        vectors[uid] = max(vectors[uid], alert["unmapped"]["incident"]["vectors"])
    books.incidents = len(vectors)
    counted = sum(vectors.values())
    if counted != books.odd:
        found = books.lost if counted < books.odd else books.double
        found.append(f"{abs(books.odd - counted):,} vectors of incidents")


def _follow(books: Books, ends: dict[int, int], spans: dict[int, list[tuple[int, int]]]) -> None:
    """The journal covers each partition from end to end, once."""
    for partition, end in ends.items():
        edges = [(0, 0), *sorted(spans.get(partition, [])), (end, end)]
        for (_, before), (after, _) in pairwise(edges):
            if after > before:
                books.lost.append(f"{Place(partition, before)} to {after} not in the journal")
            elif after < before:
                books.double.append(f"{Place(partition, after)} to {before} twice in the journal")


def main() -> None:
    parser = argparse.ArgumentParser("tests.chaos.books", description=__doc__.split("\n")[0])
    for name in ("--bootstrap-servers", "--topic", "--group"):
        parser.add_argument(name, required=True)
    parser.add_argument("--journal", help="topic of the journal, to be followed as well")
    parser.add_argument("--grouped", action="store_true", help="vectors are grouped to incidents")
    asked = parser.parse_args()
    books = Ledgers(
        asked.bootstrap_servers, asked.topic, asked.group, asked.journal, asked.grouped
    ).audit()
    print(books)
    sys.exit(not books.balanced)


if __name__ == "__main__":
    main()

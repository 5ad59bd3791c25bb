"""The source with confluent-kafka: what takes kafka-python 7 us a record takes it 1.5.

Its own threads fetch and decompress, without the GIL. All callbacks, also those of the group, run
within `poll` and `consume`, hence on the source's thread; heartbeats do not depend on it.
"""

import sys
from collections.abc import Collection, Iterable, Sequence
from functools import partial
from itertools import groupby
from operator import itemgetter
from time import monotonic, sleep
from typing import Any

import orjson
import structlog
from confluent_kafka import (
    OFFSET_STORED,
    Consumer,
    KafkaException,
    Message,
    TopicPartition,
)
from confluent_kafka import KafkaError as ClientError
from kafka.errors import CorruptRecordError, FencedInstanceIdError, KafkaError

from monitor.batch import Partition
from monitor.errors import StreamError
from monitor.stream import confluent_client
from monitor.stream.confluent_records import (
    ConfluentRecord,
    for_client,
    partition_of,
    partitions_of,
    records,
)
from monitor.stream.contracts import Offsets
from monitor.stream.membership import DRAIN_SECONDS, LOOK_AGAIN_SECONDS
from monitor.stream.polling import (
    FETCH_MAX_BYTES,
    HEARTBEAT_MS,
    METADATA_MS,
    QUERY_SECONDS,
    REQUEST_TIMEOUT_MS,
    PollingSource,
)
from monitor.stream.refusals import FATAL

PAUSED_POLL_SECONDS = 0.01
STATISTICS_MS = 1_000
MAX_SESSION_MS = 3_600_000
MAX_POLL_INTERVAL_MS = 300_000
FETCH_BACKOFF_MS = 1
"""After the queue was full; with the client's own, 1 s, the queue would run empty meanwhile."""
METADATA_MAGIC = b"CGMDv2:"
"""Before the group's generation in what librdkafka calls its metadata."""

log = structlog.get_logger()


class ConfluentSource(PollingSource):
    """Polls with confluent-kafka."""

    _consumer: Consumer
    _refusal: KafkaError | None = None
    _metadata = b""

    def _open(self) -> None:
        confluent_client.find_broker(self._kafka)
        self._coordinator_is_up, self._is_paused = True, False
        self._positions: dict[Partition, int] = {}
        self._consumer = Consumer(self._options(), logger=confluent_client.LOGGER)

    def _options(self) -> dict[str, Any]:
        session_ms = min(self._kafka.session_timeout_ms, MAX_SESSION_MS)
        instance = self._kafka.group_instance_id
        return {
            **confluent_client.options(self._kafka),
            **({"group.instance.id": instance} if instance else {}),
            "group.id": self._kafka.group_id,
            "session.timeout.ms": session_ms,
            "heartbeat.interval.ms": min(HEARTBEAT_MS, session_ms // 3),
            "max.poll.interval.ms": max(MAX_POLL_INTERVAL_MS, session_ms),
            "socket.timeout.ms": REQUEST_TIMEOUT_MS,
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "isolation.level": "read_committed",
            "auto.offset.reset": "error",  # _reset does it, so that it is counted and logged
            "check.crcs": True,
            "queued.max.messages.kbytes": FETCH_MAX_BYTES // 1024,
            "fetch.max.bytes": FETCH_MAX_BYTES,
            "max.partition.fetch.bytes": FETCH_MAX_BYTES // 4,
            "fetch.queue.backoff.ms": FETCH_BACKOFF_MS,
            "topic.metadata.refresh.interval.ms": METADATA_MS,
            "statistics.interval.ms": STATISTICS_MS,
            "stats_cb": self._on_statistics,
            "error_cb": self._on_error,
            "on_commit": self._on_commit,
        }

    def _subscribe(self) -> None:
        topics = self._consumer.list_topics(timeout=QUERY_SECONDS).topics
        self._counts = {
            topic: len(topics[topic].partitions)
            for topic in self._kafka.input_topics
            if topic in topics
        }
        self._consumer.subscribe(
            list(self._kafka.input_topics),
            on_assign=self._on_assign,
            on_revoke=self._on_revoke,
            on_lost=self._on_lost,
        )

    def _leave(self) -> None:
        try:
            self._consumer.close()
        except (KafkaException, RuntimeError) as error:
            log.warning("the group was not left in good order", error=str(error))

    def _poll(self, timeout_ms: int) -> int:
        if self._is_paused:
            self._consumer.resume(self._consumer.assignment())
            self._is_paused = False
        return self._take(self._fetch(timeout_ms / 1000))

    def _poll_paused(self) -> None:
        """What this client has fetched is lost by a pause, so one lasts until there is room."""
        self._consumer.pause(self._consumer.assignment())
        self._is_paused = True
        self._take(self._fetch(PAUSED_POLL_SECONDS))

    def _fetch(self, timeout_s: float) -> list[Message]:
        """What is there, or the first that comes: `consume` would wait for all that it may take."""
        room = self._backlog.room
        messages: list[Message] = self._consumer.consume(room, 0)
        if not messages:
            first = self._consumer.poll(timeout_s)
            if first is not None:  # one without a value is false
                messages = [first, *self._consumer.consume(room - 1, 0)]
        self._metadata = self._consumer.consumer_group_metadata()
        if self._refusal:
            raise self._refused(self._refusal)
        return messages

    def _take(self, messages: Sequence[Message]) -> int:
        """Records first: `_heed` may go on from the positions after them."""
        told: list[tuple[Message, ClientError]] = []
        if any(map(Message.error, messages)):
            told = [(message, error) for message in messages if (error := message.error())]
            messages = [message for message in messages if not message.error()]
        # A revocation may have come between two of the messages.
        ours = self._ledger.assignment().partitions - self._membership.unsought
        polled = {p: rs for p, rs in self._by_partition(messages).items() if p in ours}
        self._positions |= {p: rs[-1].offset + 1 for p, rs in polled.items()}
        self._backlog.add(polled)
        self._heed(told)
        return len(messages)

    def _by_partition(self, messages: Sequence[Message]) -> dict[Partition, list[ConfluentRecord]]:
        polled: dict[Partition, list[ConfluentRecord]] = {}
        for partition, run in groupby(records(messages), itemgetter(0, 1)):
            polled.setdefault(Partition(*partition), []).extend(run)
        return polled

    def _heed(self, told: Sequence[tuple[Message, ClientError]]) -> None:
        """What came instead of a record."""
        for message, reason in told:
            error = _in_words(reason)
            if isinstance(error, FATAL):
                raise self._refused(error)
            if isinstance(error, CorruptRecordError):
                self._positions[partition_of(message)] = message.offset() or 0
                raise self._unreadable(error)
            log.debug("poll failed", error=str(error))
        lost = [message for message, reason in told if reason.code() in _NO_POSITION]
        if lost := [m for m in lost if partition_of(m) not in self._membership.unsought]:
            self._reset(lost)

    def _reset(self, lost: Sequence[Message]) -> None:
        """Go where auto_offset_reset says; a position that has become invalid is counted.

        The client has stopped to fetch these partitions.
        """
        invalid = {partition_of(m): m.offset() for m in lost if m.offset() is not None}
        if self._begin([partition_of(message) for message in lost]) and invalid:
            self._out_of_range({p: offset or 0 for p, offset in invalid.items()})
        self._go_on()

    def _seek_to_committed(self, partitions: Collection[Partition]) -> bool:
        found = self._look_up(partitions)
        if found:
            self._go_on()
        return found

    def _go_on(self) -> None:
        """From the positions; this client only takes all of them at a time."""
        ours = self._ledger.assignment().partitions
        self._consumer.assign([self._from_here(partition) for partition in ours])
        if self._is_paused:
            self._consumer.pause(self._consumer.assignment())

    def _look_up(self, partitions: Collection[Partition]) -> bool:
        """Set positions to what is committed, or where auto_offset_reset says; if it is known."""
        self._forget(partitions)
        wanted = [TopicPartition(*partition) for partition in partitions]
        try:
            told = self._consumer.committed(wanted, QUERY_SECONDS)
            _raise_first(told)
        except KafkaException as error:
            log.debug("committed offsets are not known yet", error=str(error))
            return False
        committed = {Partition(p.topic, p.partition): p.offset for p in told if p.offset >= 0}
        self._positions |= committed
        self._ledger.begin_at(committed)
        self._backlog.go_on_from(committed)
        return self._begin(set(partitions) - committed.keys())

    def _begin(self, partitions: Collection[Partition]) -> bool:
        """Set positions to where auto_offset_reset says; whether that is known."""
        ends = {}
        try:
            for partition in partitions:
                at_end = self._begins_at_end(partition)
                bounds = self._consumer.get_watermark_offsets(
                    TopicPartition(*partition), timeout=QUERY_SECONDS
                )
                self._positions[partition] = bounds[at_end]
                if at_end:
                    ends[partition] = bounds[at_end]
            if ends:
                told = self._consumer.commit(offsets=for_client(ends), asynchronous=False)
                _raise_first(told)
        except KafkaException as error:
            log.debug("the end of a partition is not known yet", error=str(error))
            self._forget(partitions)
            return False
        return True

    def _from_here(self, partition: Partition) -> TopicPartition:
        return TopicPartition(*partition, self._positions.get(partition, OFFSET_STORED))

    # Callbacks of the group.

    def _on_assign(self, _: Consumer, assigned: list[TopicPartition]) -> None:
        self._metadata = self._consumer.consumer_group_metadata()
        partitions = partitions_of(assigned)
        self._membership.assigned(partitions)
        if self._look_up(partitions):
            self._membership.unsought.difference_update(partitions)
        self._consumer.assign([self._from_here(partition) for partition in partitions])
        self._consumer.resume(assigned)  # one that we had and gave back while it was paused

    def _on_revoke(self, _: Consumer, revoked: list[TopicPartition]) -> None:
        """Give the work in hand a moment, and commit while we still may."""
        partitions = partitions_of(revoked)
        self._membership.revoking(partitions)
        deadline = monotonic() + DRAIN_SECONDS
        while self._membership.is_awaited(partitions) and monotonic() < deadline:
            sleep(LOOK_AGAIN_SECONDS)
        if offsets := self._ledger.to_commit(partitions):
            self._commit_at_last(offsets)
        self._membership.give_up(partitions)
        self._forget(partitions)

    def _on_lost(self, _: Consumer, lost: list[TopicPartition]) -> None:
        self._membership.lost(partitions_of(lost))
        self._forget(partitions_of(lost))

    def _commit_at_last(self, offsets: Offsets) -> None:
        if not self._coordinator_is_up:  # the client would wait for it
            self._membership.not_committed(offsets, KafkaError("the connection is lost"))
            return
        try:
            self._consumer.commit(offsets=for_client(offsets), asynchronous=False)
        except KafkaException as error:
            self._membership.not_committed(offsets, _in_words(error.args[0]))

    def _forget(self, partitions: Iterable[Partition]) -> None:
        for partition in partitions:
            self._positions.pop(partition, None)

    # Other callbacks.

    def _on_statistics(self, told: str) -> None:
        brokers = orjson.loads(told)["brokers"]
        coordinator = brokers.get("GroupCoordinator", {})
        self._coordinator_is_up = coordinator.get("state") == "UP"

    def _on_error(self, error: ClientError) -> None:
        heard = _in_words(error)
        if isinstance(heard, FATAL) or confluent_client.refuses_login(error, self._kafka):
            self._refusal = heard

    def _commit(self, offsets: Offsets) -> None:
        self._in_commit, self._commit_began_at = offsets, monotonic()
        try:
            self._consumer.commit(offsets=for_client(offsets), asynchronous=True)
        except KafkaException as error:
            self._on_commit(error.args[0], [])

    def _on_commit(self, error: ClientError | None, committed: list[TopicPartition]) -> None:
        failed = error or next((p.error for p in committed if p.error), None)
        took_s = monotonic() - self._commit_began_at
        self._commit_ended(self._in_commit, _in_words(failed) if failed else None, took_s)

    def _generation(self) -> tuple[int, bytes]:
        """As of the last poll: the client lets no other thread ask beside one that polls."""
        metadata = self._metadata
        magic, number = metadata[: len(METADATA_MAGIC)], metadata[len(METADATA_MAGIC) :][:4]
        if magic != METADATA_MAGIC:
            raise StreamError("librdkafka: tells of the group in a way that is not known here.")
        return int.from_bytes(number, sys.byteorder, signed=True), metadata

    def _is_connected(self) -> bool:
        return self._coordinator_is_up

    def _position(self, partition: Partition) -> int | None:
        position = self._positions.get(partition, OFFSET_STORED)
        return position if position >= 0 else None

    def _highwater(self, partition: Partition) -> int | None:
        try:
            bounds = self._consumer.get_watermark_offsets(TopicPartition(*partition), cached=True)
        except KafkaException:  # no longer assigned
            return None
        return bounds[1] if bounds and bounds[1] >= 0 else None


_NO_POSITION = (
    ClientError._AUTO_OFFSET_RESET,
    ClientError._LOG_TRUNCATION,
    ClientError.OFFSET_OUT_OF_RANGE,
)
# The only error after which a consumer of this client cannot go on.
_in_words = partial(confluent_client.in_words, fatal=FencedInstanceIdError)


def _raise_first(told: Sequence[TopicPartition]) -> None:
    for partition in told:
        if partition.error:
            raise KafkaException(partition.error)

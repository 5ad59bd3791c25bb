"""The source: Kafka's consumer on a thread of its own, and a short queue of micro-batches.

    source = KafkaSource(settings.kafka, settings.batch, metrics, health, link)
    source.start()
    while not stopping:
        if batch := source.next(timeout_s=0.25):
            ...
            source.acknowledge(batch.next_offsets)
    source.close(timeout_s=5.0)

What does not depend on the client is in `monitor.stream.polling`.
"""

from collections.abc import Collection
from contextlib import suppress
from time import monotonic
from typing import Any, cast

import structlog
from kafka import KafkaConsumer, TopicPartition
from kafka.errors import (
    FencedInstanceIdError,
    KafkaError,
    LogTruncationError,
    NoOffsetForPartitionError,
    OffsetOutOfRangeError,
    RetriableError,
)
from kafka.structs import ConsumerGroupMetadata

from monitor.batch import Partition
from monitor.errors import MonitorError
from monitor.stream.client import Connection, connect
from monitor.stream.contracts import Offsets
from monitor.stream.membership import Listener, for_kafka
from monitor.stream.polling import (
    FETCH_MAX_BYTES,
    HEARTBEAT_MS,
    METADATA_MS,
    QUERY_SECONDS,
    REQUEST_TIMEOUT_MS,
    RETRY_SECONDS,
    PollingSource,
)
from monitor.stream.refusals import FATAL

PAUSED_POLL_MS = 10
LEAVE_SECONDS = 1.0
METADATA_SECONDS = 2.0
RETRY_BACKOFF_MS = 10
"""Some polls sleep for so long although records are there; kafka-python's own is 100."""

log = structlog.get_logger()


class KafkaSource(PollingSource):
    """Polls with kafka-python, whose consumer is not thread-safe."""

    _connection: Connection[KafkaConsumer]

    def _open(self) -> None:
        self._connection = connect(KafkaConsumer, self._kafka, **self._options())

    def _options(self) -> dict[str, Any]:
        return {
            "group_id": self._kafka.group_id,
            "group_instance_id": self._kafka.group_instance_id,
            "session_timeout_ms": self._kafka.session_timeout_ms,
            "heartbeat_interval_ms": min(HEARTBEAT_MS, self._kafka.session_timeout_ms // 3),
            "request_timeout_ms": REQUEST_TIMEOUT_MS,
            "enable_auto_commit": False,
            "isolation_level": "read_committed",
            "auto_offset_reset": "none",  # _reset does it, so that it is counted and logged
            "max_poll_records": self._batch.max_vectors,
            "fetch_max_bytes": FETCH_MAX_BYTES,
            "max_partition_fetch_bytes": FETCH_MAX_BYTES // 4,
            "metrics_enabled": False,
            "retry_backoff_ms": RETRY_BACKOFF_MS,
            "metadata_max_age_ms": METADATA_MS,
        }

    @property
    def _consumer(self) -> KafkaConsumer:
        return self._connection.client

    def _subscribe(self) -> None:
        """Subscribe, and know the topics' partitions before the first poll.

        Otherwise kafka-python joins at once, assigns nothing, and joins again when it knows them.
        """
        topics, cluster = self._kafka.input_topics, self._connection.network.cluster
        listener = Listener(self._connection, self._membership, self._ledger)
        self._consumer.subscribe(topics, listener=listener)
        deadline = monotonic() + METADATA_SECONDS
        while monotonic() < deadline and None in map(cluster.partitions_for_topic, topics):
            self._backlog.pause(0.01)
        self._counts = {topic: len(cluster.partitions_for_topic(topic) or ()) for topic in topics}

    def _leave(self) -> None:
        try:
            self._consumer.close(autocommit=False, timeout_ms=LEAVE_SECONDS * 1000)
        except KafkaError as error:
            log.warning("the group was not left in good order", error=str(error))

    def _poll(self, timeout_ms: int) -> int:
        try:
            polled = self._consumer.poll(timeout_ms=timeout_ms, max_records=self._backlog.room)
        except (NoOffsetForPartitionError, OffsetOutOfRangeError, LogTruncationError) as error:
            self._reset(error)
        except FATAL as error:
            raise self._refused(error) from error
        except MonitorError:
            raise
        except RetriableError as error:
            log.debug("poll failed", error=str(error))
            self._backlog.pause(RETRY_SECONDS)
        except Exception as error:
            raise self._unreadable(error) from error
        else:
            self._look_whether_fenced()
            if unsought := self._membership.unsought:
                polled = {tp: records for tp, records in polled.items() if tp not in unsought}
            self._backlog.add(polled)
            return sum(map(len, polled.values()))
        return 0

    def _look_whether_fenced(self) -> None:
        """Of a member whose place is taken kafka-python 3.0.12 ends the heartbeats, and no more."""
        coordinator = self._consumer._coordinator
        is_joining = coordinator.rejoining or not coordinator.stable()
        if not (is_joining or coordinator._heartbeat_enabled):
            raise self._refused(FencedInstanceIdError("its heartbeat is not taken"))

    def _poll_paused(self) -> None:
        self._consumer.pause(*self._consumer.assignment())
        self._poll(PAUSED_POLL_MS)
        self._consumer.resume(*self._consumer.assignment())

    def _reset(self, error: KafkaError) -> None:
        """Go where auto_offset_reset says; a position that has become invalid is counted."""
        if isinstance(error, NoOffsetForPartitionError):
            self._begin(error.args[0])
            return
        truncated = isinstance(error, LogTruncationError)
        found = error.divergent_offsets if truncated else error.args[0]
        positions = {tp: at for tp, at in found.items() if tp not in self._membership.unsought}
        if positions and self._begin(positions.keys()):
            self._out_of_range({Partition(*tp): offset for tp, offset in positions.items()})

    def _seek_to_committed(self, partitions: Collection[Partition]) -> bool:
        coordinator = self._consumer._coordinator  # asks for all of them at once
        wanted = {TopicPartition(*partition) for partition in partitions}
        try:
            committed = coordinator.fetch_committed_offsets(wanted, timeout_ms=QUERY_SECONDS * 1000)
        except FATAL as error:
            raise self._refused(error) from error
        except KafkaError as error:
            log.debug("committed offsets are not known yet", error=str(error))
            return False
        for tp, found in committed.items():
            self._consumer.seek(tp, found.offset)
        offsets = {Partition(*tp): found.offset for tp, found in committed.items()}
        self._ledger.begin_at(offsets)
        self._backlog.go_on_from(offsets)
        return self._begin(wanted - committed.keys())

    def _begin(self, partitions: Collection[TopicPartition]) -> bool:
        """Go where auto_offset_reset says; whether that worked."""
        at_end = {tp for tp in partitions if self._begins_at_end(Partition(*tp))}
        if at_beginning := set(partitions) - at_end:
            self._consumer.seek_to_beginning(*at_beginning)
        if not at_end:
            return True
        timeout_ms = QUERY_SECONDS * 1000
        try:
            ends = self._consumer.end_offsets(at_end, timeout_ms=timeout_ms)
            self._consumer.commit(for_kafka(ends), timeout_ms=timeout_ms)
        except FATAL as error:
            raise self._refused(error) from error
        except KafkaError as error:
            log.debug("the end of a partition is not known yet", error=str(error))
            return False
        for tp, offset in ends.items():
            self._consumer.seek(tp, offset)
        return True

    def _commit(self, offsets: Offsets) -> None:
        started, took = monotonic(), list[float]()
        # The callback is called by a later poll; how long the request took is known before.
        future = self._consumer.commit_async(
            for_kafka(offsets),
            callback=lambda _, answer: self._commit_ended(
                offsets, answer if isinstance(answer, Exception) else None, sum(took)
            ),
        )
        future.add_both(lambda _: took.append(monotonic() - started))

    def _generation(self) -> tuple[int, ConsumerGroupMetadata]:
        metadata = self._consumer.group_metadata()
        return metadata.generation_id, metadata

    def _is_connected(self) -> bool:
        return self._connection.coordinator_connected(self._kafka.group_id)

    def _position(self, partition: Partition) -> int | None:
        with suppress(KafkaError):  # no longer assigned, or no position yet
            return cast(int, self._consumer.position(TopicPartition(*partition), timeout_ms=0))
        return None

    def _highwater(self, partition: Partition) -> int | None:
        with suppress(KafkaError):
            return cast(int, self._consumer.highwater(TopicPartition(*partition)))
        return None

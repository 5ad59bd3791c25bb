"""The source: Kafka's consumer on a thread of its own, and a short queue of micro-batches.

    source = KafkaSource(settings.kafka, settings.batch, metrics, health, link)
    source.start()
    while not stopping:
        if batch := source.next(timeout_s=0.25):
            ...
            source.acknowledge(batch.next_offsets)
    source.close(timeout_s=5.0)

kafka-python's consumer is not thread-safe, so one thread owns it: it polls, commits what has been
acknowledged, and tells how far behind it is. While the queue is full the partitions are paused and
it keeps polling, so that membership of the group depends on neither scoring nor publishing.
"""

from contextlib import suppress
from threading import Thread
from time import monotonic
from typing import Any, cast

import structlog
from kafka import KafkaConsumer, TopicPartition
from kafka.errors import (
    FencedInstanceIdError,
    GroupMaxSizeReachedError,
    InconsistentGroupProtocolError,
    InvalidGroupIdError,
    InvalidSessionTimeoutError,
    KafkaError,
    LogTruncationError,
    NoOffsetForPartitionError,
    OffsetOutOfRangeError,
    RetriableError,
)

from monitor.batch import MicroBatch
from monitor.config import BatchSettings, KafkaSettings
from monitor.errors import BrokerError, MonitorError, StreamError
from monitor.stream.backlog import Backlog
from monitor.stream.client import REFUSALS, BrokerAwayError, Connection, connect
from monitor.stream.contracts import Offsets
from monitor.stream.ledger import Ledger
from monitor.stream.link import BrokerLink
from monitor.stream.membership import Membership, for_kafka, name
from monitor.telemetry.health import Health
from monitor.telemetry.metrics import Metrics

QUEUED_BATCHES = 3
IDLE_POLL_MS = 500
PAUSED_POLL_MS = 10
GATHER_MS = 2
"""A micro-batch that is awaited ends when nothing came for as long."""
ROOM_SECONDS = 0.1
"""How long to wait for room in the queue before polling again with the partitions paused."""
AWAY_SECONDS = 1.0
"""How long the coordinator may be unconnected before the broker counts as away."""
LEAVE_SECONDS = 1.0
COMMIT_SECONDS = 0.2
"""Commits are at least this far apart; what is acknowledged meanwhile goes with the next."""
LAG_SECONDS = 1.0
METADATA_SECONDS = 2.0
RETRY_SECONDS = 1.0
HEARTBEAT_MS = 3_000
REQUEST_TIMEOUT_MS = 10_000
"""A broker that is connected and silent for as long counts as away; kafka-python's own is 30 s."""
FETCH_MAX_BYTES = 16 * 1024 * 1024
"""Bounds, with the queue, what is held in memory; kafka-python's own is 50 MiB."""

ADVICE = {
    FencedInstanceIdError: "another member has the same kafka.group_instance_id",
    GroupMaxSizeReachedError: "the group has as many members as group.max.size allows",
    InconsistentGroupProtocolError: "its other members assign partitions in another way",
    InvalidGroupIdError: "choose another kafka.group_id",
    InvalidSessionTimeoutError: "bring kafka.session_timeout_ms within the broker's bounds",
}
FATAL = (*REFUSALS, *ADVICE)

log = structlog.get_logger()


class KafkaSource:
    """A member of the consumer group; see `monitor.stream.contracts.Source`."""

    def __init__(
        self,
        kafka: KafkaSettings,
        batch: BatchSettings,
        metrics: Metrics,
        health: Health,
        link: BrokerLink,
    ) -> None:
        self._kafka, self._batch = kafka, batch
        self._metrics, self._health, self._link = metrics, health, link
        self._ledger = Ledger()
        self._backlog = Backlog(self._ledger, QUEUED_BATCHES, batch.max_vectors, batch.max_bytes)
        self._failure: MonitorError | None = None
        self._stopping = self._committing = False
        self._connected_at = self._committed_at = self._lag_told_at = float("-inf")
        self._thread = Thread(target=self._run, name="source", daemon=True)

    def start(self) -> None:
        """Join the group and begin to fill the queue."""
        self._thread.start()

    def next(self, timeout_s: float) -> MicroBatch | None:
        """The next micro-batch, or None when there is none within the time.

        Raises:
            BrokerError: the cluster refuses this member.
            StreamError: the thread had to stop.
        """
        batch = self._backlog.take(timeout_s)
        if self._failure:
            raise self._failure
        return batch

    def acknowledge(self, next_offsets: Offsets) -> None:
        """Everything before these offsets is dealt with; it is committed soon after."""
        self._ledger.acknowledge(next_offsets)

    def pause(self, timeout_s: float) -> None:
        """Wait for so long, unless it is closed meanwhile."""
        self._backlog.pause(timeout_s)

    def close(self, timeout_s: float) -> None:
        """Commit what is acknowledged, leave the group and end the thread."""
        self._stopping = True
        self._backlog.close()
        if self._thread.is_alive():
            self._thread.join(timeout_s)
        if self._thread.is_alive():
            log.warning("the source did not end in time", seconds=timeout_s)

    # The rest runs on the source's own thread.

    def _run(self) -> None:
        try:
            if connection := self._connect():
                self._connection = connection
                self._consume()
        except MonitorError as error:
            self._failure = error
        except BaseException as error:
            log.exception("the source failed")
            self._failure = StreamError(f"source: {type(error).__name__}: {error}.")
        finally:
            self._backlog.close()

    def _connect(self) -> Connection[KafkaConsumer] | None:
        """A consumer, however long that takes; None when it is to stop before."""
        while not self._stopping:
            try:
                return connect(KafkaConsumer, self._kafka, **self._options())
            except BrokerAwayError as reason:
                self._link.down(str(reason))
                self._backlog.pause(RETRY_SECONDS)
        return None

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
        }

    def _consume(self) -> None:
        self._membership = Membership(
            self._connection, self._ledger, self._backlog, self._metrics, self._health
        )
        try:
            self._subscribe()
            while not self._stopping:
                self._grow_batch()
                self._backlog.seal()
                self._housekeeping()
                while self._backlog.full_for(ROOM_SECONDS) and not self._stopping:
                    self._poll_paused()
                    self._backlog.seal()
                    self._housekeeping()
        finally:
            self._leave()

    def _leave(self) -> None:
        """Commit through the group's last callback, and leave; what fails here changes nothing."""
        self._membership.leaving = True
        try:
            self._consumer.close(autocommit=False, timeout_ms=LEAVE_SECONDS * 1000)
        except KafkaError as error:
            log.warning("the group was not left in good order", error=str(error))

    def _subscribe(self) -> None:
        """Subscribe, and know the topics' partitions before the first poll.

        Otherwise kafka-python joins at once, assigns nothing, and joins again when it knows them.
        """
        topics, cluster = self._kafka.input_topics, self._connection.network.cluster
        self._consumer.subscribe(topics, listener=self._membership)
        deadline = monotonic() + METADATA_SECONDS
        while monotonic() < deadline and None in map(cluster.partitions_for_topic, topics):
            self._backlog.pause(0.01)

    @property
    def _consumer(self) -> KafkaConsumer:
        return self._connection.client

    def _grow_batch(self) -> None:
        """Poll until the micro-batch is full or its time is over.

        Sooner where nobody has anything else to do and nothing more comes: small while there is
        little, hence soon told of, and large under load.
        """
        if not self._poll(IDLE_POLL_MS):
            return
        started = monotonic()
        deadline = started + self._batch.max_delay_ms / 1000
        while self._backlog.room > 0 and not self._stopping:
            left_ms = int(1000 * (deadline - monotonic()))
            if left_ms <= 0 or not (
                self._poll(min(left_ms, GATHER_MS)) or not self._backlog.is_awaited
            ):
                break
        self._metrics.stage_seconds.labels("poll").observe(monotonic() - started)

    def _poll(self, timeout_ms: int) -> int:
        """Poll once into the growing micro-batch; returns how many records came."""
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
            self._backlog.add(polled)
            return sum(map(len, polled.values()))
        return 0

    def _poll_paused(self) -> None:
        """Keep the membership alive; records come only if a rebalance brings new partitions."""
        self._consumer.pause(*self._consumer.assignment())
        self._poll(PAUSED_POLL_MS)
        self._consumer.resume(*self._consumer.assignment())

    def _reset(self, error: KafkaError) -> None:
        """Go where auto_offset_reset says; a position that has become invalid is counted."""
        partitions = error.args[0]
        if not isinstance(error, NoOffsetForPartitionError):
            truncated = isinstance(error, LogTruncationError)
            partitions = error.divergent_offsets if truncated else partitions
            for topic, partition in partitions:
                self._metrics.offset_resets.labels(topic, partition).inc()
            log.warning(
                "position out of range: its records are gone, or the topic was made anew",
                positions={name(tp): offset for tp, offset in partitions.items()},
                auto_offset_reset=self._kafka.auto_offset_reset,
            )
        earliest = self._kafka.auto_offset_reset == "earliest"
        seek = self._consumer.seek_to_beginning if earliest else self._consumer.seek_to_end
        seek(*partitions)

    def _refused(self, error: Exception) -> MonitorError:
        """Before anything was read a restart cannot help; later it may."""
        kind = StreamError if self._membership.ever_joined else BrokerError
        advice = ADVICE.get(type(error), "`monitor doctor` says which right is missing")
        return kind(
            f"kafka.group_id {self._kafka.group_id!r} on {self._kafka.bootstrap_servers}: the "
            f"broker refuses this member ({error}); {advice}."
        )

    def _unreadable(self, error: Exception) -> StreamError:
        assigned = sorted(self._consumer.assignment())
        told = ", ".join(f"{name(tp)} at {self._position(tp)}" for tp in assigned)
        return StreamError(
            f"source: the Kafka client cannot read on from {told} "
            f"({type(error).__name__}: {error}); move the group past that record to go on."
        )

    def _housekeeping(self) -> None:
        now = monotonic()
        if self._connection.coordinator_connected(self._kafka.group_id):
            self._connected_at = now
            self._link.up()
        elif now - self._connected_at > AWAY_SECONDS:
            self._link.down("the connection is lost")
        due = not self._committing and now - self._committed_at > COMMIT_SECONDS
        if due and (offsets := self._ledger.to_commit()):
            self._committed_at = now
            self._commit(offsets)
        if now - self._lag_told_at > LAG_SECONDS:
            self._lag_told_at = now
            self._tell_lag()

    def _commit(self, offsets: Offsets) -> None:
        """One request at a time; one that fails is repeated with whatever is due by then."""
        started, took = monotonic(), list[float]()

        def finished(_: object, answer: object) -> None:
            self._committing = False
            if isinstance(answer, FATAL):
                raise self._refused(answer)
            if isinstance(answer, Exception):
                log.debug("commit failed, it will be repeated", error=str(answer))
                return
            self._ledger.committed(offsets)
            self._metrics.stage_seconds.labels("commit").observe(sum(took))

        self._committing = True
        # `finished` is called by a later poll; how long the request took is known before.
        future = self._consumer.commit_async(for_kafka(offsets), callback=finished)
        future.add_both(lambda _: took.append(monotonic() - started))

    def _tell_lag(self) -> None:
        for partition, settled in self._ledger.settled().items():
            position = self._position(partition) if settled is None else settled
            highwater = self._highwater(partition)
            if highwater is not None and position is not None:
                lag = max(highwater - position, 0)
                self._metrics.consumer_lag_records.labels(*partition).set(lag)

    def _position(self, partition: tuple[str, int]) -> int | None:
        with suppress(KafkaError):  # no longer assigned, or no position yet
            return cast(int, self._consumer.position(TopicPartition(*partition), timeout_ms=0))
        return None

    def _highwater(self, partition: tuple[str, int]) -> int | None:
        with suppress(KafkaError):
            return cast(int, self._consumer.highwater(TopicPartition(*partition)))
        return None

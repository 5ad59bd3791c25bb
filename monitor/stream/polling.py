"""What every source from Kafka does, whichever client it polls with.

A client's consumer has one owner, a thread: it polls, commits what has been acknowledged, and tells
how far behind it is. While the queue is full the partitions are paused and it keeps polling, so
that membership of the group depends on neither scoring nor publishing.
"""

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from threading import Event, Thread
from time import monotonic
from typing import Any

import structlog

from monitor.batch import MicroBatch, Partition
from monitor.config import BatchSettings, KafkaSettings
from monitor.errors import MonitorError, StreamError
from monitor.stream.backlog import Backlog
from monitor.stream.client import BrokerAwayError
from monitor.stream.contracts import Assignment, Offsets, RewindError
from monitor.stream.ledger import Ledger
from monitor.stream.link import BrokerLink
from monitor.stream.membership import LOOK_AGAIN_SECONDS, Membership, name
from monitor.stream.refusals import FATAL, refused
from monitor.telemetry.health import Health
from monitor.telemetry.metrics import Metrics

QUEUED_BATCHES = 3
IDLE_POLL_MS = 500
GATHER_MS = 2
"""A micro-batch that is awaited ends when nothing came for as long."""
ROOM_SECONDS = 0.1
"""How long to wait for room in the queue before polling again with the partitions paused."""
AWAY_SECONDS = 1.0
"""How long the coordinator may be unconnected before the broker counts as away."""
COMMIT_SECONDS = 0.2
"""Commits are at least this far apart; what is acknowledged meanwhile goes with the next."""
LAG_SECONDS = 1.0
QUERY_SECONDS = 3.0
RETRY_SECONDS = 1.0
HEARTBEAT_MS = 3_000
REQUEST_TIMEOUT_MS = 10_000
"""A broker that is connected and silent for as long counts as away."""
METADATA_MS = 10_000
"""How soon an added partition or a deleted topic is noticed; with the clients' own in 5 minutes."""
FETCH_MAX_BYTES = 16 * 1024 * 1024
"""Bounds, with the queue, what is held in memory."""

log = structlog.get_logger()


class PollingSource(ABC):
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
        self._membership = Membership(self._ledger, self._backlog, metrics, health)
        self._failure: MonitorError | None = None
        self._stopping = self._committing = self._given_up = False
        self._gone_back = self._to_answer = Event()
        self._counts: dict[str, int] = {}
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

    def assignment(self) -> Assignment:
        """The partitions that are ours at this moment."""
        return self._ledger.assignment()

    def standing(self) -> MicroBatch:
        """No records, and the offsets before which all is dealt with, where they are known."""
        epoch, offsets = self._ledger.standing()
        return MicroBatch((), offsets, epoch)

    def commit_no_more(self) -> None:
        """From before the start on: whoever acknowledges offsets has committed them."""
        self._ledger.commits = False

    def group_metadata(self) -> Any:
        """What the client's producer needs to know of the group to commit offsets; at any time.

        Raises:
            RewindError: this is no member of the group at the moment. Offsets with such metadata
                would be refused at best: Kafka takes them where a dynamic member, or the last of
                the group, sends them.
        """
        if self._membership.ever_joined:
            generation, metadata = self._generation()
            if generation >= 0:
                return metadata
        raise RewindError("this is no member of the group at the moment")

    def rewind(self) -> None:
        """Forget what was handed out, and go back to what is committed; a new epoch begins.

        While the broker is away it waits, until `stop_trying`.

        Raises:
            BrokerError, StreamError: as `next`.
        """
        gone_back = self._gone_back = Event()
        self._membership.going_back = True
        while (
            not (gone_back.wait(LOOK_AGAIN_SECONDS) or self._given_up) and self._thread.is_alive()
        ):
            pass
        if self._failure:
            raise self._failure

    def stop_trying(self) -> None:
        """From now on `rewind` waits no more."""
        self._given_up = True

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

    # The rest runs on the source's own thread; first what depends on the client.

    @abstractmethod
    def _open(self) -> None:
        """Make the consumer; raises BrokerAwayError where no broker answers."""

    @abstractmethod
    def _subscribe(self) -> None:
        """Join the group."""

    @abstractmethod
    def _leave(self) -> None:
        """Commit through the group's last callback, and leave; what fails here changes nothing."""

    @abstractmethod
    def _poll(self, timeout_ms: int) -> int:
        """Poll once into the growing micro-batch; returns how many records came."""

    @abstractmethod
    def _poll_paused(self) -> None:
        """Keep the membership alive; records come only if a rebalance brings new partitions."""

    @abstractmethod
    def _seek_to_committed(self, partitions: Collection[Partition]) -> bool:
        """Go to what is committed, or where `auto_offset_reset` says; whether that worked."""

    @abstractmethod
    def _commit(self, offsets: Offsets) -> None:
        """Begin to commit; `_commit_ended` is called once it is known what became of it."""

    @abstractmethod
    def _generation(self) -> tuple[int, Any]:
        """The group's, negative where this is no member, and what a producer is to be told.

        It is called on any thread.
        """

    @abstractmethod
    def _is_connected(self) -> bool:
        """Whether the broker that looks after the group is known and connected."""

    @abstractmethod
    def _position(self, partition: Partition) -> int | None:
        """The offset to read next, where it is known."""

    @abstractmethod
    def _highwater(self, partition: Partition) -> int | None:
        """The offset that the next record of the partition will have, where it is known."""

    def _run(self) -> None:
        try:
            if self._connect():
                self._consume()
        except MonitorError as error:
            self._failure = error
        except BaseException as error:
            log.exception("the source failed")
            self._failure = StreamError(f"source: {type(error).__name__}: {error}.")
        finally:
            self._backlog.close()

    def _connect(self) -> bool:
        """Have a consumer, however long that takes; False when it is to stop before."""
        while not self._stopping:
            try:
                self._open()
                return True
            except BrokerAwayError as reason:
                self._link.down(str(reason))
                self._backlog.pause(RETRY_SECONDS)
        return False

    def _consume(self) -> None:
        try:
            self._subscribe()
            while not self._stopping:
                self._grow_batch()
                self._settle()
                while self._backlog.full_for(ROOM_SECONDS) and not self._stopping:
                    self._poll_paused()
                    self._settle()
        finally:
            self._membership.leaving = True
            self._leave()

    def _grow_batch(self) -> None:
        """Poll until the micro-batch is full or its time is over.

        Sooner where nobody has anything else to do and nothing more comes: small while there is
        little, hence soon told of, and large under load.
        """
        if not self._poll(IDLE_POLL_MS):
            return
        started = monotonic()
        deadline = started + self._batch.max_delay_ms / 1000
        while self._backlog.room > 0 and not (self._stopping or self._membership.going_back):
            left_ms = int(1000 * (deadline - monotonic()))
            if left_ms <= 0 or not (
                self._poll(min(left_ms, GATHER_MS)) or not self._backlog.is_awaited
            ):
                break
        self._metrics.stage_seconds.labels("poll").observe(monotonic() - started)

    def _settle(self) -> None:
        """What is due between two polls that grow a micro-batch."""
        if self._membership.going_back:
            self._begin_afresh()
        self._backlog.seal()
        self._find_positions()
        self._housekeeping()

    def _begin_afresh(self) -> None:
        self._backlog.drop(ours := self._ledger.assignment().partitions)
        self._ledger.begin_afresh()
        self._membership.unsought.update(ours)
        self._to_answer = self._gone_back  # which was there before it was asked to go back
        self._membership.going_back = False

    def _find_positions(self) -> None:
        """Have all partitions where they are to begin: those that came, or all after a rewind."""
        if unsought := set(self._membership.unsought):
            if not self._seek_to_committed(unsought):
                return
            self._membership.unsought.difference_update(unsought)
        self._to_answer.set()

    def _begins_at_end(self, partition: Partition) -> bool:
        """Whether one without a committed offset begins with new records.

        Then its end is to be committed before any is read: a failure before the first commit would
        otherwise skip what came in between. One that was added while we ran is read from its
        beginning, for all of it is new.
        """
        is_added = partition.partition >= self._counts.get(partition.topic, partition.partition + 1)
        return self._kafka.auto_offset_reset == "latest" and not is_added

    def _out_of_range(self, positions: Mapping[Partition, int]) -> None:
        """These positions have become invalid: count and tell."""
        self._backlog.seal()  # what has been read is of before
        self._ledger.went_back(positions)
        self._backlog.go_on_from(dict.fromkeys(positions))
        for partition in positions:
            self._metrics.offset_resets.labels(*partition).inc()
        log.warning(
            "position out of range: its records are gone, or the topic was made anew",
            positions={name(partition): offset for partition, offset in positions.items()},
            auto_offset_reset=self._kafka.auto_offset_reset,
        )

    def _refused(self, error: Exception) -> MonitorError:
        return refused(self._kafka, error, self._membership.ever_joined)

    def _unreadable(self, error: Exception) -> StreamError:
        told = ", ".join(f"{name(p)} at {self._position(p)}" for p in self._ledger.settled())
        return StreamError(
            f"source: the Kafka client cannot read on from {told} "
            f"({type(error).__name__}: {error}); move the group past that record to go on."
        )

    def _housekeeping(self) -> None:
        now = monotonic()
        if self._is_connected():
            self._connected_at = now
            self._link.up()
        elif now - self._connected_at > AWAY_SECONDS:
            self._link.down("the connection is lost")
        due = not self._committing and now - self._committed_at > COMMIT_SECONDS
        if due and (offsets := self._ledger.to_commit()):
            self._committed_at, self._committing = now, True
            self._commit(offsets)
        if now - self._lag_told_at > LAG_SECONDS:
            self._tell_lag(now)

    def _commit_ended(self, offsets: Offsets, error: Exception | None, took_s: float) -> None:
        """One request at a time; one that fails is repeated with whatever is due by then."""
        self._committing = False
        if isinstance(error, FATAL):
            raise self._refused(error)
        if error:
            log.debug("commit failed, it will be repeated", error=str(error))
            return
        self._ledger.committed(offsets)
        self._metrics.stage_seconds.labels("commit").observe(took_s)

    def _tell_lag(self, now: float) -> None:
        self._lag_told_at = now
        for partition, settled in self._ledger.settled().items():
            position = self._position(partition) if settled is None else settled
            if position is not None and partition not in self._membership.unsought:
                self._ledger.begin_at({partition: position})
            highwater = self._highwater(partition)
            if highwater is not None and position is not None:
                lag = max(highwater - position, 0)
                self._metrics.consumer_lag_records.labels(*partition).set(lag)

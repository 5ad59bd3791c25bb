"""What the consumer group tells this member: which partitions come, and which go.

The callbacks run on the Kafka client's own I/O thread, while the source's thread waits in `poll`.
They await instead of blocking, so that heartbeats and commits go on meanwhile.
"""

from collections.abc import Iterable
from time import monotonic

import structlog
from kafka import KafkaConsumer, OffsetAndMetadata, TopicPartition
from kafka.consumer.subscription_state import AsyncConsumerRebalanceListener
from kafka.errors import KafkaError, KafkaTimeoutError

from monitor.batch import Partition
from monitor.stream.backlog import Backlog
from monitor.stream.client import Connection
from monitor.stream.contracts import Offsets
from monitor.stream.ledger import Ledger
from monitor.telemetry.health import Health
from monitor.telemetry.metrics import Metrics

DRAIN_SECONDS = 3.0
"""How long a revocation waits for work in hand."""
COMMIT_SECONDS = 1.5
_LOOK_AGAIN_SECONDS = 0.01

log = structlog.get_logger()


class Membership(AsyncConsumerRebalanceListener):  # type: ignore[misc]
    """Keeps ledger and backlog to the partitions that are assigned."""

    def __init__(
        self,
        connection: Connection[KafkaConsumer],
        ledger: Ledger,
        backlog: Backlog,
        metrics: Metrics,
        health: Health,
    ) -> None:
        self._connection = connection
        self._ledger, self._backlog = ledger, backlog
        self._metrics, self._health = metrics, health
        self.ever_joined = False
        self.leaving = False

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        partitions = _ours(assigned)
        self._ledger.assign(partitions)
        self._metrics.rebalances.inc()
        self._health.ok("group")
        self.ever_joined = True
        log.info("partitions assigned", partitions=names(partitions))

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Give the work in hand a moment, and commit while we still may."""
        partitions = _ours(revoked)
        self._health.problem("group", "rebalancing")
        self._rewind(self._backlog.drop(partitions))
        deadline = monotonic() + DRAIN_SECONDS
        while not self.leaving and self._ledger.in_flight(partitions) and monotonic() < deadline:
            await self._connection.loop.sleep(_LOOK_AGAIN_SECONDS)
        await self._commit(self._ledger.to_commit(partitions))
        self._give_up(partitions)

    async def on_partitions_lost(self, lost: Iterable[TopicPartition]) -> None:
        """The group went on without us: there is nothing left to commit."""
        partitions = _ours(lost)
        self._health.problem("group", "not a member")
        self._backlog.drop(partitions)
        self._give_up(partitions)

    def _rewind(self, offsets: Offsets) -> None:
        """A partition that stays with us keeps its position: what was dropped is to be read again.

        Those that go begin, with whoever gets them, at the committed offset.
        """
        consumer = self._connection.client
        for partition, offset in offsets.items():
            tp = TopicPartition(*partition)
            if tp in consumer.assignment():
                consumer.seek(tp, offset)

    async def _commit(self, offsets: Offsets) -> None:
        if not offsets:
            return
        try:
            await self._send(offsets)
        except KafkaError as error:
            log.warning(
                "not committed before revocation: what follows will be read again",
                offsets={name(p): offset for p, offset in offsets.items()},
                error=str(error),
            )

    async def _send(self, offsets: Offsets) -> None:
        deadline = monotonic() + COMMIT_SECONDS
        future = self._connection.client.commit_async(for_kafka(offsets))
        while not future.is_done:
            if monotonic() > deadline:
                raise KafkaTimeoutError("no answer")
            await self._connection.loop.sleep(_LOOK_AGAIN_SECONDS)
        if future.failed():
            raise future.exception

    def _give_up(self, partitions: Iterable[Partition]) -> None:
        self._ledger.revoke(partitions)
        self._metrics.forget_lag(partitions)
        if revoked := names(partitions):
            log.info("partitions revoked", partitions=revoked)


def for_kafka(offsets: Offsets) -> dict[TopicPartition, OffsetAndMetadata]:
    """Offsets as the client wants them."""
    return {TopicPartition(*p): OffsetAndMetadata(offset) for p, offset in offsets.items()}


def name(partition: tuple[str, int]) -> str:
    """As logs show it: topic[3]."""
    return f"{partition[0]}[{partition[1]}]"


def names(partitions: Iterable[tuple[str, int]]) -> list[str]:
    """In order."""
    return [name(partition) for partition in sorted(partitions)]


def _ours(partitions: Iterable[TopicPartition]) -> set[Partition]:
    return {Partition(*tp) for tp in partitions}

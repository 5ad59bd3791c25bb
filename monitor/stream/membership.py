"""What the consumer group tells this member: which partitions come, and which go.

Whoever writes with the offsets of a micro-batch takes the group's metadata first, and then looks
whether the micro-batch's epoch is still that of the ledger. This is sound, for a partition that
goes changes two things in one order: the epoch goes up (`give_up`, `lost`) before this member asks
to join the group's next generation. So either the metadata is of the generation in which the
records were ours, and the broker refuses it once there is another; or it is of a later one, and the
epoch is another too. The callbacks that call `give_up` and `lost` end before a client joins again:

- kafka-python awaits them in `_on_join_prepare_async`, before it sends JoinGroup;
- librdkafka joins once `unassign` is called, which confluent-kafka does after the callback.

Between the loss of a membership and `lost` there is no generation, and no metadata is given out.
All of it holds for assignors that revoke everything at each rebalance, as ours do: with the
cooperative ones kafka-python keeps what it had, and where it was, when it loses its membership
while it joins.

Whatever comes begins at what is committed, also where the client would go on from its own position:
others may have been there in between.
"""

from collections.abc import Collection, Iterable
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
LOOK_AGAIN_SECONDS = 0.01

log = structlog.get_logger()


class Membership:
    """Keeps ledger and backlog to the partitions that are assigned, and tells of them.

    Of a revocation `revoking` is the first step and `give_up` the last; in between the work in hand
    has a moment to end, while `is_awaited`, and what is acknowledged is committed while it may be.

    Attributes:
        leaving, going_back: nobody deals with what is in hand any more.
        unsought: partitions that are not yet where they are to begin.
    """

    def __init__(self, ledger: Ledger, backlog: Backlog, metrics: Metrics, health: Health) -> None:
        self._ledger, self._backlog = ledger, backlog
        self._metrics, self._health = metrics, health
        self.ever_joined = False
        self.leaving = self.going_back = False
        self.unsought: set[Partition] = set()

    def assigned(self, partitions: Collection[Partition]) -> None:
        """These are ours from now on."""
        if partitions:
            self._health.problem("state", "it is to be loaded")
        self._ledger.assign(partitions)
        self.unsought.update(partitions)
        self._metrics.rebalances.inc()
        self._health.ok("group")
        self.ever_joined = True
        log.info("partitions assigned", partitions=names(partitions))

    def revoking(self, partitions: Collection[Partition]) -> None:
        """These go: forget what nobody has taken."""
        self._health.problem("group", "rebalancing")
        self._backlog.drop(partitions)

    def is_awaited(self, partitions: Collection[Partition]) -> bool:
        """Whether records of these are being dealt with, and there is time to wait for them."""
        return not (self.leaving or self.going_back) and self._ledger.in_flight(partitions)

    def not_committed(self, offsets: Offsets, error: Exception) -> None:
        """Whoever gets these partitions begins further back."""
        log.warning(
            "not committed before revocation: what follows will be read again",
            offsets={name(p): offset for p, offset in offsets.items()},
            error=str(error),
        )

    def give_up(self, partitions: Collection[Partition]) -> None:
        """These are no longer ours."""
        self._ledger.revoke(partitions)
        self.unsought.difference_update(partitions)
        self._metrics.forget_lag(partitions)
        if revoked := names(partitions):
            log.info("partitions revoked", partitions=revoked)

    def lost(self, partitions: Collection[Partition]) -> None:
        """The group went on without us: there is nothing left to commit."""
        self._health.problem("group", "not a member")
        self._backlog.drop(partitions)
        self.give_up(partitions)


class Listener(AsyncConsumerRebalanceListener):  # type: ignore[misc]
    """Hears of the group from kafka-python.

    It is called on that client's own I/O thread, while the source's thread waits in `poll`, and
    awaits instead of blocking, so that heartbeats and commits go on meanwhile.
    """

    def __init__(
        self, connection: Connection[KafkaConsumer], membership: Membership, ledger: Ledger
    ) -> None:
        self._connection, self._membership, self._ledger = connection, membership, ledger

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        self._membership.assigned(_ours(assigned))

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Give the work in hand a moment, and commit while we still may."""
        partitions = _ours(revoked)
        self._membership.revoking(partitions)
        deadline = monotonic() + DRAIN_SECONDS
        while self._membership.is_awaited(partitions) and monotonic() < deadline:
            await self._connection.loop.sleep(LOOK_AGAIN_SECONDS)
        await self._commit(self._ledger.to_commit(partitions))
        self._membership.give_up(partitions)

    async def on_partitions_lost(self, lost: Iterable[TopicPartition]) -> None:
        self._membership.lost(_ours(lost))

    async def _commit(self, offsets: Offsets) -> None:
        if not offsets:
            return
        try:
            await self._send(offsets)
        except KafkaError as error:
            self._membership.not_committed(offsets, error)

    async def _send(self, offsets: Offsets) -> None:
        deadline = monotonic() + COMMIT_SECONDS
        future = self._connection.client.commit_async(for_kafka(offsets))
        while not future.is_done:
            if monotonic() > deadline:
                raise KafkaTimeoutError("no answer")
            await self._connection.loop.sleep(LOOK_AGAIN_SECONDS)
        if future.failed():
            raise future.exception


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

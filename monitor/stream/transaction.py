"""Exactly once: a micro-batch's outputs and offsets in one transaction of Kafka.

Order is what makes it safe. Whose records they are is asked before anything is sent: partitions
taken away before that have ended the epoch, and those taken away later the generation, whose
offsets the group refuses. Nothing is committed before every record is known to be written. After
any failure the producer is thrown away: a new one of the same id settles what the old one began,
and only then is it asked what became of it.
"""

from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from time import monotonic
from typing import NoReturn
from uuid import uuid4

import structlog
from kafka.errors import (
    CommitFailedError,
    FencedInstanceIdError,
    IllegalGenerationError,
    KafkaError,
    KafkaTimeoutError,
    ProducerFencedError,
    RebalanceInProgressError,
    TransactionalIdAuthorizationFailedError,
    UnknownMemberIdError,
)

from monitor.batch import MicroBatch
from monitor.config import KafkaSettings
from monitor.errors import BrokerError, MonitorError, StreamError
from monitor.stream.client import REFUSALS, BrokerAwayError
from monitor.stream.contracts import Member, Output, RewindError
from monitor.stream.delivery import (
    TOO_LARGE,
    Delivery,
    Patience,
    chunks,
    is_final,
    size,
    stop_if_final,
)
from monitor.stream.onlooker import onlooker
from monitor.stream.producing import (
    MARK_END,
    Claim,
    Failures,
    Producer,
    Transactional,
    Waiting,
)

TIMEOUT_SECONDS = 10.0
"""After which the broker aborts a transaction that nobody goes on with; readers wait for that."""
LONGEST_SECONDS = 80.0
LOOK_SECONDS = 3.0
FENCED_TIMES = 3
"""Once, we were late; so often in a row it is another process that goes on under our name."""

_GROUP_WENT_ON = (
    CommitFailedError,
    FencedInstanceIdError,
    IllegalGenerationError,
    RebalanceInProgressError,
    UnknownMemberIdError,
)

log = structlog.get_logger()


class ExactlyOnce(Delivery):
    """One transaction for each write."""

    def __init__(
        self, kafka: KafkaSettings, producer: Producer, member: Member, patience: Patience
    ) -> None:
        super().__init__(producer, member, patience)
        self._kafka = kafka
        self._as = Transactional(transactional_id(kafka), TIMEOUT_SECONDS)
        self._fenced = 0
        member.commit_no_more()

    def open(self) -> None:
        """Have a producer; what one of this id before it has begun is settled then.

        Raises: as `Producer.open`.
        """
        try:
            self._producer.open(self._in_time(), self._as)
        except TransactionalIdAuthorizationFailedError as error:
            raise BrokerError(
                f"kafka.delivery exactly_once: the transactional id {self._as.id!r} may not be "
                f"used on {self._kafka.bootstrap_servers}; grant WRITE on it with an ACL, or set "
                "kafka.delivery to at_least_once."
            ) from error
        except KafkaError as error:
            if isinstance(error, REFUSALS) or is_final(error):
                raise BrokerError(
                    f"kafka.delivery exactly_once: {self._kafka.bootstrap_servers} refuses "
                    f"transactions as {self._as.id!r} ({error})."
                ) from error
            raise

    def write(self, outputs: Sequence[Output], batch: MicroBatch) -> None:
        """Commit outputs and offsets together, or neither."""
        if outputs or batch.next_offsets:
            write = _Write(outputs, batch, uuid4().hex)
            while not self._attempt(write):
                self._patience.check()
        self._fenced, self._as = 0, Transactional(self._as.id, TIMEOUT_SECONDS)
        self._patience.well()
        self._member.acknowledge(batch.next_offsets)

    def _attempt(self, write: "_Write") -> bool:
        """Whether it is committed; if not, it is to be tried again.

        Raises:
            RewindError: it never will be.
        """
        try:
            return self._try(write)
        except BrokerAwayError as reason:
            self._patience.in_trouble(str(reason))
        except _GROUP_WENT_ON as error:
            self._producer.close(0)
            with suppress(BrokerAwayError, KafkaError, MonitorError):
                self.open()  # aborts, so that whoever has the partitions now need not wait
            raise RewindError(f"the group went on ({error})") from error
        except ProducerFencedError as error:
            raise self._fence(error) from error
        except KafkaError as error:
            self._recover(error)
        return False

    def _recover(self, error: KafkaError) -> None:
        """Begin with a new producer, unless the broker would say the same again."""
        self._producer.close(0)
        if isinstance(error, REFUSALS) or is_final(error):
            raise StreamError(
                f"kafka.delivery exactly_once: the broker does not take a transaction ({error}); "
                "nothing past this is committed."
            ) from error
        if isinstance(error, KafkaTimeoutError):
            self._allow_more_time()
        self._patience.rest(error)

    def _try(self, write: "_Write") -> bool:
        self.open()
        if write.in_doubt and self._is_committed(write):
            return True
        write.in_doubt = False
        claim, waiting = self._claim(write), self._in_time()
        self._producer.begin()
        for chunk in chunks([self._limits.within(output) for output in write.outputs]):
            if failed := self._producer.send(chunk, waiting):
                self._after(failed)
                return False
        if claim.offsets:
            self._producer.send_offsets(claim, waiting)
        write.in_doubt = True
        self._producer.commit(waiting)
        return True

    def _in_time(self) -> Waiting:
        """From now on, while the broker does not abort by itself what is begun now."""
        return partial(self._patience.waiting, monotonic() + self._as.patience_s)

    def _claim(self, write: "_Write") -> Claim:
        """The batch's offsets as those of this member.

        Raises:
            RewindError: they are no longer ours to commit.
        """
        group = self._member.group_metadata()
        if self._member.assignment().epoch != write.batch.epoch:
            raise RewindError("partitions were taken away before their records were dealt with")
        return Claim(write.batch.next_offsets, write.mark, group)

    def _is_committed(self, write: "_Write") -> bool:
        """What became of a commit without an answer, now that it is settled.

        All of its offsets are committed or none is, so that one tells.

        Raises:
            BrokerAwayError: it cannot be known yet.
            RewindError: it never can.
        """
        partition = next(iter(write.batch.next_offsets), None)
        if partition is None:
            raise RewindError("there is no offset that tells whether outputs were published")
        with onlooker(self._kafka) as seen:
            committed = seen.committed(partition, LOOK_SECONDS)
        return committed is not None and committed.metadata == write.mark + MARK_END

    def _after(self, failed: Failures) -> None:
        """Some outputs were not taken: have the next attempt do better, or raise.

        Raises:
            StreamError: one of them never will be taken.
            KafkaError: what is wrong is not one of them.
        """
        too_large = [output for output, error in failed if isinstance(error, TOO_LARGE)]
        if too_large:
            # One record that is too large fails all that are under way, with the same words.
            self._limits.learn(self._culprit(too_large))
            self._producer.close(0)
            return
        _raise_first(failed)

    def _culprit(self, outputs: Sequence[Output]) -> Output:
        """The first that is too large: halve until it is alone, and commit nothing meanwhile.

        Where none is by itself they are together: then the largest that can be cut.

        Raises: as `_after`.
        """
        suspects = outputs
        while True:
            half = suspects[: (len(suspects) + 1) // 2]
            if self._is_too_large(half):
                if len(half) == 1:
                    return half[0]
                suspects = half
            elif len(suspects) == 1:
                return max(outputs, key=lambda output: (output.smaller is not None, size(output)))
            else:
                suspects = suspects[len(half) :]

    def _is_too_large(self, outputs: Sequence[Output]) -> bool:
        self._producer.close(0)
        self.open()
        self._producer.begin()
        failed = self._producer.send(outputs, self._in_time())
        if any(isinstance(error, TOO_LARGE) for _, error in failed):
            return True
        if failed:
            _raise_first(failed)
        return False

    def _allow_more_time(self) -> None:
        """For a broker that answers, and only not in time."""
        longer_s = min(2 * self._as.timeout_s, LONGEST_SECONDS)
        self._as = Transactional(self._as.id, longer_s)

    def _fence(self, error: ProducerFencedError) -> Exception:
        """The broker has aborted what we began: we were late, or another has taken our id."""
        self._producer.close(0)
        self._fenced += 1
        if self._fenced < FENCED_TIMES:
            return RewindError(f"the transaction was ended by the broker ({error})")
        return StreamError(
            f"kafka.delivery exactly_once: another process writes with the transactional id "
            f"{self._as.id!r}; give each a kafka.group_instance_id of its own."
        )


class _Write:
    """Outputs and their offsets, from the first attempt to the last.

    Attributes:
        in_doubt: whether a commit of it was begun, and nobody knows what became of it.
    """

    def __init__(self, outputs: Sequence[Output], batch: MicroBatch, mark: str) -> None:
        self.outputs, self.batch, self.mark = outputs, batch, mark
        self.in_doubt = False


def _raise_first(failed: Failures) -> NoReturn:
    """Raise what is wrong: of the errors that follow upon the first, some only say there was one.

    Raises:
        StreamError: one of them never will be taken.
        KafkaError: what is wrong is not one of them.
    """
    failed.sort(key=lambda failure: type(failure[1]) is KafkaError)
    error = failed[0][1]
    if not isinstance(error, ProducerFencedError):
        stop_if_final(failed)
    raise error


def transactional_id(kafka: KafkaSettings) -> str:
    """One for each member of the group, and the same after a restart."""
    return f"{kafka.group_id}-{kafka.group_instance_id or uuid4().hex}"

"""How outputs are delivered: what is the same however often they may arrive, and at least once.

Every output is acknowledged by all in-sync replicas before an offset is. While the broker is away
it tries on, and the input waits; what no retry mends stops the stream rather than lose an output.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from time import monotonic, sleep

import structlog
from kafka.errors import (
    BrokerResponseError,
    InvalidProducerEpochError,
    InvalidProducerIdMappingError,
    InvalidTxnStateError,
    KafkaError,
    KafkaTimeoutError,
    MessageSizeTooLargeError,
    OutOfOrderSequenceNumberError,
    RecordListTooLargeError,
    RetriableError,
    TransactionAbortableError,
    UnknownError,
    UnknownProducerIdError,
)

from monitor.batch import MicroBatch
from monitor.errors import BrokerError, StreamError
from monitor.stream.client import REFUSALS, BrokerAwayError
from monitor.stream.contracts import Member, Output
from monitor.stream.producing import Failures, Producer
from monitor.telemetry.health import Health

LOOK_SECONDS = 3.0
"""How long a write may take before it looks what is wrong."""
RETRY_SECONDS = 1.0
CLOSE_SECONDS = 1.0
WRITE_BYTES = 8 * 1024 * 1024
"""Outputs in the producer's memory at a time."""
SMALLEST_BYTES = 4_000

_STATE = (
    InvalidProducerEpochError,
    InvalidProducerIdMappingError,
    InvalidTxnStateError,
    OutOfOrderSequenceNumberError,
    TransactionAbortableError,
    UnknownProducerIdError,
)
TOO_LARGE = (MessageSizeTooLargeError, RecordListTooLargeError)

log = structlog.get_logger()


class AbandonedError(Exception):
    """The sink was told to stop while the broker was away; nothing was acknowledged."""


class Patience:
    """How long a sink waits and tries, and what it tells meanwhile.

    Args:
        verify: raises BrokerError if an output topic is gone or may not be written.
    """

    def __init__(self, verify: Callable[[], None], health: Health) -> None:
        self._verify, self._health = verify, health
        self._give_up_at = float("inf")

    def stop_trying(self, after_s: float) -> None:
        """From now on what is not done gives up after so many seconds."""
        self._give_up_at = monotonic() + after_s

    def check(self) -> None:
        """Raises AbandonedError once the time is over."""
        if monotonic() > self._give_up_at:
            raise AbandonedError

    def waiting(self, until: float = float("inf")) -> Iterator[None]:
        """Goes on for as long as answers may be waited for; look between two whether all are there.

        Raises:
            AbandonedError, StreamError: they may no longer.
            KafkaTimeoutError: it is later than `until`.
        """
        look_at = monotonic() + LOOK_SECONDS
        while True:
            yield
            self.check()
            if monotonic() > until:
                raise KafkaTimeoutError("there is no answer")
            if monotonic() > look_at:
                self._look()
                look_at = monotonic() + LOOK_SECONDS

    def rest(self, reason: Exception) -> None:
        """After a failure that may mend itself: tell, look whether it will, and wait."""
        self.in_trouble(str(reason))
        self._look()
        sleep(RETRY_SECONDS)

    def in_trouble(self, reason: str) -> None:
        """Tell why outputs are not acknowledged."""
        if self._health.parts.get("outputs") == "ok":
            log.warning("outputs are not acknowledged, trying on", reason=reason)
        self._health.problem("outputs", reason)

    def well(self) -> None:
        """They are."""
        self._health.ok("outputs")

    def _look(self) -> None:
        """See whether what takes so long will mend itself: the client only waits on, and is silent.

        Raises:
            StreamError: it will not.
        """
        if self._give_up_at < float("inf"):
            return  # looking takes time of which there is none left
        try:
            self._verify()
        except BrokerAwayError as reason:
            self.in_trouble(str(reason))
        except BrokerError as error:
            raise StreamError(f"{error} Nothing past this is committed.") from error


class Limits:
    """How large a record may be: learnt, for each topic, from those that were too large."""

    def __init__(self) -> None:
        self._limits: dict[str, int] = {}

    def within(self, output: Output) -> Output:
        """The output, cut if it is known to be too large."""
        limit = self._limits.get(output.topic)
        if limit is None or output.smaller is None or size(output) <= limit:
            return output
        return output.smaller(limit)

    def learn(self, output: Output) -> None:
        """This one was too large.

        Raises:
            StreamError: it cannot be made smaller.
        """
        bytes_ = size(output)
        if output.smaller is None or bytes_ <= SMALLEST_BYTES:
            raise StreamError(
                f"topic {output.topic}: a record of {bytes_} bytes is too large for it; raise its "
                "max.message.bytes."
            )
        self._limits[output.topic] = max(bytes_ // 2, SMALLEST_BYTES)


class Delivery(ABC):
    """Publishes in order and exactly what it is given; see `monitor.stream.contracts.Sink`."""

    def __init__(self, producer: Producer, member: Member, patience: Patience) -> None:
        self._producer, self._member, self._patience = producer, member, patience
        self._limits = Limits()

    @abstractmethod
    def open(self) -> None:
        """Have a producer; raises as `Producer.open` does."""

    @abstractmethod
    def write(self, outputs: Sequence[Output], batch: MicroBatch) -> None:
        """As `Sink.write`."""


class AtLeastOnce(Delivery):
    """First the outputs, then the offsets: after a failure in between some come again."""

    def open(self) -> None:
        """Have a producer."""
        self._producer.open(self._patience.waiting)

    def write(self, outputs: Sequence[Output], batch: MicroBatch) -> None:
        """Publish all outputs, then acknowledge."""
        for chunk in chunks(outputs):
            self._publish(chunk)
        self._member.acknowledge(batch.next_offsets)

    def _publish(self, outputs: Sequence[Output]) -> None:
        """Try until all are acknowledged."""
        while outputs:
            outputs = self._attempt([self._limits.within(output) for output in outputs])
            if outputs:
                self._patience.check()
        self._patience.well()

    def _attempt(self, outputs: Sequence[Output]) -> Sequence[Output]:
        """Send each once; returns those that are to be sent again."""
        try:
            self.open()
            failed = self._producer.send(outputs, self._patience.waiting)
        except BrokerAwayError as reason:
            self._patience.in_trouble(str(reason))
            return outputs
        except KafkaError as error:
            self._recover(error)
            return outputs
        return self._after(failed) if failed else ()

    def _after(self, failed: Failures) -> Sequence[Output]:
        """What to send again, and how, after some outputs were not taken.

        Raises:
            StreamError: one of them never will be.
        """
        outputs = [output for output, _ in failed]
        if any(isinstance(error, TOO_LARGE) for _, error in failed):
            # A single record that is too large breaks the producer, and every other record that
            # was under way fails with the same words: halve until it is alone.
            self._producer.close(CLOSE_SECONDS)
            if len(outputs) == 1:
                self._limits.learn(outputs[0])
                return outputs
            self._publish(outputs[: len(outputs) // 2])
            return outputs[len(outputs) // 2 :]
        stop_if_final(failed)
        self._recover(failed[0][1])
        return outputs

    def _recover(self, reason: Exception) -> None:
        """After a failure that may mend itself: look, and begin with a new producer."""
        self._producer.close(CLOSE_SECONDS)
        self._patience.rest(reason)


def stop_if_final(failed: Failures) -> None:
    """Raises StreamError if the broker would say the same again, of any of these."""
    for output, error in failed:
        if isinstance(error, REFUSALS) or is_final(error):
            raise StreamError(
                f"topic {output.topic}: the broker does not take a record ({error}); nothing "
                "past this is committed."
            ) from error


def is_final(error: Exception) -> bool:
    """Whether the broker would say the same again; a new producer mends what is in _STATE."""
    ours_to_mend = isinstance(error, (RetriableError, UnknownError, *_STATE))
    return isinstance(error, BrokerResponseError) and not ours_to_mend


def size(output: Output) -> int:
    """About the bytes that it takes."""
    headers = sum(len(name) + len(value or b"") for name, value in output.headers)
    return len(output.key or b"") + len(output.value or b"") + headers


def chunks(outputs: Sequence[Output]) -> Iterator[Sequence[Output]]:
    """Runs of about WRITE_BYTES at most, or single outputs that are larger."""
    chunk: list[Output] = []
    room = WRITE_BYTES
    for output in outputs:
        if chunk and size(output) > room:
            yield chunk
            chunk, room = [], WRITE_BYTES
        chunk.append(output)
        room -= size(output)
    if chunk:
        yield chunk

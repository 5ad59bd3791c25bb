"""What every sink to Kafka does, whichever client it produces with.

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
    KafkaError,
    MessageSizeTooLargeError,
    OutOfOrderSequenceNumberError,
    RecordListTooLargeError,
    RetriableError,
    UnknownError,
    UnknownProducerIdError,
)

from monitor.batch import MicroBatch
from monitor.config import KafkaSettings
from monitor.errors import BrokerError, StreamError
from monitor.stream.client import REFUSALS, BrokerAwayError
from monitor.stream.contracts import Offsets, Output
from monitor.telemetry.health import Health

FLUSH_SECONDS = 0.25
"""How often a write that waits looks whether it is to give up."""
LOOK_SECONDS = 3.0
"""How long a write may take before it looks what is wrong."""
RETRY_SECONDS = 1.0
CLOSE_SECONDS = 1.0
WRITE_BYTES = 8 * 1024 * 1024
"""Outputs in the producer's memory at a time."""
SMALLEST_BYTES = 4_000
BATCH_BYTES = 256 * 1024
LINGER_MS = 5
DELIVERY_TIMEOUT_MS = 30_000
REQUEST_TIMEOUT_MS = 10_000

_STATE = (
    InvalidProducerEpochError,
    InvalidProducerIdMappingError,
    OutOfOrderSequenceNumberError,
    UnknownProducerIdError,
)
_TOO_LARGE = (MessageSizeTooLargeError, RecordListTooLargeError)

log = structlog.get_logger()


class AbandonedError(Exception):
    """The sink was told to stop while the broker was away; nothing was acknowledged."""


class PublishingSink(ABC):
    """Publishes in order and exactly what it is given; see `monitor.stream.contracts.Sink`.

    Args:
        acknowledge: called with the offsets once everything before them is published.
        verify: raises BrokerError if an output topic is gone or may not be written.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        acknowledge: Callable[[Offsets], None],
        verify: Callable[[], None],
        health: Health,
    ) -> None:
        self._kafka, self._acknowledge, self._verify = kafka, acknowledge, verify
        self._health = health
        self._limits: dict[str, int] = {}
        self._give_up_at = float("inf")

    def connect(self) -> None:
        """Connect ahead of the first output.

        Raises:
            BrokerAwayError: no broker answers.
            BrokerError: it refuses.
        """
        self._open()
        self._health.ok("outputs")

    def write(self, outputs: Sequence[Output], batch: MicroBatch) -> None:
        """Publish all outputs, then acknowledge; on return both have happened.

        Raises:
            StreamError: an output cannot be published.
            AbandonedError: `stop_trying` was called and the time is over.
        """
        self.tend()
        for chunk in _chunks(outputs):
            self._publish(chunk)
        self._acknowledge(batch.next_offsets)

    def tend(self) -> None:
        """Let the producer do what is due, to be called now and then; nothing by default."""
        return

    def stop_trying(self, after_s: float) -> None:
        """From now on a write that is not acknowledged gives up after so many seconds."""
        self._give_up_at = monotonic() + after_s

    @property
    @abstractmethod
    def is_open(self) -> bool:
        """Whether there is a producer."""

    @abstractmethod
    def close(self, timeout_s: float) -> None:
        """Close the producer; a write that was abandoned is dropped with it."""

    @abstractmethod
    def _open(self) -> None:
        """Have a producer; raises as `connect` does."""

    @abstractmethod
    def _send(self, outputs: Sequence[Output]) -> list[tuple[Output, Exception]]:
        """Send each once and wait for the answers, with `_waiting`; returns what failed, and why.

        Raises:
            KafkaError: nothing was sent.
        """

    def _publish(self, outputs: Sequence[Output]) -> None:
        """Try until all are acknowledged."""
        while outputs:
            outputs = self._attempt([self._within_limit(output) for output in outputs])
            if outputs and monotonic() > self._give_up_at:
                raise AbandonedError
        self._health.ok("outputs")

    def _attempt(self, outputs: Sequence[Output]) -> Sequence[Output]:
        """Send each once; returns those that are to be sent again."""
        try:
            self._open()
            failed = self._send(outputs)
        except BrokerAwayError as reason:
            self._in_trouble(str(reason))
            return outputs
        except KafkaError as error:
            self._recover(error)
            return outputs
        return self._after(failed) if failed else ()

    def _waiting(self) -> Iterator[None]:
        """Goes on for as long as answers may be waited for; look between two whether all are there.

        Raises:
            AbandonedError, StreamError: they may no longer.
        """
        look_at = monotonic() + LOOK_SECONDS
        while True:
            yield
            if monotonic() > self._give_up_at:
                raise AbandonedError
            if monotonic() > look_at:
                self._look()
                look_at = monotonic() + LOOK_SECONDS

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
            self._in_trouble(str(reason))
        except BrokerError as error:
            raise StreamError(f"{error} Nothing past this is committed.") from error

    def _after(self, failed: Sequence[tuple[Output, Exception]]) -> Sequence[Output]:
        """What to send again, and how, after some outputs were not taken.

        Raises:
            StreamError: one of them never will be.
        """
        outputs = [output for output, _ in failed]
        if any(isinstance(error, _TOO_LARGE) for _, error in failed):
            # A single record that is too large breaks the producer, and every other record that
            # was under way fails with the same words: halve until it is alone.
            self.close(CLOSE_SECONDS)
            if len(outputs) == 1:
                return [self._cut(outputs[0])]
            self._publish(outputs[: len(outputs) // 2])
            return outputs[len(outputs) // 2 :]
        for output, error in failed:
            if isinstance(error, REFUSALS) or _is_final(error):
                raise StreamError(
                    f"topic {output.topic}: the broker does not take a record ({error}); nothing "
                    "past this is committed."
                ) from error
        self._recover(failed[0][1])
        return outputs

    def _cut(self, output: Output) -> Output:
        """A smaller output, and a limit for those that follow in its topic."""
        size = _size(output)
        limit = self._limits[output.topic] = max(size // 2, SMALLEST_BYTES)
        if output.smaller is None or size <= SMALLEST_BYTES:
            raise StreamError(
                f"topic {output.topic}: a record of {size} bytes is too large for it; raise its "
                "max.message.bytes."
            )
        return output.smaller(limit)

    def _within_limit(self, output: Output) -> Output:
        limit = self._limits.get(output.topic)
        if limit is None or output.smaller is None or _size(output) <= limit:
            return output
        return output.smaller(limit)

    def _recover(self, reason: Exception) -> None:
        """After a failure that may mend itself: look, and begin with a new producer."""
        self._in_trouble(str(reason))
        self.close(CLOSE_SECONDS)
        self._look()
        sleep(RETRY_SECONDS)

    def _in_trouble(self, reason: str) -> None:
        if self._health.parts.get("outputs") == "ok":
            log.warning("outputs are not acknowledged, trying on", reason=reason)
        self._health.problem("outputs", reason)


def _is_final(error: Exception) -> bool:
    """Whether the broker would say the same again; a new producer mends what is in _STATE."""
    ours_to_mend = isinstance(error, (RetriableError, UnknownError, *_STATE))
    return isinstance(error, BrokerResponseError) and not ours_to_mend


def _size(output: Output) -> int:
    """About the bytes that it takes."""
    headers = sum(len(name) + len(value or b"") for name, value in output.headers)
    return len(output.key or b"") + len(output.value or b"") + headers


def _chunks(outputs: Sequence[Output]) -> Iterator[Sequence[Output]]:
    """Runs of about WRITE_BYTES at most, or single outputs that are larger."""
    chunk: list[Output] = []
    room = WRITE_BYTES
    for output in outputs:
        if chunk and _size(output) > room:
            yield chunk
            chunk, room = [], WRITE_BYTES
        chunk.append(output)
        room -= _size(output)
    if chunk:
        yield chunk

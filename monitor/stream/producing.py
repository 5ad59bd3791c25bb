"""What a sink needs of a Kafka client: one producer at a time, that can be thrown away."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from monitor.config import KafkaSettings
from monitor.stream.contracts import Offsets, Output

FLUSH_SECONDS = 0.25
"""How often a wait looks whether it is to end."""
BATCH_BYTES = 256 * 1024
LINGER_MS = 5
DELIVERY_TIMEOUT_MS = 30_000
REQUEST_TIMEOUT_MS = 10_000
RETRY_BACKOFF_MS = 3
"""Before a transaction can begin, the one before must have ended within the broker, and is asked
for at this pace; kafka-python's own is 100."""

MARK_END = "\0"
"""confluent-kafka keeps the end of a C string with an offset, and reads on where there is none."""

Waiting = Callable[[], Iterator[None]]
"""Goes on for as long as an answer may be waited for; look between two whether it is there."""
Failures = list[tuple[Output, Exception]]


@dataclass(frozen=True, slots=True)
class Transactional:
    """As whom to write transactions, and after how long the broker aborts one by itself."""

    id: str
    timeout_s: float

    @property
    def patience_s(self) -> float:
        """How long an answer is waited for: one that comes later finds the transaction aborted."""
        return 0.8 * self.timeout_s


@dataclass(frozen=True, slots=True)
class Claim:
    """The offsets that a transaction commits.

    Attributes:
        mark: kept with each offset, and `MARK_END` after it, so that it can be told afterwards who
            committed it.
        group: which member of which generation commits, as the client's consumer says it.
    """

    offsets: Offsets
    mark: str
    group: Any


class Producer(ABC):
    """Every method that waits raises what `Waiting` raises.

    Any error but those that `send` returns leaves it in a state that only `close` mends.
    """

    def __init__(self, kafka: KafkaSettings) -> None:
        self._kafka = kafka

    @abstractmethod
    def open(self, waiting: Waiting, transactional: Transactional | None = None) -> None:
        """Have a producer; whatever one of the same id before it has begun is settled then.

        Raises:
            BrokerAwayError: no broker answers.
            BrokerError: it refuses.
            KafkaError: anything else.
        """

    @abstractmethod
    def close(self, timeout_s: float) -> None:
        """Close the producer, and drop what cannot be sent in time."""

    @abstractmethod
    def send(self, outputs: Sequence[Output], waiting: Waiting) -> Failures:
        """Send each once and wait for the answers; returns what failed, and why.

        Raises:
            KafkaError: nothing was sent.
        """

    def tend(self) -> None:
        """Do what is due, to be called now and then; nothing by default."""
        return

    @abstractmethod
    def begin(self) -> None:
        """Begin a transaction; raises KafkaError."""

    @abstractmethod
    def send_offsets(self, claim: Claim, waiting: Waiting) -> None:
        """Have the transaction commit offsets of the group; raises KafkaError."""

    @abstractmethod
    def commit(self, waiting: Waiting) -> None:
        """Commit; raises KafkaError, and then what became of it is not known."""

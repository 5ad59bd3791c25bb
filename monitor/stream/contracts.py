"""The two contracts at the ends of the stream.

Whoever brings another transport writes these two and nothing else:

    while batch := source.next(timeout_s=0.25):
        sink.write(outputs_of(batch), batch.next_offsets)
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from monitor.batch import MicroBatch, Partition
from monitor.contracts.dead_letter import Header

Offsets = Mapping[Partition, int]
"""For each partition the offset to go on from: one more than the last that is dealt with."""


@dataclass(frozen=True, slots=True)
class Output:
    """A record to publish.

    Attributes:
        smaller: the same output in at most so many bytes, where it can be cut; None where it cannot
            and a topic that finds it too large stops the stream.
    """

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Sequence[Header] = ()
    smaller: Callable[[int], "Output"] | None = None


class Source(Protocol):
    """Micro-batches, in order within each partition."""

    def next(self, timeout_s: float) -> MicroBatch | None:
        """The next micro-batch, or None when there is none within the time.

        Raises:
            MonitorError: the source cannot go on; the sentence says why.
        """

    def acknowledge(self, next_offsets: Offsets) -> None:
        """Everything before these offsets is dealt with and may be committed."""

    def owes(self, next_offsets: Offsets) -> bool:
        """Whether something before these offsets is still to be dealt with, and by us."""

    def close(self, timeout_s: float) -> None:
        """Commit what is acknowledged and leave."""


class Sink(Protocol):
    """Takes what comes of a micro-batch, and is the only one that acknowledges offsets."""

    def write(self, outputs: Sequence[Output], next_offsets: Offsets) -> None:
        """Publish all outputs, then acknowledge; on return both have happened.

        Raises:
            MonitorError: an output cannot be published; nothing is acknowledged.
        """

    def tend(self) -> None:
        """Do what is due although there is nothing to write; called now and then."""

    def close(self, timeout_s: float) -> None:
        """Let go of the connection."""

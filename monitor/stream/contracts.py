"""The two contracts at the ends of the stream.

Whoever brings another transport writes these two and nothing else:

    while batch := source.next(timeout_s=0.25):
        sink.write(outputs_of(batch), batch)
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from monitor.batch import MicroBatch, Partition
from monitor.contracts.dead_letter import Header

Offsets = Mapping[Partition, int]
"""For each partition the offset to go on from: one more than the last that is dealt with."""


class RewindError(Exception):
    """These records are no longer ours to deal with: the group went on, or a transaction failed.

    Nothing of them is published or committed by us. It never leaves the stream, which goes back to
    what is committed.
    """


@dataclass(frozen=True, slots=True)
class Assignment:
    """The partitions that are ours.

    Attributes:
        epoch: another one as soon as any of them was taken away, or the source went back.
    """

    epoch: int = 0
    partitions: frozenset[Partition] = frozenset()


@dataclass(frozen=True, slots=True)
class Output:
    """A record to publish.

    Attributes:
        smaller: the same output in at most so many bytes, where it can be cut; None where it cannot
            and a topic that finds it too large stops the stream.
        partition: where it must go; None where the key decides.
    """

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Sequence[Header] = ()
    smaller: Callable[[int], "Output"] | None = None
    partition: int | None = None


class Source(Protocol):
    """Micro-batches, in order within each partition."""

    def next(self, timeout_s: float) -> MicroBatch | None:
        """The next micro-batch, or None when there is none within the time.

        Raises:
            MonitorError: the source cannot go on; the sentence says why.
        """

    def acknowledge(self, next_offsets: Offsets) -> None:
        """Everything before these offsets is dealt with and may be committed."""

    def assignment(self) -> Assignment:
        """The partitions that are ours at this moment."""

    def standing(self) -> MicroBatch:
        """No records, and for each of our partitions the offset before which all is dealt with.

        What is told while nothing comes is written with it.
        """

    def rewind(self) -> None:
        """Forget what was handed out, and go back to what is committed; a new epoch begins.

        Raises:
            MonitorError: as `next`.
        """

    def close(self, timeout_s: float) -> None:
        """Commit what is acknowledged and leave."""


class Member(Protocol):
    """What a sink asks of the source whose records it deals with."""

    def acknowledge(self, next_offsets: Offsets) -> None:
        """Everything before these offsets is dealt with and may be committed."""

    def commit_no_more(self) -> None:
        """Whoever acknowledges offsets has committed them; said before the source starts."""

    def assignment(self) -> Assignment:
        """The partitions that are ours at this moment."""

    def group_metadata(self) -> Any:
        """Which member of which generation of the group we are, as the client says it.

        Raises:
            RewindError: none, at the moment.
        """


class Sink(Protocol):
    """Takes what comes of a micro-batch, and is the only one that acknowledges offsets."""

    def write(self, outputs: Sequence[Output], batch: MicroBatch) -> None:
        """Publish all outputs and acknowledge the micro-batch's offsets; on return both happened.

        Raises:
            MonitorError: an output cannot be published; nothing is acknowledged.
            RewindError: the records are no longer ours; nothing is published.
        """

    def tend(self) -> None:
        """Do what is due although there is nothing to write; called now and then."""

    def close(self, timeout_s: float) -> None:
        """Let go of the connection."""

"""Records on which the monitor itself fails: found by halving, set aside, and the rest goes on.

    decoding = Isolation("decoding", control=lambda: codec.decode([b"{}"]))
    done, poisoned = decoding.sift(batch, rows, lambda some: codec.decode(of(some)))

Otherwise the same record would be met again after every restart. But not everything that fails is
a record's fault, and a topic must not end as dead letters because a GPU has fallen off its bus:

- Where a control of our own fails as well, the stream stops.
- So it does where memory is full.
- So it does after `TOO_MANY` records in a row of which none passed, in one micro-batch or in
  several; of the micro-batch in hand nothing is then dead-lettered.
"""

from collections.abc import Callable, Sequence
from time import monotonic
from typing import TypeVar

import structlog

from monitor.batch import MicroBatch, Reject
from monitor.errors import MonitorError, StreamError
from monitor.reasons import Reason

TOO_MANY = 64
TELL_SECONDS = 60.0
"""Between two log lines about such records."""

Rows = Sequence[int]
T = TypeVar("T")

log = structlog.get_logger()


class Seldom:
    """When to log what may come very often."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock, self._untold, self._told_at = clock, 0, float("-inf")

    def count(self) -> int:
        """Once more: how often since it was told, if it is time to tell; else 0."""
        self._untold += 1
        if self._clock() - self._told_at < TELL_SECONDS:
            return 0
        told, self._untold, self._told_at = self._untold, 0, self._clock()
        return told


class Isolation:
    """Does one thing to micro-batches, without the records on which it fails; for one thread.

    Args:
        stage: what is done, as in "scoring".
        control: does the same to what must not fail.
    """

    def __init__(
        self,
        stage: str,
        control: Callable[[], object],
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._stage, self._control = stage, control
        self._in_a_row, self._seldom = 0, Seldom(clock)

    def sift(
        self, batch: MicroBatch, rows: Rows, attempt: Callable[[Rows], T]
    ) -> tuple[list[tuple[Rows, T]], list[Reject]]:
        """What comes of as few runs of rows as possible, in order, and the rows that fail alone.

        Args:
            attempt: does it to some of the rows; it must change nothing where it fails.

        Raises:
            StreamError: it is not the records' fault.
        """
        done: list[tuple[Rows, T]] = []
        poisoned: list[Reject] = []
        pending = [rows]
        while pending:
            some = pending.pop()
            try:
                done.append((some, attempt(some)))
                self._in_a_row = 0 if len(some) else self._in_a_row
            except MonitorError:
                raise
            except MemoryError as error:
                raise self._stopped(batch, error) from error
            except Exception as error:
                if some is rows:
                    self._check(batch, error)
                if len(some) > 1:
                    middle = len(some) // 2
                    pending += [some[middle:], some[:middle]]
                    continue
                poisoned.append(self._set_aside(batch, some[0], error))
        return done, poisoned

    def _check(self, batch: MicroBatch, error: Exception) -> None:
        """Tell a record that fails from something that fails whatever the record."""
        try:
            self._control()
        except Exception:
            raise self._stopped(batch, error) from error

    def _set_aside(self, batch: MicroBatch, row: int, error: Exception) -> Reject:
        said = f"{type(error).__name__}: {error}"
        record = batch.records[row]
        where = f"{record.topic}[{record.partition}] {record.offset}"
        self._in_a_row += 1
        if self._in_a_row >= TOO_MANY:
            raise StreamError(
                f"{self._stage} failed on {TOO_MANY} records in a row, the last {where} ({said}): "
                "so many are taken for no fault of theirs; nothing of it is committed, so it is "
                "tried again after a restart."
            ) from error
        if records := self._seldom.count():
            log.error(
                "records are dead letters by a defect",
                stage=self._stage,
                latest=where,
                records=records,
                exc_info=error,
            )
        return Reject(row, Reason.DEFECT, f"{self._stage} failed: {said}")

    def _stopped(self, batch: MicroBatch, error: Exception) -> StreamError:
        return StreamError(
            f"{self._stage} failed on {describe(batch)} ({type(error).__name__}: {error}), which "
            "is no fault of these records; nothing of it is committed, so it is tried again after "
            "a restart."
        )


def describe(batch: MicroBatch) -> str:
    """Which records a micro-batch holds: topic[partition] first-last, ..."""
    spans: dict[tuple[str, int], list[int]] = {}
    for record in batch.records:
        spans.setdefault((record.topic, record.partition), []).append(record.offset)
    return ", ".join(
        f"{topic}[{partition}] {min(offsets)}-{max(offsets)}"
        for (topic, partition), offsets in sorted(spans.items())
    )

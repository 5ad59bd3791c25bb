"""Records on which triage fails: found by halving, then told of apart from incidents.

    ranges = apart.ranges(batch)    # smaller ones where triage has failed before
    apart.failed(batch, error)      # raises: go back, and meet the same records in halves

Triage changes state, so it cannot be tried again in place: each attempt goes back to what is
committed. Each failure halves the micro-batch that failed or sets one record apart.
"""

from collections.abc import Iterator
from itertools import groupby
from typing import NoReturn

import structlog

from monitor.batch import MicroBatch, Record
from monitor.errors import StreamError
from monitor.stream.contracts import RewindError
from monitor.stream.isolation import TOO_MANY, Seldom, describe

Place = tuple[str, int, int]

APART = -1

log = structlog.get_logger()


class Apart:
    """The records of which triage must beware; kept in memory only."""

    def __init__(self) -> None:
        self._suspects: dict[Place, int] = {}
        self._apart: set[Place] = set()
        self._in_a_row, self._seldom = 0, Seldom()

    def ranges(self, batch: MicroBatch) -> Iterator[tuple[int, int]]:
        """Runs of records that triage may meet together."""
        if not batch.records or not (self._suspects or self._apart):
            yield 0, len(batch.records)
            return
        groups = (
            n if (n := self._group(record)) != APART else (n, row)
            for row, record in enumerate(batch.records)
        )
        start = 0
        for _, run in groupby(groups):
            end = start + sum(1 for _ in run)
            yield start, end
            start = end

    def is_apart(self, batch: MicroBatch) -> bool:
        """Whether it is a record on which triage fails."""
        return len(batch.records) == 1 and self._group(batch.records[0]) == APART

    def passed(self, anomalous: int) -> None:
        """Triage took a micro-batch; only one with anomalous vectors shows that it works."""
        self._in_a_row = 0 if anomalous else self._in_a_row

    def failed(self, batch: MicroBatch, error: Exception) -> NoReturn:
        """Have its halves come, or its only record apart.

        Raises:
            RewindError: go back to what is committed.
            StreamError: it fails whatever the record.
        """
        said = f"{type(error).__name__}: {error}"
        records = batch.records
        self._in_a_row += 1
        if self._in_a_row >= TOO_MANY or not records:
            raise StreamError(
                f"triage failed {self._in_a_row} times in a row, the last on {describe(batch)} "
                f"({said}); nothing of it is committed, so it is tried again after a restart."
            ) from error
        if times := self._seldom.count():
            log.error("triage failed", records=describe(batch), times=times, exc_info=error)
        if len(records) == 1:
            self._apart.add(_place(records[0]))
        middle = len(records) // 2
        self._suspects = {_place(record): 1 + (n >= middle) for n, record in enumerate(records)}
        raise RewindError(f"triage failed on {describe(batch)} ({said})") from error

    def _group(self, record: Record) -> int:
        place = _place(record)
        return APART if place in self._apart else self._suspects.get(place, 0)


def _place(record: Record) -> Place:
    return record.topic, record.partition, record.offset

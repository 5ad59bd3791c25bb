"""Journal entries of a micro-batch: what became of the offsets of each of its partitions.

    journal = Journal("monitor-journal", "monitor", "host-0")
    outputs += journal.outputs(scored, now_ms)

Counted with arrays, a partition at a time.
"""

from collections.abc import Iterable
from operator import attrgetter

import numpy as np
from numpy.typing import NDArray

from monitor import __version__
from monitor.batch import MicroBatch, Partition
from monitor.contracts.journal import journal_key, render_entry
from monitor.stream.contracts import Output
from monitor.stream.triage import Scored

Counts = NDArray[np.int64]

_PLACE = attrgetter("topic", "partition")
_NUMBER = attrgetter("partition")


class Journal:
    """The journal of one member of a group."""

    def __init__(self, topic: str, group: str, member: str) -> None:
        self._topic, self._group, self._member = topic, group, member

    def outputs(self, scored: Scored, now_ms: int) -> list[Output]:
        """An entry for each partition of a micro-batch, to be written with what came of it."""
        batch, decoded = scored.batch, scored.decoded
        partitions = list(batch.next_offsets)
        where = _where(batch, partitions)
        rejects = decoded.rejects
        rejected = _array(reject.row for reject in rejects)
        passed_over = decoded.passed_over
        counted = {
            "records": _sums(partitions, where),
            "scored": _sums(partitions, where[decoded.batch.rows]),
            "records_dead_lettered": _sums(partitions, where[rejected]),
            "vectors_dead_lettered": _sums(
                partitions, where[rejected], _array(reject.vectors for reject in rejects)
            ),
            "not_selected": _sums(
                partitions, where[_array(passed_over)], _array(passed_over.values())
            ),
            "anomalous": _sums(partitions, where[decoded.batch.rows[scored.anomalous]]),
        }
        firsts = _first_offsets(batch, partitions, where)
        return [
            self._entry(partition, scored, firsts[n], now_ms, {k: v[n] for k, v in counted.items()})
            for n, partition in enumerate(partitions)
        ]

    def _entry(
        self, at: Partition, scored: Scored, first: int, now_ms: int, counts: dict[str, int]
    ) -> Output:
        value = render_entry(
            group=self._group,
            topic=at.topic,
            partition=at.partition,
            first_offset=first,
            next_offset=scored.batch.next_offsets[at],
            **counts,
            time_ms=now_ms,
            member=self._member,
            bundle_id=scored.bundle_id,
            version=__version__,
        )
        return Output(self._topic, journal_key(self._group, at.topic, at.partition), value)


def _where(batch: MicroBatch, partitions: list[Partition]) -> Counts:
    """(records,) the position of each record's partition among all."""
    records, numbers = batch.records, [partition.partition for partition in partitions]
    if len({partition.topic for partition in partitions}) > 1:
        codes = {tuple(partition): n for n, partition in enumerate(partitions)}
        return np.fromiter(map(codes.__getitem__, map(_PLACE, records)), np.int64, len(records))
    code = np.zeros(max(numbers, default=0) + 1, np.int64)
    code[numbers] = np.arange(len(numbers))
    return code[np.fromiter(map(_NUMBER, records), np.int64, len(records))]


def _first_offsets(batch: MicroBatch, partitions: list[Partition], where: Counts) -> list[int]:
    """Where each was read on from, or else its first record."""
    known = batch.first_offsets
    if all(partition in known for partition in partitions):
        return [known[partition] for partition in partitions]
    _, first_rows = np.unique(where, return_index=True)
    first = {int(where[row]): batch.records[row].offset for row in first_rows.tolist()}
    return [
        known.get(partition, first.get(n, batch.next_offsets[partition]))
        for n, partition in enumerate(partitions)
    ]


def _sums(partitions: list[Partition], where: Counts, amounts: Counts | None = None) -> list[int]:
    """How many of each partition, or the sum of their amounts."""
    sums: list[int] = (
        np.bincount(where, amounts, minlength=len(partitions)).astype(np.int64).tolist()
    )
    return sums


def _array(numbers: Iterable[int]) -> Counts:
    return np.fromiter(numbers, np.int64)

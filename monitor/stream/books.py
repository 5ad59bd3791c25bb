"""The books of one input partition: what the journal tells of its offsets, added up.

    books = Books(from_offset=None, to_offset=None)
    for entry in journal: books.add(entry)
    books.covered.gaps(first, end)     # told of by nobody
    books.double                       # told of twice

Memory is a few numbers for each gap, not for each offset.
"""

from dataclasses import dataclass, field

from monitor.contracts.journal import JournalEntry
from monitor.stream.ranges import Ranges

COUNTED = (
    *("records", "records_dead_lettered"),
    *("scored", "vectors_dead_lettered", "not_selected", "anomalous"),
)


@dataclass(slots=True)
class Books:
    """Entries of a partition that tell of any offset in a range.

    An entry cannot be taken apart: the range grows to the micro-batches that it cuts.

    Attributes:
        from_offset, to_offset: the range asked for; None where it is open.
        log_start: the oldest offset that the topic still holds.
        covered: what is told of; double: what is told of more than once.
        sums: of COUNTED, over all entries.
        records_expected: records of the entries that lie wholly in what the topic still holds, and
            compared_from: the first offset of these.
        ends: the `next_offset` of the latest entry, which is where the group stands.
        first_ms: when the first entry was written.
    """

    from_offset: int | None = None
    to_offset: int | None = None
    log_start: int = 0
    covered: Ranges = field(default_factory=Ranges)
    double: Ranges = field(default_factory=Ranges)
    sums: dict[str, int] = field(default_factory=lambda: dict.fromkeys(COUNTED, 0))
    records_expected: int = 0
    compared_from: int | None = None
    ends: int | None = None
    first_ms: int | None = None

    def add(self, entry: JournalEntry) -> None:
        """Enter what an entry tells, if it is of the range."""
        self.ends = entry.next_offset
        first = self.from_offset or 0
        end = entry.next_offset if self.to_offset is None else self.to_offset
        if first >= min(end, entry.next_offset) or entry.first_offset >= end:
            return
        for start, end in self.covered.add(entry.first_offset, entry.next_offset):
            self.double.add(start, end)
        for name in COUNTED:
            self.sums[name] += getattr(entry, name)
        if entry.first_offset >= self.log_start:
            self.records_expected += entry.records
            first = entry.first_offset if self.compared_from is None else self.compared_from
            self.compared_from = min(entry.first_offset, first)
        self.first_ms = entry.time_ms if self.first_ms is None else self.first_ms

    @property
    def begin(self) -> int:
        """The first offset that is told of; 0 where none is."""
        return next((start for start, _ in self.covered), 0)

    @property
    def end(self) -> int:
        """One more than the last that is told of; 0 where none is."""
        return max((end for _, end in self.covered), default=0)

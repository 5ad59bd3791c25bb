"""Sets of offsets as few half-open ranges, however many offsets there are.

seen = Ranges()
seen.add(0, 100)          # -> []
seen.add(90, 200)         # -> [(90, 100)]: these were there before
seen.gaps(0, 300)         # -> [(200, 300)]
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from operator import itemgetter

Range = tuple[int, int]


class Ranges:
    """Disjoint ranges in order, none touching the next."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []

    def __iter__(self) -> Iterator[Range]:
        return zip(self._starts, self._ends, strict=True)

    def __len__(self) -> int:
        """How many offsets."""
        return sum(self._ends) - sum(self._starts)

    def add(self, start: int, end: int) -> list[Range]:
        """Add a range; returns which parts of it were there before."""
        if start >= end:
            return []
        # Those that overlap or touch it.
        first, last = bisect_left(self._ends, start), bisect_right(self._starts, end)
        met = list(zip(self._starts[first:last], self._ends[first:last], strict=True))
        self._starts[first:last] = [min([start, *(s for s, _ in met)])]
        self._ends[first:last] = [max([end, *(e for _, e in met)])]
        clipped = ((max(s, start), min(e, end)) for s, e in met)
        return [(s, e) for s, e in clipped if s < e]

    def gaps(self, start: int, end: int) -> list[Range]:
        """What of a range is not there."""
        found = []
        for s, e in self:
            if start < min(s, end):
                found.append((start, min(s, end)))
            start = max(start, e)
        return [*found, (start, end)] if start < end else found


class Sought:
    """Ranges in which records are sought: how many there are, and from where to where.

    Attributes:
        records: found so far.
    """

    def __init__(self, ranges: Sequence[Range]) -> None:
        self._ranges = ranges
        self._found: dict[int, Range] = {}
        self.records = 0

    def see(self, offset: int) -> None:
        """There is a record at this offset."""
        n = bisect_right(self._ranges, offset, key=itemgetter(0)) - 1
        if n >= 0 and offset < self._ranges[n][1]:
            first, _ = self._found.get(n, (offset, 0))
            self._found[n] = first, offset + 1
            self.records += 1

    @property
    def found(self) -> list[Range]:
        """From the first record in each range to the last one in it."""
        return sorted(self._found.values())

    def spans(self, apart: int) -> list[Range]:
        """The ranges, as one with what is between where they are no further apart."""
        spans: list[Range] = []
        for start, end in self._ranges:
            if spans and start - spans[-1][1] <= apart:
                spans[-1] = spans[-1][0], end
            else:
                spans.append((start, end))
        return spans


def told(ranges: Sequence[Range], at_most: int = 5) -> str:
    """Ranges for people: first to last offset of each, and how many more there are."""
    words = [f"{start} to {end - 1}" if end - start > 1 else f"{start}" for start, end in ranges]
    more = [f"and {len(words) - at_most} ranges more"] if len(words) > at_most else []
    return ", ".join(words[:at_most] + more)

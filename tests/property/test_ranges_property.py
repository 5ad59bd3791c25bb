"""Ranges do what sets of offsets do, and the books find exactly what was planted."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from monitor.contracts.journal import JournalEntry
from monitor.stream.books import Books
from monitor.stream.ranges import Range, Ranges, told

SPAN = st.tuples(st.integers(0, 60), st.integers(0, 12)).map(lambda s: (s[0], s[0] + s[1]))
CUTS = st.lists(st.integers(1, 200), min_size=2, max_size=30, unique=True).map(sorted)


def offsets(ranges: list[Range]) -> set[int]:
    return {offset for start, end in ranges for offset in range(start, end)}


@given(st.lists(SPAN, max_size=30), SPAN)
def test_ranges_are_sets_of_offsets(spans: list[Range], asked: Range) -> None:
    ranges, expected = Ranges(), set[int]()
    for start, end in spans:
        assert offsets(ranges.add(start, end)) == expected & set(range(start, end))
        expected |= set(range(start, end))
    assert offsets(list(ranges)) == expected
    assert len(ranges) == len(expected)
    assert all(before[1] < after[0] for before, after in pairwise(ranges))
    assert offsets(ranges.gaps(*asked)) == set(range(*asked)) - expected


def entry(start: int, end: int) -> JournalEntry:
    counts = {"scored": end - start, "records_dead_lettered": 0, "vectors_dead_lettered": 0}
    return JournalEntry(
        **{"group": "g", "topic": "t", "partition": 0, "first_offset": start, "next_offset": end},
        **{"records": end - start, "not_selected": 0, "anomalous": 0, "time_ms": 1, **counts},
        **{"member": "m", "bundle_id": "b", "version": "1"},
    )


@given(CUTS, st.data())
def test_any_tile_left_out_or_told_twice_is_found_exactly(
    cuts: list[int], data: st.DataObject
) -> None:
    tiles = list(pairwise(cuts))
    lost = data.draw(st.sets(st.sampled_from(tiles)), "lost")
    twice = data.draw(st.lists(SPAN, max_size=4), "told again")
    order = data.draw(st.permutations([tile for tile in tiles if tile not in lost]), "order")
    books, seen, doubled = Books(), set[int](), set[int]()
    for start, end in [*order, *twice]:
        books.add(entry(start, end))
        doubled |= seen & set(range(start, end))
        seen |= set(range(start, end))
    first, end = cuts[0], cuts[-1]
    assert offsets(books.covered.gaps(first, end)) == set(range(first, end)) - seen
    assert offsets(list(books.double)) == doubled
    assert books.sums["records"] == sum(b - a for a, b in [*order, *twice])


@given(CUTS, st.integers(0, 200), st.integers(0, 200))
def test_a_range_that_is_asked_for_grows_to_whole_micro_batches(
    cuts: list[int], start: int, end: int
) -> None:
    books = Books(from_offset=start, to_offset=end)
    for tile in pairwise(cuts):
        books.add(entry(*tile))
    within = [t for t in pairwise(cuts) if start < end and t[0] < end and t[1] > start]
    assert offsets(list(books.covered)) == offsets(within)
    assert books.ends == cuts[-1]


def test_ranges_are_told_by_their_first_and_last_offset() -> None:
    assert told([(3, 4), (10, 20)]) == "3, 10 to 19"
    assert told([(n, n + 1) for n in range(0, 20, 2)]) == "0, 2, 4, 6, 8, and 5 ranges more"

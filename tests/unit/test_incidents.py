"""Many detections become few incidents, whatever the detections are."""

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.detect.incidents import (
    MINUTE_MS,
    Activity,
    Change,
    IncidentLimits,
    Incidents,
    Sighting,
    Subject,
)
from monitor.detect.spikes import Spike

STREAM = Subject("stream", "vectors")
LIMITS = IncidentLimits()
CREATE, UPDATE, CLOSE = Activity
NOW_MS = 1_790_000_000_000


def seen(
    source: str,
    destination: str | None = None,
    vectors: int = 1,
    time_ms: int = 0,
    rarity: float = 1e-4,
    evidence: Any = "",
    spike: Spike | None = None,
) -> Sighting[Any]:
    subjects = [Subject("source", source)]
    if destination:
        subjects.append(Subject("destination", destination))
    return Sighting(
        tuple(subjects),
        f"uid of {source} at {time_ms}",
        vectors,
        time_ms,
        time_ms,
        rarity,
        1 / rarity,
        evidence,
        spike,
    )


class Story:
    """Incidents, and all that was told of them, with the second of event time."""

    def __init__(self, limits: IncidentLimits = LIMITS) -> None:
        self.incidents: Incidents[Any] = Incidents(limits, STREAM)
        self.told: list[tuple[float, Change[Any]]] = []

    def at(self, second: float, *sightings: Sighting[Any]) -> list[Change[Any]]:
        changes = self.incidents.step(sightings, round(second * 1000), NOW_MS)
        self.told += [(second, change) for change in changes]
        return changes

    def quiet_until(self, second: float) -> list[Change[Any]]:
        return self.incidents.tick(round(second * 1000))

    def count(self, activity: Activity) -> int:
        return sum(change.activity is activity for _, change in self.told)

    @property
    def vectors(self) -> int:
        """Those that the last word on each incident counts."""
        last = {change.incident.seen.uid: change.incident.seen.vectors for _, change in self.told}
        return sum(last.values())


def activities(changes: Iterable[Change[Any]]) -> list[Activity]:
    return [change.activity for change in changes]


def test_an_incident_is_created_updated_and_closed_under_one_uid() -> None:
    story = Story()
    [created] = story.at(0, seen("a"))
    assert story.at(30, seen("a", time_ms=30_000)) == []
    [updated] = story.at(60, seen("a", time_ms=60_000))
    [closed] = story.at(360)
    assert activities([created, updated, closed]) == [CREATE, UPDATE, CLOSE]
    assert {c.incident.seen.uid for c in (created, updated, closed)} == {"uid of a at 0"}
    assert [c.incident.seen.vectors for c in (created, updated, closed)] == [1, 3, 3]
    assert [c.incident.reports for c in (created, updated, closed)] == [0, 1, 2]
    assert closed.incident.seen.span_ms == 60_000
    assert len(story.incidents) == 0


def test_it_is_updated_only_when_something_has_changed() -> None:
    story = Story()
    story.at(0, seen("a"))
    assert [story.at(second) for second in range(60, 300, 60)] == [[]] * 4


def test_what_came_too_soon_to_be_told_is_told_later_without_another_detection() -> None:
    story = Story()
    story.at(0, seen("a"))
    story.at(10, seen("a"))
    [change] = story.quiet_until(60)
    assert (change.activity, change.incident.seen.vectors) == (UPDATE, 2)


def test_a_silent_topic_closes_its_incidents_too() -> None:
    story = Story()
    story.at(0, seen("a"))
    assert story.quiet_until(299) == []
    assert activities(story.quiet_until(300)) == [CLOSE]


def test_after_quiet_the_same_entity_is_another_incident() -> None:
    story = Story()
    story.at(0, seen("a"))
    assert activities(story.at(400, seen("a", time_ms=400_000))) == [CLOSE, CREATE]
    assert len({change.incident.seen.uid for _, change in story.told}) == 2


def test_the_worst_vector_is_the_one_that_is_told_of() -> None:
    story = Story()
    story.at(0, seen("a", rarity=1e-4, evidence="first"))
    story.at(1, seen("a", rarity=1e-7, evidence="worst"))
    story.at(2, seen("a", rarity=1e-5, evidence="last"))
    [change] = story.at(60)
    assert change.incident.seen.evidence == "worst"
    assert change.incident.seen.tail_probability == 1e-7


def test_what_was_told_does_not_change_afterwards() -> None:
    story = Story()
    [created] = story.at(0, seen("a"))
    story.at(1, seen("a", vectors=99))
    assert created.incident.seen.vectors == 1


def test_late_events_count_and_break_nothing() -> None:
    story = Story()
    story.at(0, seen("a", time_ms=0))
    story.at(100, seen("a", time_ms=-50_000))
    [closed] = story.at(400)
    assert (closed.incident.seen.first_seen_ms, closed.incident.seen.last_seen_ms) == (-50_000, 0)
    assert closed.incident.seen.vectors == 2


def test_a_rise_of_the_level_opens_an_incident_or_is_told_with_the_one_there_is() -> None:
    spike = Spike("anomaly ratio", 0.12, 0.001, 0)
    story = Story()
    story.at(0, seen("a"))
    story.at(10, seen("a", vectors=0, spike=spike), seen("b", vectors=0, spike=spike))
    assert story.told[-1][1].incident.seen.spike == spike
    [change, *_] = story.at(60)
    assert (change.incident.seen.vectors, change.incident.seen.spike) == (1, spike)


def flood(hosts: int, vectors: int, seconds: int) -> Story:
    """Anomalous vectors of some hosts, spread evenly over a time, in micro-batches of 4096."""
    story, random = Story(), np.random.default_rng(5)
    for start in range(0, vectors, 4096):
        second = start / vectors * seconds
        size = min(4096, vectors - start)
        counts = np.bincount(random.integers(0, hosts, size), minlength=hosts)
        story.at(
            second,
            *(
                seen(f"10.0.0.{host}", "10.9.9.9", int(count), round(second * 1000))
                for host, count in enumerate(counts)
                if count
            ),
        )
    return story


@pytest.mark.parametrize("seconds", [10, 600, 3600])
def test_a_million_anomalous_vectors_of_ten_hosts_are_ten_incidents(seconds: int) -> None:
    story = flood(hosts=10, vectors=1_000_000, seconds=seconds)
    assert story.count(CREATE) == 10
    assert story.count(CLOSE) == 0
    told: dict[str, list[float]] = {}
    for second, change in story.told:
        told.setdefault(change.incident.seen.uid, []).append(second)
    for seconds_told in told.values():
        assert all(later - earlier >= 60 for earlier, later in pairwise(seconds_told))
    story.told += [(0, change) for change in story.quiet_until(seconds + 300)]
    assert story.count(CLOSE) == 10
    assert story.vectors == 1_000_000


def test_invented_sources_end_in_the_incident_of_their_destination() -> None:
    story = Story()
    for n in range(20_000):
        story.at(n / 1000, seen(f"source {n}", "victim", time_ms=n))
    created = Counter(c.incident.subject.type for _, c in story.told if c.activity is CREATE)
    assert created["destination"] == 1
    assert created["stream"] == 0
    assert created["source"] <= LIMITS.max_creates_per_minute
    closed = story.quiet_until(1000)
    assert max(change.incident.seen.vectors for change in closed) > 19_000
    assert sum(change.incident.seen.vectors for change in closed) == 20_000


def test_if_everything_is_invented_the_stream_has_an_incident() -> None:
    story = Story()
    for n in range(20_000):
        story.at(n / 1000, seen(f"source {n}", f"destination {n}", time_ms=n))
    assert story.count(CREATE) <= 1 + LIMITS.max_creates_per_minute * (1 + 20 / 60)
    assert len(story.incidents) == story.count(CREATE)
    assert sum(change.incident.seen.vectors for change in story.quiet_until(1000)) == 20_000


def test_open_incidents_have_a_bound_however_slowly_they_are_invented() -> None:
    story = Story(IncidentLimits(max_open=50))
    for n in range(1000):
        story.at(2 * n, seen(f"source {n}"), *(seen(f"source {k}") for k in range(45)))
        assert len(story.incidents) <= 51


ENTITY = st.sampled_from(["a", "b", "c", "d", None])
EVENTS = st.lists(
    st.tuples(
        st.floats(0, 200),  # seconds since the last
        st.lists(st.tuples(ENTITY, ENTITY, st.integers(1, 50)), max_size=4),
        st.booleans(),  # whether the wall clock ticks before the next
    ),
    max_size=40,
)
TIGHT = IncidentLimits(max_creates_per_minute=2, max_open=3)


@given(EVENTS)
def test_whatever_comes_everything_is_counted_once_and_nothing_is_told_too_often(
    events: Sequence[Any],
) -> None:
    story, second, total = Story(TIGHT), 0.0, 0
    for wait, batch, ticks in events:
        second += wait
        sightings = [seen(str(a), b, n, round(second * 1000)) for a, b, n in batch]
        story.at(second, *sightings)
        total += sum(n for *_, n in batch)
        if ticks:
            story.told += [(second, change) for change in story.quiet_until(second)]
    story.told += [(second + 500, change) for change in story.quiet_until(second + 500)]
    assert story.count(CREATE) == story.count(CLOSE)
    last = [c.incident.seen.vectors for _, c in story.told if c.activity is CLOSE]
    assert sum(last) == total
    for subject in {change.incident.subject for _, change in story.told}:
        times = [s for s, c in story.told if c.incident.subject == subject and c.activity is UPDATE]
        assert all(b - a >= LIMITS.update_seconds - 0.002 for a, b in pairwise(times))
    creates = [s for s, c in story.told if c.activity is CREATE and c.incident.subject != STREAM]
    for start in creates:
        minute = [s for s in creates if start <= s < start + MINUTE_MS / 1000]
        assert len(minute) <= 2 * TIGHT.max_creates_per_minute

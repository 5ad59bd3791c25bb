"""Whatever comes, and whenever a process ends or a partition moves, what is told is the same."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.batch import Partition
from monitor.config import IncidentSettings
from monitor.detect.incidents import Activity, Change
from monitor.detect.spikes import SpikeOptions
from monitor.stream import state, state_parts
from monitor.telemetry.metrics import Metrics
from tests.support.lives import START_MS, KeptTopic, Life, Seen

CREATE, UPDATE, CLOSE = Activity
PARTITIONS = [Partition("vectors", number) for number in range(3)]
METRICS = Metrics()
TIGHT = IncidentSettings(max_incidents_per_minute=3, max_open_incidents=4)
QUICK = SpikeOptions(1e-4, window_seconds=1, max_entities=9, warm_up_windows=1, baseline_windows=20)
FEW = replace(QUICK, max_entities=2)


@dataclass(frozen=True)
class Turn:
    """What happens: time passes, perhaps nothing comes for a while, then a micro-batch."""

    wall_ms: int
    idle: bool
    event_ms: int | None
    seen: Sequence[Seen]
    ends: bool


def seen(partitions: int) -> st.SearchStrategy[Seen]:
    numbers = st.integers(0, partitions - 1)
    return st.builds(Seen, st.sampled_from("abcde"), numbers, st.booleans(), st.floats(2, 20))


def turns(partitions: int, wild: bool = False) -> st.SearchStrategy[list[Turn]]:
    steps = st.sampled_from([0, 700, 1000, 5000, 61_000, 310_000, -3_600_000])
    jumps = st.integers(-(10**12), 10**10) | st.none() if wild else steps
    wall = st.sampled_from([0, 100, 1000, 61_000, 310_000])
    several = st.lists(seen(partitions), min_size=1, max_size=6)
    turn = st.builds(Turn, wall, st.booleans(), jumps, several, st.booleans())
    return st.lists(turn, min_size=2, max_size=12)


def facts(changes: Iterable[Change[Any]]) -> list[Any]:
    return sorted(
        (
            change.activity,
            incident.seen.uid,
            incident.subject,
            incident.seen.vectors,
            incident.seen.first_seen_ms,
            incident.seen.last_seen_ms,
            incident.seen.error,
            incident.seen.evidence.offset,
            repr(incident.seen.spike),
            incident.reports,
        )
        for change in changes
        for incident in [change.incident]
    )


@contextmanager
def small_records() -> Iterator[None]:
    """So that rings come round and snapshots have chunks within a few micro-batches."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(state, "RING_RECORDS", 4)
        patch.setattr(state_parts, "MAX_RECORD_BYTES", 1500)
        yield


def play(
    happens: Sequence[Turn], homes: Sequence[Partition], levels: SpikeOptions, ends: bool
) -> list[list[Any]]:
    """What is told at each turn, and what is known in the end, by one process or by several.

    Args:
        ends: whether processes end where the turns say so, and the next begins.
    """
    topic, event_ms, offset = KeptTopic(), START_MS, 0
    life, told = Life(topic, homes, TIGHT, levels=levels, metrics=METRICS), list[list[Any]]()
    for turn in happens:
        life.wall_s += turn.wall_ms / 1000
        if turn.idle:
            told.append(facts(life.tick()))
        event_ms += turn.event_ms or 0
        told.append(facts(life.step(turn.seen, event_ms, offset)))
        offset += len(turn.seen)
        if turn.ends and ends:
            life = Life(topic, homes, TIGHT, levels=levels, metrics=METRICS)
    return [*told, rows(life, homes)]


def rows(life: Life, homes: Iterable[Partition]) -> list[Any]:
    """Of the stream and of each entity all that is known of its level."""
    assert life.triage.spikes
    table = life.triage.spikes.entities
    held = (table.held(home) for home in homes)
    known = [pair for levels in held for pair in zip(levels.names, levels.rows, strict=True)]
    return [(name, row.tobytes()) for name, row in [("", table.rows[0]), *sorted(known, key=repr)]]


@settings(max_examples=25, deadline=None)
@given(turns(3))
def test_a_process_that_ends_at_any_moment_is_not_missed(happens: list[Turn]) -> None:
    with small_records():
        whole, parts = (play(happens, PARTITIONS, QUICK, ends) for ends in (False, True))
    assert parts == whole


@settings(max_examples=25, deadline=None)
@given(turns(1))
def test_nor_where_entities_make_room_for_each_other(happens: list[Turn]) -> None:
    with small_records():
        whole, parts = (play(happens, PARTITIONS[:1], FEW, ends) for ends in (False, True))
    assert parts == whole


class Group:
    """Two processes and who owns what; each begins anew with whatever is assigned to it."""

    def __init__(self) -> None:
        self.topic, self.told = KeptTopic(compacted=False), list[Change[Any]]()
        self.lives = [Life(self.topic, [], TIGHT, levels=QUICK, metrics=METRICS) for _ in range(2)]
        self.owner = dict.fromkeys(PARTITIONS, 0)
        self.assign(0)

    def assign(self, owners: int) -> None:
        """The bits of a number say who has which partition."""
        before = self.owned()
        self.owner = {home: owners >> n & 1 for n, home in enumerate(PARTITIONS)}
        for life, owned, had in zip(self.lives, self.owned(), before, strict=True):
            if owned != had or self.topic.records == []:
                life.own(owned)

    def owned(self) -> list[list[Partition]]:
        return [[p for p, who in self.owner.items() if who == n] for n in range(2)]

    def step(self, turn: Turn, event_ms: int | None, offset: int) -> int:
        """The vectors of it that are anomalous, each of which is judged by its owner."""
        for number, life in enumerate(self.lives):
            life.wall_s += turn.wall_ms / 1000
            mine = [s for s in turn.seen if self.owner[PARTITIONS[s.partition]] == number]
            if turn.idle:
                self.told += life.tick()
            if mine:
                self.told += life.step(mine, event_ms, offset + 100 * number)
        return sum(s.anomalous for s in turn.seen)

    def end(self) -> None:
        """Long enough for every incident to close, where nothing comes any more."""
        for life in self.lives:
            life.wall_s += 1000
            self.told += [*life.tick(), *life.tick()]


def check_books(told: Sequence[Change[Any]], vectors: int) -> None:
    """Each vector is counted in one incident, and each incident has one beginning and one end."""
    activities = Counter((change.activity, change.incident.seen.uid) for change in told)
    created = {uid for activity, uid in activities if activity is CREATE}
    assert created == {uid for activity, uid in activities if activity is CLOSE}
    assert all(n == 1 for (activity, _), n in activities.items() if activity is not UPDATE)
    last = {change.incident.seen.uid: change.incident for change in told}
    assert sum(incident.seen.vectors for incident in last.values()) == vectors
    for uid in created:
        reports = [c.incident.reports for c in told if c.incident.seen.uid == uid]
        assert reports == list(range(len(reports)))


@settings(max_examples=25, deadline=None)
@given(turns(3), st.lists(st.integers(0, 7), min_size=12, max_size=12))
def test_partitions_that_move_lose_nothing_and_double_nothing(
    happens: list[Turn], owners: list[int]
) -> None:
    group, event_ms, vectors = Group(), START_MS, 0
    for n, (turn, who) in enumerate(zip(happens, owners, strict=False)):
        event_ms += turn.event_ms or 0
        vectors += group.step(turn, event_ms, 1000 * n)
        if turn.ends:
            group.assign(who)
    group.end()
    check_books(group.told, vectors)


@settings(max_examples=25, deadline=None)
@given(turns(3, wild=True))
def test_wherever_clocks_jump_incidents_stay_consistent(happens: list[Turn]) -> None:
    group, vectors = Group(), 0
    for n, turn in enumerate(happens):
        event_ms = None if turn.event_ms is None else START_MS + turn.event_ms
        vectors += group.step(turn, event_ms, 1000 * n)
        if turn.ends:
            group.assign(n % 8)
        for life in group.lives:
            assert life.triage.open_incidents <= TIGHT.max_open_incidents * 2 + 1
    group.end()
    check_books(group.told, vectors)

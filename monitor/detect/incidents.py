"""Many detections become few incidents: created once, updated at a bounded rate, closed in quiet.

    incidents = Incidents(IncidentLimits(), stream=Subject("topic", "vectors"))
    for change in incidents.step(sightings, clock.elapsed_ms, now_ms): publish(change)
    for change in incidents.tick(clock.elapsed_ms): publish(change)

An incident belongs to one subject, such as a source address. Who may choose addresses freely could
open any number of them, so creations are limited by a token bucket, and open incidents by a bound.
A detection then goes to the first of its subjects (source, destination, at last the whole stream)
that has an incident or may open one: nothing is uncounted, and memory is bounded whatever is
invented. Half the tokens are kept for subjects that are not the first, so that invented sources
cannot use up those of their one destination.

Time is elapsed event time (`StreamClock`). What single events claim only shows in first and last
seen: it neither mutes an incident nor keeps it open.
"""

from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from enum import IntEnum
from operator import attrgetter
from typing import Generic, NamedTuple, TypeVar

from monitor.detect.spikes import Spike

E = TypeVar("E")
MINUTE_MS = 60_000
RESERVED_SHARE = 0.5


class Activity(IntEnum):
    """What happened to an incident; OCSF's `activity_id` of a finding."""

    CREATE = 1
    UPDATE = 2
    CLOSE = 3


class Subject(NamedTuple):
    """Whom an incident is about: `type` is its role, such as source, or its label in the spec."""

    type: str
    name: str


@dataclass(frozen=True, slots=True)
class IncidentLimits:
    """How incidents are timed and bounded, in event time.

    Attributes:
        update_seconds: at least so long between two reports of an incident.
        quiet_seconds: without a detection for so long, an incident closes.
        max_creates_per_minute: across all subjects.
    """

    update_seconds: float = 60
    quiet_seconds: float = 300
    max_creates_per_minute: int = 60
    max_open: int = 2000


@dataclass(frozen=True, slots=True)
class Sighting(Generic[E]):
    """What a micro-batch shows of one entity.

    Attributes:
        subjects: of which it may become an incident, best first; the stream need not be named.
        uid: what the incident that it opens is called.
        vectors: anomalous ones; 0 where only the level jumped.
        first_seen_ms, last_seen_ms: event times, milliseconds since 1970.
        tail_probability, error: of the most anomalous vector.
        evidence: whatever the caller will need to tell of that vector.
        home: with what an incident that it opens is kept, such as the partition it came from.
    """

    subjects: tuple[Subject, ...]
    uid: str
    vectors: int
    first_seen_ms: int
    last_seen_ms: int
    tail_probability: float
    error: float
    evidence: E
    spike: Spike | None = None
    home: Hashable = None

    def and_then(self, later: "Sighting[E]") -> "Sighting[E]":
        """Both as one, with the first one's name and home, and the evidence of the worst vector."""
        worst = max(self, later, key=lambda seen: (-seen.tail_probability, seen.error))
        return replace(
            self,
            vectors=self.vectors + later.vectors,
            first_seen_ms=min(self.first_seen_ms, later.first_seen_ms),
            last_seen_ms=max(self.last_seen_ms, later.last_seen_ms),
            tail_probability=worst.tail_probability,
            error=worst.error,
            evidence=worst.evidence,
            spike=later.spike or self.spike,
        )

    @property
    def span_ms(self) -> int:
        """From the first to the last detection."""
        return self.last_seen_ms - self.first_seen_ms


@dataclass(slots=True)
class Incident(Generic[E]):
    """Detections of one subject, with no quiet between them.

    Attributes:
        seen: all of them as one.
        created_ms: wall time of its creation, milliseconds since 1970.
        told_ms, touched_ms: elapsed event time of the last report, and of the last detection.
        reports: how often it has been told of.
        untold: whether it has grown since.
    """

    subject: Subject
    seen: Sighting[E]
    created_ms: int
    told_ms: int
    touched_ms: int
    reports: int = 0
    untold: bool = False

    def moved(self, by_ms: int) -> "Incident[E]":
        """The same, where so much more time has elapsed."""
        return replace(self, told_ms=self.told_ms + by_ms, touched_ms=self.touched_ms + by_ms)


@dataclass(frozen=True, slots=True)
class Change(Generic[E]):
    """An incident as it was when something became of it."""

    activity: Activity
    incident: Incident[E]


@dataclass(slots=True)
class Kept(Generic[E]):
    """What became of the incidents of one home.

    Attributes:
        closed: they went first.
        open: those that are, or that have changed, the longest untouched first.
        worsened: whose evidence is another one.
    """

    closed: list[Subject] = field(default_factory=list)
    open: list[Incident[E]] = field(default_factory=list)
    worsened: set[Subject] = field(default_factory=set)


class Incidents(Generic[E]):
    """The open incidents.

    Attributes:
        tokens: how many may be created at this moment.
        elapsed_ms: when that was counted, in elapsed event time.
    """

    def __init__(self, limits: IncidentLimits, stream: Subject) -> None:
        self._limits = limits
        self._update_ms = limits.update_seconds * 1000
        self._quiet_ms = limits.quiet_seconds * 1000
        self._max_open, self._capacity = limits.max_open, float(limits.max_creates_per_minute)
        self._stream = stream
        self.tokens, self.elapsed_ms = self._capacity, 0
        self._open: dict[Subject, Incident[E]] = {}  # the longest untouched first
        self._untold: set[Subject] = set()
        self._absorbed: list[Change[E]] = []
        self._changed: dict[Subject, bool] = {}  # whether its evidence is another one
        self._closed: list[Incident[E]] = []

    def __len__(self) -> int:
        return len(self._open)

    def anew(self) -> "Incidents[E]":
        """Others, of which none is open."""
        return Incidents(self._limits, self._stream)

    def step(
        self, sightings: Iterable[Sighting[E]], elapsed_ms: int, now_ms: int
    ) -> list[Change[E]]:
        """Count what a micro-batch showed, at this elapsed event time."""
        refill = (elapsed_ms - self.elapsed_ms) / MINUTE_MS * self._capacity
        self.tokens = min(self.tokens + refill, self._capacity)
        self.elapsed_ms = elapsed_ms
        closed = list(self._closings(elapsed_ms))
        created = [c for sighting in sightings for c in self._take(sighting, elapsed_ms, now_ms)]
        return [*self._merged(), *closed, *created, *self._updates(elapsed_ms)]

    def tick(self, elapsed_ms: int) -> list[Change[E]]:
        """Report and close what is due although nothing comes, at this elapsed event time."""
        return [*self._merged(), *self._closings(elapsed_ms), *self._updates(elapsed_ms)]

    def export(self) -> dict[Hashable, Kept[E]]:
        """What has changed since the last time, by home."""
        found: defaultdict[Hashable, Kept[E]] = defaultdict(Kept)
        for closed in self._closed:
            found[closed.seen.home].closed.append(closed.subject)
        for subject, worsened in self._changed.items():
            if incident := self._open.get(subject):
                kept = found[incident.seen.home]
                kept.open.append(incident)
                if worsened:
                    kept.worsened.add(subject)
        self._closed, self._changed = [], {}
        return found

    def held(self, home: Hashable) -> Kept[E]:
        """All of a home."""
        held = [incident for incident in self._open.values() if incident.seen.home == home]
        return Kept(open=held, worsened={incident.subject for incident in held})

    def restore(self, kept: Iterable[Incident[E]]) -> None:
        """Go on with incidents that were kept.

        Where one of the same subject is open here, the older of both goes on, and the other is told
        of as closed: each keeps the vectors that it has counted.
        """
        for incident in kept:
            here = self._open.get(incident.subject, incident)
            older, younger = sorted((here, incident), key=attrgetter("created_ms"))
            self._open[incident.subject] = older
            if younger is not older:
                older.touched_ms = max(older.touched_ms, younger.touched_ms)
                self._absorbed.append(_change(Activity.CLOSE, younger))
        self._open = {
            i.subject: i for i in sorted(self._open.values(), key=attrgetter("touched_ms"))
        }
        self._untold = {i.subject for i in self._open.values() if i.untold}

    def _take(self, sighting: Sighting[E], elapsed_ms: int, now_ms: int) -> Iterator[Change[E]]:
        """Count a sighting to the incident of its first subject that has one or may open one."""
        for rank, subject in enumerate((*sighting.subjects, self._stream)):
            incident = self._open.pop(subject, None)
            if incident:
                worst = incident.seen.evidence
                incident.seen = incident.seen.and_then(sighting)
                incident.touched_ms, incident.untold = elapsed_ms, True
                self._untold.add(subject)
                self._change(subject, incident.seen.evidence is not worst)
            elif subject == self._stream or self._may_open(rank):
                incident = Incident(subject, sighting, now_ms, elapsed_ms, elapsed_ms)
                self._change(subject, True)
                yield _change(Activity.CREATE, incident)
            if incident:
                self._open[subject] = incident
                return

    def _may_open(self, rank: int) -> bool:
        reserve = 0.0 if rank else self._capacity * RESERVED_SHARE
        if len(self._open) >= self._max_open or self.tokens < max(reserve, 1):
            return False
        self.tokens -= 1
        return True

    def _updates(self, elapsed_ms: int) -> Iterator[Change[E]]:
        due = [
            incident
            for subject in self._untold
            if elapsed_ms - (incident := self._open[subject]).told_ms >= self._update_ms
        ]
        for incident in sorted(due, key=lambda incident: incident.subject):
            incident.told_ms, incident.untold = elapsed_ms, False
            self._untold.remove(incident.subject)
            self._change(incident.subject, False)
            yield _change(Activity.UPDATE, incident)

    def _closings(self, elapsed_ms: int) -> Iterator[Change[E]]:
        while self._open:
            subject, incident = next(iter(self._open.items()))
            if elapsed_ms - incident.touched_ms < self._quiet_ms:
                return
            self._forget(subject)
            self._closed.append(incident)
            yield _change(Activity.CLOSE, incident)

    def _merged(self) -> list[Change[E]]:
        """Those that ended because two became one."""
        absorbed, self._absorbed = self._absorbed, []
        self._closed += [change.incident for change in absorbed]
        return absorbed

    def _change(self, subject: Subject, worsened: bool) -> None:
        """Remember that one changed, and whether in its evidence; in the order of detections."""
        self._changed[subject] = self._changed.pop(subject, False) or worsened

    def _forget(self, subject: Subject) -> None:
        del self._open[subject]
        self._untold.discard(subject)
        self._changed.pop(subject, None)


def alone(sighting: Sighting[E], now_ms: int) -> Change[E]:
    """A sighting as an incident of its own, of which no more will be told."""
    return _change(Activity.CREATE, Incident(sighting.subjects[0], sighting, now_ms, 0, 0))


def _change(activity: Activity, incident: Incident[E]) -> Change[E]:
    told = replace(incident)
    incident.reports += 1
    return Change(activity, told)

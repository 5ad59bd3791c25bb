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

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from enum import IntEnum
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


@dataclass(slots=True)
class Incident(Generic[E]):
    """Detections of one subject, with no quiet between them.

    Attributes:
        created_ms: wall time of its creation, milliseconds since 1970.
        tail_probability, error, evidence: of its most anomalous vector.
        spike: the last rise of its level.
        reports: how often it has been told of.
        told_ms, touched_ms: elapsed event time of the last report, and of the last detection.
    """

    subject: Subject
    uid: str
    vectors: int
    first_seen_ms: int
    last_seen_ms: int
    tail_probability: float
    error: float
    evidence: E
    spike: Spike | None
    created_ms: int
    told_ms: int
    touched_ms: int
    reports: int = 0

    @classmethod
    def of(
        cls, sighting: Sighting[E], subject: Subject, created_ms: int, elapsed_ms: int
    ) -> "Incident[E]":
        """An incident that begins."""
        return cls(
            subject=subject,
            uid=sighting.uid,
            vectors=sighting.vectors,
            first_seen_ms=sighting.first_seen_ms,
            last_seen_ms=sighting.last_seen_ms,
            tail_probability=sighting.tail_probability,
            error=sighting.error,
            evidence=sighting.evidence,
            spike=sighting.spike,
            created_ms=created_ms,
            told_ms=elapsed_ms,
            touched_ms=elapsed_ms,
        )

    def add(self, sighting: Sighting[E], elapsed_ms: int) -> None:
        """Count a further sighting in."""
        self.vectors += sighting.vectors
        self.first_seen_ms = min(self.first_seen_ms, sighting.first_seen_ms)
        self.last_seen_ms = max(self.last_seen_ms, sighting.last_seen_ms)
        self.spike = sighting.spike or self.spike
        self.touched_ms = elapsed_ms
        if (-sighting.tail_probability, sighting.error) > (-self.tail_probability, self.error):
            self.tail_probability, self.error = sighting.tail_probability, sighting.error
            self.evidence = sighting.evidence

    @property
    def span_ms(self) -> int:
        """From the first to the last detection."""
        return self.last_seen_ms - self.first_seen_ms


@dataclass(frozen=True, slots=True)
class Change(Generic[E]):
    """An incident as it was when something became of it."""

    activity: Activity
    incident: Incident[E]


class Incidents(Generic[E]):
    """The open incidents."""

    def __init__(self, limits: IncidentLimits, stream: Subject) -> None:
        self._update_ms = limits.update_seconds * 1000
        self._quiet_ms = limits.quiet_seconds * 1000
        self._max_open, self._capacity = limits.max_open, float(limits.max_creates_per_minute)
        self._stream = stream
        self._tokens, self._elapsed_ms = self._capacity, 0
        self._open: dict[Subject, Incident[E]] = {}  # the longest untouched first
        self._untold: set[Subject] = set()

    def __len__(self) -> int:
        return len(self._open)

    def step(
        self, sightings: Iterable[Sighting[E]], elapsed_ms: int, now_ms: int
    ) -> list[Change[E]]:
        """Count what a micro-batch showed, at this elapsed event time."""
        refill = (elapsed_ms - self._elapsed_ms) / MINUTE_MS * self._capacity
        self._tokens = min(self._tokens + refill, self._capacity)
        self._elapsed_ms = elapsed_ms
        closed = list(self._closings(elapsed_ms))
        created = [c for sighting in sightings for c in self._take(sighting, elapsed_ms, now_ms)]
        return [*closed, *created, *self._updates(elapsed_ms)]

    def tick(self, elapsed_ms: int) -> list[Change[E]]:
        """Report and close what is due although nothing comes, at this elapsed event time."""
        return [*self._closings(elapsed_ms), *self._updates(elapsed_ms)]

    def _take(self, sighting: Sighting[E], elapsed_ms: int, now_ms: int) -> Iterator[Change[E]]:
        """Count a sighting to the incident of its first subject that has one or may open one."""
        for rank, subject in enumerate((*sighting.subjects, self._stream)):
            incident = self._open.pop(subject, None)
            if incident:
                incident.add(sighting, elapsed_ms)
                self._untold.add(subject)
            elif subject == self._stream or self._may_open(rank):
                incident = Incident.of(sighting, subject, now_ms, elapsed_ms)
                yield _change(Activity.CREATE, incident)
            if incident:
                self._open[subject] = incident
                return

    def _may_open(self, rank: int) -> bool:
        reserve = 0.0 if rank else self._capacity * RESERVED_SHARE
        if len(self._open) >= self._max_open or self._tokens < max(reserve, 1):
            return False
        self._tokens -= 1
        return True

    def _updates(self, elapsed_ms: int) -> Iterator[Change[E]]:
        due = [
            incident
            for subject in self._untold
            if elapsed_ms - (incident := self._open[subject]).told_ms >= self._update_ms
        ]
        for incident in sorted(due, key=lambda incident: incident.subject):
            incident.told_ms = elapsed_ms
            self._untold.remove(incident.subject)
            yield _change(Activity.UPDATE, incident)

    def _closings(self, elapsed_ms: int) -> Iterator[Change[E]]:
        while self._open:
            subject, incident = next(iter(self._open.items()))
            if elapsed_ms - incident.touched_ms < self._quiet_ms:
                return
            del self._open[subject]
            self._untold.discard(subject)
            yield _change(Activity.CLOSE, incident)


def alone(sighting: Sighting[E], now_ms: int) -> Change[E]:
    """A sighting as an incident of its own, of which no more will be told."""
    return _change(Activity.CREATE, Incident.of(sighting, sighting.subjects[0], now_ms, 0))


def _change(activity: Activity, incident: Incident[E]) -> Change[E]:
    told = replace(incident)
    incident.reports += 1
    return Change(activity, told)

"""From anomalous vectors to the few things that are told of them.

    changes = triage.step(scored, now_ms)
    changes = triage.tick()      # when nothing comes

The anomalous vectors of a micro-batch are suppressed or grouped by entity; only the most anomalous
one of each group is read again. What is created, updated or closed leaves with that vector, so that
explaining and rendering cost as little as there is to tell.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from operator import itemgetter
from time import monotonic

import numpy as np
from numpy.typing import NDArray

from monitor.batch import Decoded, EventIdentity, Indices, MicroBatch, Origins, Partition, Record
from monitor.config import IncidentSettings, SpikeSettings
from monitor.contracts.detection import (
    MAX_KEY_BYTES,
    Detection,
    finding_uid,
    plausible_time,
    sighting_of,
    subjects,
    subjects_of,
    uid_of,
)
from monitor.contracts.text import MAX_TEXT
from monitor.detect.detector import Detector
from monitor.detect.explain import explain
from monitor.detect.incidents import Change, IncidentLimits, Incidents, Sighting, Subject, alone
from monitor.detect.spikes import Rise, SpikeOptions, Spikes
from monitor.detect.stream_clock import LARGE_STEP_MS, StreamClock
from monitor.ingest.identity import milliseconds
from monitor.stream.suppress import Suppressions

TIMES_SAMPLED = 31
"""Events of a micro-batch whose median is its time."""

LONGEST_OBSERVED = MAX_TEXT + 1
"""Characters of an event's text that are kept while its incident is open: as many as are shown, and
one more, so that it shows where a text was cut."""


@dataclass(frozen=True)
class Scored:
    """A micro-batch and what the detector of the moment makes of its vectors.

    Attributes:
        errors: (n,) float32.
        anomalous: positions of the vectors past the threshold.
        identify: reads a record's event again.
    """

    batch: MicroBatch
    decoded: Decoded
    errors: NDArray[np.float32]
    anomalous: Indices
    detector: Detector
    bundle_id: str
    detector_name: str
    identify: Callable[[bytes, int], EventIdentity]

    @cached_property
    def rarities(self) -> NDArray[np.float64]:
        """(n,): the share of normal vectors expected above the error of each."""
        return self.detector.tail_probability(self.errors)

    def record(self, position: int) -> Record:
        """The record of a vector."""
        return self.batch.records[int(self.decoded.batch.rows[position])]

    def home(self, position: int) -> Partition:
        """Where what a vector begins is kept: its partition."""
        record = self.record(position)
        return Partition(record.topic, record.partition)

    def event(self, position: int) -> EventIdentity:
        """What the record of a vector says of itself."""
        return self.identify(self.record(position).value or b"", self.within(position))

    def within(self, position: int) -> int:
        """The position of a vector in its record; -1 where the record is the vector."""
        within = self.decoded.batch.within
        return -1 if within is None else int(within[position])

    def uid(self, position: int) -> str:
        """Of the finding that a vector opens; its event is not read for that."""
        record, within = self.record(position), self.within(position)
        return finding_uid(self.bundle_id, record.topic, record.partition, record.offset, within)

    def subject(self, position: int, event: EventIdentity) -> str:
        """Whom an alert of a vector and its event would be about."""
        record = self.record(position)
        return subjects_of(event, record.topic, record.partition, record.key)[0].name

    def time_ms(self, position: int, now_ms: int) -> int:
        """When it was, by the first plausible of event, record and present time."""
        origins = self.decoded.batch.origins
        claimed = milliseconds(origins.times[position]) if origins else None
        return plausible_time(claimed, self.record(position).timestamp, now_ms)

    def detection(self, position: int) -> Detection:
        """All there is to know of one vector, but for its explanation."""
        record, event, detector = self.record(position), self.event(position), self.detector
        kept = tuple(v[:LONGEST_OBSERVED] if isinstance(v, str) else v for v in event.observed)
        return Detection(
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
            record_time_ms=record.timestamp,
            event=replace(event, observed=kept),
            reconstruction_error=float(self.errors[position]),
            threshold=detector.threshold,
            false_alarm_rate=detector.false_alarm_rate,
            tail_probability=float(self.rarities[position]),
            features=(),
            bundle_id=self.bundle_id,
            detector_name=self.detector_name,
            record_key=record.key and record.key[:MAX_KEY_BYTES],
            vector=self.decoded.batch.values[position].copy(),
            within=self.within(position),
        )

    def first_features(self, events: Sequence[EventIdentity], positions: Indices) -> list[str]:
        """The feature that explains each of some vectors best."""
        observed = [event.observed for event in events]
        explained = explain(self.detector, self.decoded.batch.values[positions], observed, top=1)
        return [features[0].name if features else "" for features in explained]


class Triage:
    """Suppressions, spikes and incidents, in this order.

    `suppressions` may be replaced between micro-batches. What is kept of the others, so that a
    restart goes on with it, is the business of `monitor.stream.state`.

    Args:
        spikes: None where they are not watched.
        incidents: None where each anomalous vector is to be told of.
        stream: what the stream as a whole is called.
        clock: a monotonic one, in seconds.
    """

    def __init__(
        self,
        suppressions: Suppressions,
        spikes: Spikes | None,
        incidents: Incidents[Detection] | None,
        stream: Subject,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self.suppressions, self.spikes, self.incidents = suppressions, spikes, incidents
        self.clock = StreamClock()
        self._stream, self._wall_s, self._typical_ms = stream, clock, 0

    def begin_anew(self) -> None:
        """Forget all that was seen."""
        self.spikes = None if self.spikes is None else self.spikes.anew()
        self.incidents = None if self.incidents is None else self.incidents.anew()
        self.clock = StreamClock()

    @property
    def open_incidents(self) -> int:
        """How many are open."""
        return 0 if self.incidents is None else len(self.incidents)

    @property
    def entities(self) -> int:
        """How many are watched."""
        return 0 if self.spikes is None else len(self.spikes)

    @property
    def spike_level(self) -> float:
        """How near the stream is to an alarm of its level: 0 as usual, 1 in alarm."""
        return 0.0 if self.spikes is None else self.spikes.level

    def step(self, scored: Scored, now_ms: int) -> tuple[list[Change[Detection]], list[str]]:
        """What a micro-batch changes, and the reason of each vector or rise that was suppressed."""
        if not len(scored.errors):
            return self.tick(), []
        self._typical_ms = _typical_time(scored, now_ms)
        self.clock = self.clock.advance(self._typical_ms, self.wall_ms())
        reasons = self._reasons(scored, now_ms)
        told = np.array([reason is None for reason in reasons], bool)
        sightings = [*self._seen(scored, scored.anomalous[told], now_ms)]
        for reason, sighting in self._risen(scored, told, now_ms):
            reasons.append(reason)
            if reason is None:
                sightings.append(sighting)
        suppressed = [reason for reason in reasons if reason is not None]
        if self.incidents is None:
            return [alone(sighting, now_ms) for sighting in sightings], suppressed
        return self.incidents.step(sightings, self.clock.elapsed_ms, now_ms), suppressed

    def apart(self, scored: Scored, now_ms: int) -> tuple[list[Change[Detection]], list[str]]:
        """Each anomalous vector by itself; no state is looked at or changed."""
        try:
            reasons = self._reasons(scored, now_ms)
        except Exception:  # rather one alert too many
            reasons = [None] * len(scored.anomalous)
        told = scored.anomalous[np.array([reason is None for reason in reasons], bool)]
        sightings = [sighting_of(scored.detection(n), now_ms) for n in told.tolist()]
        suppressed = [reason for reason in reasons if reason is not None]
        return [alone(sighting, now_ms) for sighting in sightings], suppressed

    def tick(self) -> list[Change[Detection]]:
        """What is due although nothing comes: time goes on as the wall clock does."""
        self.clock = self.clock.wait(self.wall_ms())
        return [] if self.incidents is None else self.incidents.tick(self.clock.elapsed_ms)

    def wall_ms(self) -> int:
        """The monotonic clock by which time goes on while nothing comes."""
        return int(self._wall_s() * 1000)

    def _reasons(self, scored: Scored, now_ms: int) -> list[str | None]:
        """Of each anomalous vector why it is suppressed; None where it is told of."""
        anomalous = scored.anomalous
        if not self.suppressions or not len(anomalous):
            return [None] * len(anomalous)
        events = [scored.event(position) for position in anomalous.tolist()]
        owners = list(map(scored.subject, anomalous.tolist(), events))

        def first_features(asked: Sequence[int]) -> Sequence[str]:
            chosen = [events[n] for n in asked]
            return scored.first_features(chosen, anomalous[np.array(asked)])

        return self.suppressions.reasons(events, owners, first_features, now_ms)

    def _seen(
        self, scored: Scored, anomalous: Indices, now_ms: int
    ) -> Iterator[Sighting[Detection]]:
        """The anomalous vectors of each entity, told of by the worst of them."""
        if self.incidents is None:
            for position in anomalous.tolist():
                yield sighting_of(scored.detection(position), now_ms)
            return
        groups = {
            positions[int(scored.errors[positions].argmax())]: positions
            for positions in _grouped(scored, anomalous)
        }
        for worst, positions in sorted(groups.items()):  # each record is read again once
            times = [self._near(scored.time_ms(position, now_ms)) for position in positions]
            yield replace(
                sighting_of(scored.detection(worst), now_ms),
                uid=scored.uid(positions[0]),
                home=scored.home(positions[0]),
                vectors=len(positions),
                first_seen_ms=min(times),
                last_seen_ms=max(times),
            )

    def _near(self, time_ms: int) -> int:
        """An event's time, kept near its micro-batch's: no single one makes an incident long."""
        typical_ms = self._typical_ms
        return min(max(time_ms, typical_ms - LARGE_STEP_MS), typical_ms + LARGE_STEP_MS)

    def _risen(
        self, scored: Scored, told: NDArray[np.bool_], now_ms: int
    ) -> Iterator[tuple[str | None, Sighting[Detection]]]:
        """Whose level is up, told of by the worst vector that it has in this micro-batch.

        And why that is suppressed, if it is. Suppressed vectors are in no level.

        Args:
            told: of each anomalous vector whether it is not suppressed.
        """
        if self.spikes is None:
            return
        anomalous = np.zeros(len(scored.errors), bool)
        anomalous[scored.anomalous] = True
        kept = np.delete(np.arange(len(anomalous)), scored.anomalous[~told])
        errors, origins = scored.errors[kept], scored.decoded.batch.origins
        if origins and len(kept) < len(anomalous):
            origins = origins.at(kept)
        rises = self.spikes.step(
            errors, anomalous[kept], origins, self.clock, lambda n: scored.home(int(kept[n]))
        )
        places = [int(kept[_worst(errors, origins, rise.entity)]) for rise in rises]
        for place, rise in sorted(zip(places, rises, strict=True), key=itemgetter(0)):
            worst = scored.detection(place)
            reason = self._reason(worst, now_ms) if rise.entity >= 0 else None
            if rise.windows == 1 or (self.incidents is not None and reason is None):
                yield reason, self._rise(rise, worst, now_ms)

    def _rise(self, rise: Rise, worst: Detection, now_ms: int) -> Sighting[Detection]:
        """A rise as an incident may take it in."""
        sighting, of_entity = sighting_of(worst, now_ms), rise.entity >= 0
        time_ms = self._near(sighting.last_seen_ms)
        return replace(
            sighting,
            subjects=sighting.subjects if of_entity else (self._stream,),
            uid=uid_of(worst, "/level" if of_entity else "/stream"),
            vectors=0,
            first_seen_ms=min(rise.spike.since_ms, time_ms),
            last_seen_ms=time_ms,
            spike=rise.spike,
        )

    def _reason(self, worst: Detection, now_ms: int) -> str | None:
        """Why an entity is suppressed, whatever its features."""
        [reason] = self.suppressions.reasons(
            [worst.event], [subjects(worst)[0].name], lambda asked: [""] * len(asked), now_ms
        )
        return reason


def _grouped(scored: Scored, anomalous: Indices) -> Iterable[list[int]]:
    """Anomalous positions by whom they are about, in order."""
    origins = scored.decoded.batch.origins
    groups: dict[object, list[int]] = {}
    for position in anomalous.tolist():
        owner: object = int(origins.entities[position]) if origins else -1
        if owner == -1:
            record = scored.record(position)
            owner = record.key or (record.topic, record.partition)
        groups.setdefault(owner, []).append(position)
    return groups.values()


def _worst(errors: NDArray[np.float32], origins: Origins | None, entity: int) -> int:
    """The position of the largest error, of an entity or, where it is negative, of all."""
    if entity < 0 or origins is None:
        return int(errors.argmax())
    owned = np.flatnonzero(origins.entities == entity)
    return int(owned[errors[owned].argmax()])


def build_triage(
    incidents: IncidentSettings,
    spikes: SpikeSettings,
    suppressions: Suppressions,
    topics: Sequence[str],
    clock: Callable[[], float] = monotonic,
) -> Triage:
    """The triage that the settings ask for."""
    stream = Subject("stream", ",".join(topics))
    limits = IncidentLimits(
        incidents.update_seconds,
        incidents.quiet_seconds,
        incidents.max_incidents_per_minute,
        incidents.max_open_incidents,
    )
    options = SpikeOptions(
        spikes.false_alarm_interval_days, spikes.window_seconds, spikes.max_entities
    )
    return Triage(
        suppressions,
        Spikes(options) if spikes.enabled else None,
        Incidents(limits, stream) if incidents.group_by == "entity" else None,
        stream,
        clock,
    )


def _typical_time(scored: Scored, now_ms: int) -> int:
    """The median of some events' times; none lies ahead of the present."""
    positions = np.linspace(0, len(scored.errors) - 1, TIMES_SAMPLED).astype(np.int64)
    times = [scored.time_ms(position, now_ms) for position in np.unique(positions).tolist()]
    return min(int(np.median(times)), now_ms)

"""What outlives the process: open incidents, levels and the threshold's course, beside the offsets.

    state.load(partitions)                      # before the first of their vectors is judged
    sink.write([*judged.outputs, *state.outputs(batch)], batch)
    state.forget()                              # before what is committed is loaded again

What a micro-batch changed is written with its alerts and its offsets, in the same transaction where
delivery is exactly once. Incidents and levels are one pool a process, but each has a home, the
partition whose vector began it, and is kept in `kafka.state_topic`, in the partition of the same
number, or of the rest where that has fewer. What a process has but once (`Shared`) goes along with
each of its partitions: who has none takes the newest.

Of each input partition there is at most, once the topic is compacted: two snapshots, of all its
open incidents and its levels, and RING_RECORDS changes of MAX_RECORD_BYTES each. A snapshot takes
0.3 kB an entity, so 15 MB for the 50,000 that a process watches by default, and for an incident 1
to 3 kB as a rule and 220 kB at most. Records are well below 1 MB.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from secrets import randbits
from time import monotonic

import msgspec
import numpy as np
import structlog

from monitor.batch import MicroBatch, Partition
from monitor.contracts.detection import Detection
from monitor.contracts.manifest import Manifest
from monitor.detect.entity_table import ROW, STREAM, Levels
from monitor.detect.incidents import Kept
from monitor.stream.clock import now_ms
from monitor.stream.contracts import Output
from monitor.stream.membership import name
from monitor.stream.state_layout import (
    CHANGE,
    SNAPSHOT,
    CorruptError,
    Packed,
    Part,
    Shared,
    encode,
    encode_shared,
)
from monitor.stream.state_parts import Chunk, PartitionState, chunks, put_together
from monitor.stream.state_topic import StateTopic
from monitor.stream.triage import Triage
from monitor.stream.tuning import Tuning
from monitor.telemetry.metrics import Metrics

RING_RECORDS = 256
"""Changes are written into so many keys, again and again; when all are used, a snapshot is."""
WORTH_A_SNAPSHOT = 4
"""Or when the changes are so many times larger than it."""
LEAST_BYTES = 1_000_000
"""Fewer bytes of changes are worth none."""

log = structlog.get_logger()


@dataclass(slots=True)
class _Log:
    """How far the state of a partition is written.

    Attributes:
        changes: since its snapshot; RING_RECORDS where there is no snapshot of ours.
    """

    generation: int
    changes: int = RING_RECORDS
    changed_bytes: int = 0
    snapshot_bytes: int = 0

    def is_full(self, more: int) -> bool:
        """Whether a snapshot is due instead of so many further changes."""
        worth = max(LEAST_BYTES, WORTH_A_SNAPSHOT * self.snapshot_bytes)
        return self.changes + more > RING_RECORDS or self.changed_bytes > worth


class StateStore:
    """Writes and loads the state of the partitions that are ours."""

    def __init__(
        self,
        topic: StateTopic,
        manifest: Manifest,
        triage: Triage,
        tuning: Tuning,
        metrics: Metrics,
    ) -> None:
        self._topic, self._triage, self._tuning = topic, triage, tuning
        self._metrics = metrics
        self._spec, self._detector = manifest.spec_sha256, manifest.weights_sha256
        self._writer, self._timeline, self._stamp = randbits(63), randbits(63), 0
        self._logs: dict[Partition, _Log] = {}

    def load(self, partitions: Collection[Partition]) -> None:
        """Go on with what is kept of these, beside that of those that are here.

        Raises:
            BrokerAwayError: no broker answers; nothing has changed.
            BrokerError: it refuses.
            StreamError: it is the state of a newer monitor.
        """
        if not partitions:
            return
        started = monotonic()
        found = self._topic.read(partitions)
        skipped = found.skipped
        states = dict[Partition, PartitionState]()
        for home in partitions:
            parts = found.parts.get(home, [])
            self._logs[home] = _Log(max((part.generation for part in parts), default=0))
            try:
                state = put_together(parts)
            except CorruptError as reason:
                skipped += [f"{name(home)} begins anew: {reason}"]
                continue
            if state:
                states[home] = state
                skipped += [f"{name(home)}: a record is missing"] * state.missing
        self._take(states)
        self._metrics.state_loaded_bytes.inc(found.read_bytes)
        self._told(len(states), skipped, monotonic() - started)

    def forget(self) -> None:
        """Have no state, as at the start."""
        self._triage.begin_anew()
        self._tuning.begin_anew()
        self._logs, self._timeline = {}, randbits(63)

    def outputs(self, batch: MicroBatch) -> list[Output]:
        """What has changed since the last call; nothing where that is nothing but time."""
        incidents, spikes = self._triage.incidents, self._triage.spikes
        kept = {} if incidents is None else incidents.export()
        levels = {} if spikes is None else spikes.entities.export()
        homes = {*kept, *levels, *(batch.next_offsets if batch.records else ())}
        if not homes:
            return []
        unsaved = {home for home, log in self._logs.items() if log.changes == RING_RECORDS}
        self._stamp = max(self._stamp + 1, now_ms())
        shared = encode_shared(self._shared())
        nothing, level = Kept[Detection](), Levels()
        written = [
            output
            for home in sorted(homes | unsaved)
            for output in self._write(
                home, kept.get(home, nothing), levels.get(home, level), shared
            )
        ]
        self._metrics.state_written_bytes.inc(sum(len(output.value or b"") for output in written))
        return written

    def _write(
        self, home: Partition, kept: Kept[Detection], levels: Levels, shared: msgspec.Raw
    ) -> Iterator[Output]:
        log = self._logs.setdefault(home, _Log(0))
        changes = chunks(kept, levels)
        if log.is_full(len(changes)):
            yield from self._snapshot(home, log, shared)
            return
        for chunk in changes:
            value = self._value(log, log.changes, 0, shared, chunk)
            yield self._topic.output(home, CHANGE, log.changes, value)
            log.changes += 1
            log.changed_bytes += len(value)

    def _snapshot(self, home: Partition, log: _Log, shared: msgspec.Raw) -> Iterator[Output]:
        """All of a partition, in keys that do not touch those of the snapshot before."""
        incidents, spikes = self._triage.incidents, self._triage.spikes
        kept = Kept[Detection]() if incidents is None else incidents.held(home)
        levels = Levels() if spikes is None else spikes.entities.held(home)
        parts = chunks(kept, levels)
        log.generation += 1
        log.changes = log.changed_bytes = log.snapshot_bytes = 0
        for n, chunk in enumerate(parts):
            value = self._value(log, n, len(parts), shared, chunk)
            yield self._topic.output(home, SNAPSHOT, 2 * n + log.generation % 2, value)
            log.snapshot_bytes += len(value)

    def _value(self, log: _Log, serial: int, of: int, shared: msgspec.Raw, chunk: Chunk) -> bytes:
        packed = Packed.of(chunk.levels)
        identity = log.generation, self._writer, serial, of
        return encode(Part(*identity, shared, chunk.closed, chunk.open, packed))

    def _shared(self) -> Shared:
        incidents, spikes = self._triage.incidents, self._triage.spikes
        return Shared(
            self._stamp,
            self._timeline,
            self._spec,
            self._detector,
            self._triage.clock.at_wall(0),
            0.0 if incidents is None else incidents.tokens,
            0 if incidents is None else incidents.elapsed_ms,
            0 if spikes is None else spikes.window_ms,
            0 if spikes is None else spikes.entities.turn,
            b"" if spikes is None else spikes.entities.rows[STREAM].tobytes(),
            self._tuning.export(),
        )

    def _take(self, states: Mapping[Partition, PartitionState]) -> None:
        """Go on with these states; in their time, where we have none of our own."""
        if states:
            newest = max((state.shared for state in states.values()), key=lambda s: s.stamp)
            self._stamp = max(self._stamp, newest.stamp)
            if self._triage.clock.time_ms is None:
                self._adopt(newest)
            self._restore(states)
            self._timeline = randbits(63)
        for log in self._logs.values():
            log.changes = RING_RECORDS  # slots and times have changed: keep all of it anew

    def _adopt(self, newest: Shared) -> None:
        """Go on with what a process has but once."""
        triage, self._timeline = self._triage, newest.timeline
        triage.clock = newest.clock.at_wall(triage.wall_ms())
        if triage.incidents is not None:
            triage.incidents.tokens = newest.tokens
            triage.incidents.elapsed_ms = newest.counted_ms
        if triage.spikes is not None and newest.window_ms == triage.spikes.window_ms:
            triage.spikes.entities.rows[STREAM] = np.frombuffer(newest.stream, ROW)[0]
            triage.spikes.entities.turn = newest.turn
        if newest.detector == self._detector:
            self._tuning.restore(newest.tuned, monotonic())

    def _restore(self, states: Mapping[Partition, PartitionState]) -> None:
        """Take in incidents and levels; they are as old as they were when they were written."""
        incidents, spikes = self._triage.incidents, self._triage.spikes
        levels = dict[Partition, Levels]()
        for home, state in states.items():
            shared, ahead_ms, turns = state.shared, 0, 0
            if shared.timeline != self._timeline:
                ahead_ms = self._triage.clock.elapsed_ms - shared.clock.elapsed_ms
                turns = 0 if spikes is None else spikes.entities.turn - shared.turn
            if incidents is not None:
                incidents.restore(i.moved(ahead_ms) for i in state.incidents(home, self._spec))
            if spikes is not None and shared.window_ms == spikes.window_ms:
                levels[home] = state.levels.moved(round(ahead_ms / spikes.window_ms), turns)
        if spikes is not None:
            spikes.entities.restore(levels)

    def _told(self, partitions: int, skipped: Iterable[str], seconds: float) -> None:
        metrics, skipped = self._metrics, [*skipped]
        metrics.state_load_seconds.observe(seconds)
        metrics.state_skipped.inc(len(skipped))
        if skipped:
            log.warning(
                "state is not whole, going on with what there is",
                skipped=len(skipped),
                first=skipped[0],
            )
        log.info(
            "state loaded",
            partitions=partitions,
            incidents=self._triage.open_incidents,
            entities=self._triage.entities,
            seconds=round(seconds, 3),
        )

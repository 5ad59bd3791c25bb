"""From what became of a partition's state to chunks that fit in a record, and back.

for chunk in chunks(kept, levels): write(chunk)
state = put_together(parts)
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple

import msgspec

from monitor.batch import Partition
from monitor.contracts.detection import Detection
from monitor.detect.entity_table import ROW, Levels, together
from monitor.detect.incidents import Incident, Kept, Sighting, Subject
from monitor.stream.state_evidence import pack, unpack
from monitor.stream.state_layout import MAX_RECORD_BYTES, CorruptError, Entry, Part, Shared

_ENTRY_BYTES, _ROW_BYTES, _COUNT_BYTES, _SLOT_BYTES = 300, ROW.itemsize + 20, 28, 4
_CHARACTER_BYTES = 4


class Chunk(NamedTuple):
    """What one record says of incidents and levels."""

    closed: list[Subject]
    open: list[Entry]
    levels: Levels


@dataclass(frozen=True, slots=True)
class PartitionState:
    """The state of a partition, as its records say.

    Attributes:
        generation: of its snapshot.
        missing: records that should be there; what they said of is as it was before, or gone.
    """

    generation: int
    shared: Shared
    entries: Sequence[Entry]
    levels: Levels
    missing: int

    def incidents(self, home: Partition, spec: str) -> Iterator[Incident[Detection]]:
        """Its open incidents; what they show can be explained where the spec is the same."""
        for entry in self.entries:
            seen = Sighting(
                (entry.subject,),
                entry.uid,
                entry.vectors,
                entry.first_seen_ms,
                entry.last_seen_ms,
                entry.tail_probability,
                entry.error,
                unpack(entry.evidence, with_vector=self.shared.spec == spec),
                entry.spike,
                home,
            )
            times = entry.created_ms, entry.told_ms, entry.touched_ms
            yield Incident(entry.subject, seen, *times, entry.reports, entry.untold)


def chunks(kept: Kept[Detection], levels: Levels) -> list[Chunk]:
    """In the order in which they hold; one where that is small enough, and never none."""
    entries = [_entry(incident, incident.subject in kept.worsened) for incident in kept.open]
    of_closed = list(map(_subject_bytes, kept.closed))
    of_open = [_subject_bytes(e.subject) + _ENTRY_BYTES + len(e.evidence) for e in entries]
    of_rows = [_ROW_BYTES + _CHARACTER_BYTES * len(name) for name in levels.names]
    of_gone = [_SLOT_BYTES] * len(levels.gone)
    of_counted = [_COUNT_BYTES] * len(levels.counted)
    if sum(map(sum, (of_closed, of_open, of_rows, of_gone, of_counted))) <= MAX_RECORD_BYTES:
        return [Chunk(kept.closed, entries, levels)]
    nothing, turn = Levels(), levels.turn
    return [
        *(Chunk(kept.closed[a:b], [], nothing) for a, b in _cuts(of_closed)),
        *(Chunk([], entries[a:b], nothing) for a, b in _cuts(of_open)),
        *(Chunk([], [], Levels(gone=levels.gone[a:b])) for a, b in _cuts(of_gone)),
        *(Chunk([], [], levels.part(a, b)) for a, b in _cuts(of_rows)),
        *(
            Chunk([], [], Levels(counted=levels.counted[a:b], counts=levels.counts[a:b], turn=turn))
            for a, b in _cuts(of_counted)
        ),
    ]


def put_together(parts: Iterable[Part]) -> PartitionState | None:
    """The newest state of which the snapshot is whole; None where there is none.

    Raises:
        CorruptError: the newest snapshot was whole once, and is no longer.
    """
    written: defaultdict[tuple[int, int], list[Part]] = defaultdict(list)
    for part in parts:
        written[part.generation, part.writer].append(part)
    whole = [which for which, found in written.items() if _is_whole(found)]
    newest = max(whole, default=(-1, 0))
    for (generation, _), found in written.items():
        if generation > newest[0] and any(not part.chunks for part in found):
            raise CorruptError(f"the snapshot of generation {generation} is damaged")
    return _state(written[newest]) if whole else None


def _is_whole(parts: Iterable[Part]) -> bool:
    """Whether all chunks of the snapshot are there."""
    snapshot = [part for part in parts if part.chunks]
    return bool(snapshot) and {p.serial for p in snapshot} == set(range(snapshot[0].chunks))


def _state(parts: Iterable[Part]) -> PartitionState:
    """What a snapshot and the changes since come to."""
    ordered = sorted(parts, key=lambda part: (not part.chunks, part.serial))
    last, entries = ordered[-1], dict[Subject, Entry]()
    for part in ordered:
        for subject in part.closed:
            entries.pop(subject, None)
        for entry in part.open:
            before = entries.pop(entry.subject, None)
            if not entry.evidence and before:
                entry = msgspec.structs.replace(entry, evidence=before.evidence)
            if entry.evidence:
                entries[entry.subject] = entry
    changes = sum(not part.chunks for part in ordered)
    missing = last.serial + 1 - changes if changes else 0
    levels = together(part.levels.unpack() for part in ordered)
    assert isinstance(last.shared, Shared)
    return PartitionState(last.generation, last.shared, [*entries.values()], levels, missing)


def _entry(incident: Incident[Detection], worsened: bool) -> Entry:
    seen = incident.seen
    return Entry(
        incident.subject,
        seen.uid,
        seen.vectors,
        seen.first_seen_ms,
        seen.last_seen_ms,
        seen.tail_probability,
        seen.error,
        seen.spike,
        incident.created_ms,
        incident.told_ms,
        incident.touched_ms,
        incident.reports,
        incident.untold,
        pack(seen.evidence) if worsened else b"",
    )


def _subject_bytes(subject: Subject) -> int:
    return _CHARACTER_BYTES * (len(subject.type) + len(subject.name))


def _cuts(sizes: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Runs of about as many bytes as a record may hold, or single ones that are larger."""
    start = 0
    told = 0
    for end, total in enumerate(accumulate(sizes)):
        if end > start and total - told > MAX_RECORD_BYTES:
            yield start, end
            start, told = end, total - sizes[end]
    if sizes:
        yield start, len(sizes)

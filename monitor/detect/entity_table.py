"""A row for each entity that is watched: a table of fixed size, of whose rows some change.

    table = EntityTable(size=50_000)
    slots = table.slots_of(["10.0.0.5"], home_of=lambda n: "vectors[3]")
    table.rows["counts"][slots] += counts
    table.changed(slots, thoroughly=ended)
    for home, levels in table.export().items(): keep(home, levels)

Whoever was unseen for longest makes room. Each row has a home, such as the partition whose vector
began it: rows are kept and restored by their homes.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitor.batch import Vector64

Slots = NDArray[np.int64]
Home = Hashable

ROW = np.dtype(
    [
        ("window", "<i8"),  # the one being filled
        ("before", "<i8"),  # the one that ended before it
        ("counts", "<f8", 3),  # in it: vectors, anomalous ones, sum of errors
        ("past", "<f8", 7),  # fading sums over windows: see `monitor.detect.spikes`
        ("held", "<f8", 7),  # the same of the latest windows, while a CUSUM is up
        ("cusum", "<f8", 2),
        ("run", "<f8", (2, 2)),  # since each cusum left 0: anomalous ones or errors, vectors
        ("since_ms", "<i8", 2),
        ("alarmed", "<i8"),  # windows in alarm
    ]
)
STREAM = 0
"""The slot of the stream as a whole."""

_COUNTED, _ALL = 1, 2
_TURN = 1 << 24
"""Places within a turn: more than entities can be held."""


def _no_slots() -> NDArray[np.int32]:
    return np.zeros(0, np.int32)


def _no_sights() -> NDArray[np.int64]:
    return np.zeros(0, np.int64)


@dataclass(frozen=True, slots=True)
class Levels:
    """Rows of one home, or what has become of them.

    Attributes:
        gone: (g,) int32, slots that are somebody else's now. They went first.
        slots, names, rows, seen: of the (m,) rows that are told in full, in the order in which
            they were seen: int32, text, ROW, and int64 that grows with each sight.
        counted, counts: (k,) int32 slots, and (k, 3) float64 counts of the same window as before.
        turn: in which those were counted.
    """

    slots: NDArray[np.int32] = field(default_factory=_no_slots)
    names: Sequence[str] = ()
    rows: Any = field(default_factory=partial(np.zeros, 0, ROW))
    seen: NDArray[np.int64] = field(default_factory=_no_sights)
    counted: NDArray[np.int32] = field(default_factory=_no_slots)
    counts: Vector64 = field(default_factory=partial(np.zeros, (0, 3)))
    gone: NDArray[np.int32] = field(default_factory=_no_slots)
    turn: int = 0

    def __len__(self) -> int:
        return len(self.slots) + len(self.counted) + len(self.gone)

    def part(self, start: int, end: int) -> "Levels":
        """Some of the rows in full, and nothing else."""
        chosen = slice(start, end)
        return Levels(self.slots[chosen], self.names[chosen], self.rows[chosen], self.seen[chosen])

    def moved(self, windows: int, turns: int) -> "Levels":
        """The rows in full, where so many windows and turns more have passed."""
        rows = self.rows.copy()
        rows["window"] += windows
        rows["before"] += windows
        return Levels(self.slots, self.names, rows, self.seen + turns * _TURN)


def together(parts: Iterable[Levels]) -> Levels:
    """The rows that there are after all of this has become of them, one after the other."""
    parts = list(parts)
    size = 1 + max((int(part.slots.max()) for part in parts if len(part.slots)), default=-1)
    rows, seen, names = np.zeros(size, ROW), np.zeros(size, np.int64), np.full(size, None, object)
    for part in parts:
        names[part.gone[part.gone < size]] = None
        rows[part.slots], seen[part.slots] = part.rows, part.seen
        names[part.slots] = part.names
        known = part.counted < size
        counted = part.counted[known]
        rows["counts"][counted] = part.counts[known]
        seen[counted] = part.turn * _TURN + np.arange(len(counted))
    held = np.flatnonzero(names != None)  # noqa: E711 - of each of an array
    return Levels(held.astype(np.int32), names[held].tolist(), rows[held], seen[held])


class EntityTable:
    """The rows of the stream and of the entities seen last.

    Attributes:
        rows: (1 + size,) ROW by slot; the first is the stream's.
        turn: how often it was asked for slots.
    """

    def __init__(self, size: int) -> None:
        self.rows: Any = np.zeros(1 + size, ROW)
        self.turn = 0
        self._size = size
        self._slots: OrderedDict[str, int] = OrderedDict()
        self._names: list[str] = [""] * (1 + size)
        self._homes: list[Home] = [None]
        self._codes: dict[Home, int] = {}
        self._home = np.zeros(1 + size, np.int32)  # 0 where the slot is free
        self._seen = np.zeros(1 + size, np.int64)
        self._changed = np.zeros(1 + size, np.uint8)
        self._gone: dict[Home, list[int]] = {}
        self._is_kept = False  # from the first export on; where nobody keeps rows none is missed

    def __len__(self) -> int:
        """Entities that are held."""
        return len(self._slots)

    def slots_of(self, names: Sequence[str], home_of: Callable[[int], Home]) -> Slots:
        """The slots of distinct names; whoever is new takes a free one, or that of the eldest.

        Args:
            home_of: the home of the n-th name, asked where that is new.
        """
        slots, new = self._slots, dict[int, int]()
        for n, name in enumerate(names):
            slot = slots.get(name)
            if slot is None:
                slots[name] = slot = self._empty_slot()
                self._names[slot] = name
                new[slot] = n
            else:
                slots.move_to_end(name)
        if new:
            begun = np.fromiter(new, np.int64, len(new))
            self.rows[begun] = np.zeros((), ROW)
            self._home[begun] = [self._code(home_of(n)) for n in new.values()]
            self._changed[begun] = _ALL
        found = np.fromiter(map(slots.__getitem__, names), np.int64, len(names))
        self.turn += 1
        self._seen[found] = self.turn * _TURN + np.arange(len(found))
        return found

    def changed(self, slots: Slots, thoroughly: NDArray[np.bool_]) -> None:
        """Of these rows the counts have changed, and more than that where it says so."""
        self._changed[slots] = np.maximum(
            self._changed[slots], np.where(thoroughly, _ALL, _COUNTED).astype(np.uint8)
        )

    def export(self) -> dict[Home, Levels]:
        """What has changed since the last time, by home."""
        self._is_kept = True
        changed = self._changed != 0
        changed[STREAM] = False
        slots = np.flatnonzero(changed)
        slots = slots[np.lexsort((self._seen[slots], self._home[slots]))]
        kinds, gone = self._changed[slots], self._gone
        self._changed[:], self._gone = 0, {}
        codes, starts = np.unique(self._home[slots], return_index=True)
        ends = [*starts[1:].tolist(), len(slots)]
        found = {home: Levels(gone=np.array(left, np.int32)) for home, left in gone.items()}
        for code, start, end in zip(codes.tolist(), starts.tolist(), ends, strict=False):
            home, owned, counted = self._homes[code], slots[start:end], kinds[start:end] == _COUNTED
            found[home] = self._levels(owned[~counted], owned[counted], gone.get(home, ()))
        return found

    def held(self, home: Home) -> Levels:
        """All rows of a home."""
        slots = np.flatnonzero(self._home == self._codes.get(home, -1))
        return self._levels(slots[np.argsort(self._seen[slots])], slots[:0])

    def restore(self, kept: Mapping[Any, Levels]) -> None:
        """Take in rows that were kept; of two for one entity that which knows of more windows.

        All rows may change their slots by it: whoever keeps them must keep all of them anew.
        """
        kept = {**{home: self.held(home) for home in self._homes[1:]}, **kept}
        every = kept.values()
        names = [name for levels in every for name in levels.names]
        rows = np.concatenate([np.zeros(0, ROW), *(levels.rows for levels in every)])
        seen = np.concatenate([np.zeros(0, np.int64), *(levels.seen for levels in every)])
        codes = [self._code(home) for home in kept]
        homes = np.repeat(np.array(codes, np.int32), [len(levels.slots) for levels in every])
        best = {names[n]: n for n in np.argsort(rows["past"][:, 0], kind="stable").tolist()}
        chosen = np.fromiter(best.values(), np.int64, len(best))
        chosen = chosen[np.argsort(seen[chosen], kind="stable")][-self._size or len(chosen) :]
        end = 1 + len(chosen)
        self.rows[1:end], self._seen[1:end] = rows[chosen], seen[chosen]
        self._home[:], self._home[1:end] = 0, homes[chosen]
        self._changed[:], self._gone = 0, {}
        self._names[1:end] = [names[n] for n in chosen.tolist()]
        self._slots = OrderedDict(zip(self._names[1:end], range(1, end), strict=True))

    def _empty_slot(self) -> int:
        if len(self._slots) < self._size:
            return len(self._slots) + 1
        _, slot = self._slots.popitem(last=False)
        if self._is_kept:
            self._gone.setdefault(self._homes[self._home[slot]], []).append(slot)
        return slot

    def _code(self, home: Home) -> int:
        code = self._codes.get(home)
        if code is None:
            code = self._codes[home] = len(self._homes)
            self._homes.append(home)
        return code

    def _levels(self, whole: Slots, counted: Slots, gone: Sequence[int] = ()) -> Levels:
        return Levels(
            whole.astype(np.int32),
            [self._names[slot] for slot in whole.tolist()],
            self.rows[whole],
            self._seen[whole],
            counted.astype(np.int32),
            self.rows["counts"][counted],
            np.array(gone, np.int32),
            self.turn,
        )

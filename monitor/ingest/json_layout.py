"""Many JSON records become a matrix at once, by the layout that they share.

    layout = learn(spec, identity, documents)
    read = layout.read(values, encode)

Producers write the same keys again and again. A layout (`monitor.ingest.json_learning` finds it in
a few records that were read one by one) is a msgspec type, which parses a record to its values
alone, with no dictionary in between.

A layout vouches for a record only if reading it alone would give the same: every key in it is one
of the layout, none stands twice, and each value has the plainest type that its field may have. All
others are left to the caller, who reads them one by one, so that what is odd in a record has its
meaning in one place.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, repeat, starmap
from operator import is_, itemgetter
from typing import Any

import numpy as np
from msgspec import UNSET
from numpy.typing import NDArray

from monitor.batch import Indices, Matrix, Vector64
from monitor.ingest.identity import LONGEST_NAME, entity_name
from monitor.ingest.json_shape import Keys, Location
from monitor.ingest.json_values import FLOAT32_MAX

NO_NUMBER = float("nan")
"""Stands for a number that a record lacks; JSON has no NaN of its own."""

READ_AT_ONCE = 256
"""Records whose values, each an object of Python's, find room in a core's cache."""

PROBED = 64
WORTHWHILE_RATIO = 1 / 8
"""Where fewer of some records from all over a micro-batch are laid out so, it is not tried on."""

Encode = Callable[[int, Sequence[Any]], Matrix]
"""The values of a categorical feature, by its position, to (n,) codes."""
_COLON, _QUOTE, _SPACE = b':" '


@dataclass(frozen=True, slots=True)
class Numbers:
    """The k numeric and boolean fields of an object, which are m features.

    Attributes:
        take: those of a row of all its values.
        pack: k numbers to the bytes of as many float64.
        count: k.
        fields: (m,) each feature's field among the k.
        columns: (m,) each feature's position in the spec.
        defaults: (m,), NaN where there is none.
        boolean: which of the m are.
    """

    take: Callable[[Any], Any] | None
    pack: Callable[..., bytes]
    count: int
    fields: Indices
    columns: Indices
    defaults: Vector64
    boolean: Sequence[int]


@dataclass(frozen=True, slots=True)
class Other:
    """A field that is neither number nor object.

    Attributes:
        features: the categorical features that it is, by position in the spec, with their defaults.
        place: its location, where it is asked for as it stands.
    """

    field: int
    features: Sequence[tuple[int, Any]]
    place: Location | None
    optional: bool


@dataclass(frozen=True, slots=True)
class ObjectLayout:
    """How rows of an object's values become part of a matrix.

    Attributes:
        rows: parsed objects to tuples of their values.
        width: how many keys there are.
        numbers_kept: numbers that are asked for as they stand, by location.
        objects: objects within by field, each with what stands for it where it is absent.
        unused: fields of no use, all of them optional, that make up the end of a row.
    """

    rows: Callable[[Sequence[Any]], Sequence[Any]]
    width: int
    numbers: Numbers | None
    numbers_kept: Mapping[Location, int]
    others: Sequence[Other]
    objects: Mapping[int, tuple["ObjectLayout", Any]]
    unused: int = 0


@dataclass(frozen=True, slots=True)
class Read:
    """The values that a layout vouches for.

    Attributes:
        kept: (m,) their positions, ascending.
        matrix: (m, f) float32.
        names: whom each is about, None where it names nobody.
        times: the time of each, as it stands there; None where it has none.
    """

    kept: Indices
    matrix: Matrix
    names: Sequence[str | None]
    times: Sequence[Any]


@dataclass(frozen=True, eq=False)
class Layout:
    """A layout of records of f features.

    Attributes:
        parse: one record to an object; raises where it has other types.
        absent: features that no such record has, by position, with their defaults.
        entities: where records name whom they are about, best first.
        keys: all that such records may have, None where they are arrays.
        base: where in a record the event is.
    """

    parse: Callable[[bytes], Any]
    root: ObjectLayout
    features: int
    absent: Mapping[int, Any]
    entities: Sequence[Location] = ()
    time: Location | None = None
    keys: Keys | None = None
    base: Location = ()

    def read(self, values: Sequence[bytes], encode: Encode) -> Read:
        """Those of the values that are laid out so, and nothing of the others."""
        probed = values[:: max(len(values) // PROBED, 1)]
        if len(self._read(probed, encode).kept) < WORTHWHILE_RATIO * len(probed):
            values = values[:PROBED]
        reads: list[Read] = []
        for at in range(0, len(values), READ_AT_ONCE):
            read = self._read(values[at : at + READ_AT_ONCE], encode)
            reads.append(replace(read, kept=read.kept + at))
        return Read(
            np.concatenate([read.kept for read in reads]),
            np.concatenate([read.matrix for read in reads]),
            [name for read in reads for name in read.names],
            [time for read in reads for time in read.times],
        )

    def _read(self, values: Sequence[bytes], encode: Encode) -> Read:
        kept, parsed = self._parse(values)
        table = _Table(len(parsed), self.features, encode)
        if parsed:
            table.fill(self.root, parsed)
            table.fill_absent(self.absent)
            if self.keys is not None:
                table.refuse_other_keys([values[i] for i in kept])
        times = table.kept.get(self.time) if self.time else None
        names, times = self._names(table), times or [None] * len(parsed)
        return _only_good(Read(np.array(kept, np.int64), table.matrix, names, times), table.good)

    def _parse(self, values: Sequence[bytes]) -> tuple[list[int], list[Any]]:
        kept, parsed, parse = [], [], self.parse
        for i, value in enumerate(values):
            try:
                parsed.append(parse(value))
            except (ValueError, RecursionError):  # of msgspec's errors, which are many
                continue
            kept.append(i)
        return kept, parsed

    def _names(self, table: "_Table") -> Sequence[str | None]:
        columns = [table.kept[place] for place in self.entities if place in table.kept]
        if not columns:
            return [None] * len(table.good)
        first = columns[0]
        if set(map(type, first)) == {str} and all(first) and max(map(len, first)) <= LONGEST_NAME:
            return first
        return [entity_name(found) for found in zip(*columns, strict=True)]


def _only_good(read: Read, good: NDArray[np.bool_]) -> Read:
    if good.all():
        return read
    chosen = np.flatnonzero(good).tolist()
    return Read(
        read.kept[good],
        read.matrix[good],
        [read.names[i] for i in chosen],
        [read.times[i] for i in chosen],
    )


class _Table:
    """What has been read of n records.

    Attributes:
        good: (n,) whether all values of a record fit.
        keys: (n,) how many keys of the layout it has.
        kept: what is asked for as it stands, by location; None where it is absent.
    """

    def __init__(self, n: int, features: int, encode: Encode) -> None:
        self.matrix = np.empty((n, features), np.float32)
        self.good = np.ones(n, bool)
        self.keys = np.zeros(n, np.int64)
        self.kept: dict[Location, Sequence[Any]] = {}
        self._encode = encode

    def fill(self, layout: ObjectLayout, parsed: Sequence[Any]) -> None:
        """Take in what n objects hold."""
        rows = layout.rows(parsed)
        self.keys += layout.width
        if layout.numbers:
            self._fill_numbers(layout.numbers, rows)
        for other in layout.others:
            self._fill_other(other, rows)
        for place, field in layout.numbers_kept.items():
            numbers = map(itemgetter(field), rows)
            self.kept[place] = [None if v is NO_NUMBER else v for v in numbers]
        for field, (inner, stand_in) in layout.objects.items():
            objects = list(map(itemgetter(field), rows))
            if stand_in is not None:
                self._note_absent(objects, stand_in)
            self.fill(inner, objects)
        if layout.unused:
            self._note_unused(rows, layout.unused)

    def fill_absent(self, features: Mapping[int, Any]) -> None:
        """Give all records the defaults of features that none of them has."""
        for feature, default in features.items():
            text = isinstance(default, str)
            self.matrix[:, feature] = self._encode(feature, [default]) if text else default

    def refuse_other_keys(self, values: Sequence[bytes]) -> None:
        """Refuse records that have a key twice, or one that the layout has not.

        Every key is followed by a colon, and between them stands nothing but white space. Where
        there are as many such colons as the layout found keys, there is no other key; text that
        looks like it refuses a record too.
        """
        text = np.frombuffer(b"".join(values), np.uint8)
        colons = text == _COLON
        if np.count_nonzero(colons) == self.keys.sum():
            return
        before = text[:-1]
        colons[1:] &= (before == _QUOTE) | (before <= _SPACE)
        if np.count_nonzero(colons) == self.keys.sum():
            return
        ends = np.cumsum(np.fromiter(map(len, values), np.int64, len(values)))
        starts = np.concatenate(([0], ends[:-1]))
        self.good &= np.add.reduceat(colons, starts, dtype=np.int64) == self.keys

    def _fill_numbers(self, numbers: Numbers, rows: Sequence[Any]) -> None:
        taken = map(numbers.take, rows) if numbers.take else rows
        flat = np.frombuffer(b"".join(starmap(numbers.pack, taken)))
        block = flat.reshape(len(rows), numbers.count)
        if not np.isfinite(flat).all():
            absent = np.isnan(block)
            self.keys -= absent.sum(axis=1)
            block = np.where(absent[:, numbers.fields], numbers.defaults, block[:, numbers.fields])
        elif len(numbers.fields) > numbers.count:
            block = block[:, numbers.fields]
        if not np.abs(block).max() <= FLOAT32_MAX:
            self.good &= (np.abs(block) <= FLOAT32_MAX).all(axis=1)
        for m in numbers.boolean:
            self.good &= (block[:, m] == 0) | (block[:, m] == 1)
        with np.errstate(over="ignore"):
            self.matrix[:, numbers.columns] = block

    def _fill_other(self, other: Other, rows: Sequence[Any]) -> None:
        column = list(map(itemgetter(other.field), rows))
        absent = other.optional and self._note_absent(column, UNSET)
        for feature, default in other.features:
            texts = [default if v is UNSET else v for v in column] if absent else column
            self.matrix[:, feature] = self._encode(feature, texts)
        if other.place:
            kept = [None if v is UNSET else v for v in column] if absent else column
            self.kept[other.place] = kept

    def _note_unused(self, rows: Sequence[Any], count: int) -> None:
        found = chain.from_iterable(map(itemgetter(slice(-count, None)), rows))
        absent = np.fromiter(map(is_, found, repeat(UNSET)), bool, len(rows) * count)
        self.keys -= absent.reshape(len(rows), count).sum(axis=1)

    def _note_absent(self, column: Sequence[Any], stand_in: Any) -> bool:
        """Whether a field is absent anywhere: where there is what stands in for it."""
        absent = np.fromiter(map(is_, column, repeat(stand_in)), bool, len(column))
        self.keys -= absent
        return bool(absent.any())

"""What the columns of a file look like: read once, remembered in bounded memory."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa

from monitor.batch import Vector64
from monitor.errors import DataError
from monitor.ingest.cells import Fault, numbers, texts
from monitor.ingest.formats import JsonLines, open_source
from monitor.ingest.json_document import scalar_text
from monitor.ingest.tables import columns_hint

MAX_DISTINCT = 2_048
SAMPLE_CELLS = 20_000
EXAMPLES = 20
FLOW_EVENTS = {"event_type": "flow"}
"""Suricata writes events of many kinds to one file; its flows are what vectors are made of."""


@dataclass
class ColumnProfile:
    """One column.

    Attributes:
        cells: how many are not missing.
        words: cells that are no number: text, or a boolean of a typed file.
        not_finite: numbers that are NaN, infinite or beyond float32.
        whole, rising: whether all numbers are integers, and none is less than the one before.
        counts: how often each text occurs, unless there are more than `MAX_DISTINCT`.
        examples: the first few different texts.
        sample: about `SAMPLE_CELLS` numbers, evenly taken from the file.
    """

    name: str
    cells: int = 0
    words: int = 0
    not_finite: int = 0
    minimum: float = np.inf
    maximum: float = -np.inf
    whole: bool = True
    rising: bool = True
    counts: Counter[str] = field(default_factory=Counter)
    overflowed: bool = False
    examples: tuple[str, ...] = ()
    odd_words: list[str] = field(default_factory=list)
    _samples: list[Vector64] = field(default_factory=list)
    _stride: int = 1

    def add(self, column: pa.Array, text_is_no_number: bool = False) -> None:
        """Take in further cells; in JSON, digits in quotes are no number."""
        present = column.drop_null()
        self.cells += len(present)
        self._count(present)
        if text_is_no_number and pa.types.is_string(present.type):
            self.words += len(present)
            return
        parsed = numbers(present)
        faults = np.zeros(len(present), np.uint8) if parsed.faults is None else parsed.faults
        words = faults == Fault.WRONG_TYPE
        self.words += int(words.sum())
        self.not_finite += int(((faults != Fault.NONE) & ~words).sum())
        if words.any():
            few = present.filter(pa.array(words)).slice(0, 3).to_pylist()
            self.odd_words = [*self.odd_words, *map(str, few)][:3]
        self._measure(parsed.values[faults == Fault.NONE])

    def _count(self, present: pa.Array) -> None:
        if self.overflowed:
            return
        encoded = texts(present)
        words = encoded.dictionary.to_pylist()
        self.examples = self.examples or tuple(words[:EXAMPLES])
        occurrences = np.bincount(encoded.indices.to_numpy(), minlength=len(encoded.dictionary))
        self.counts.update(dict(zip(words, occurrences, strict=True)))
        if len(self.counts) > MAX_DISTINCT:
            self.overflowed = True
            self.counts.clear()

    def _measure(self, values: Vector64) -> None:
        if not len(values):
            return
        starts_higher = bool(values[0] >= self.maximum)
        self.rising = self.rising and starts_higher and bool((np.diff(values) >= 0).all())
        self.minimum = min(self.minimum, float(values.min()))
        self.maximum = max(self.maximum, float(values.max()))
        self.whole = self.whole and bool((values == np.floor(values)).all())
        self._samples.append(values[:: self._stride])
        if sum(map(len, self._samples)) > 2 * SAMPLE_CELLS:
            self._samples = [np.concatenate(self._samples)[::2]]
            self._stride *= 2

    @property
    def sample(self) -> Vector64:
        return np.concatenate([np.empty(0), *self._samples])

    @property
    def distinct(self) -> int:
        """Different cells; one more than `MAX_DISTINCT` stands for any larger number."""
        return MAX_DISTINCT + 1 if self.overflowed else len(self.counts)


@dataclass(frozen=True)
class FileProfile:
    """A file as a whole.

    Attributes:
        rows: well-formed ones that were profiled.
        has_header: None for JSON lines, whose fields have names anyway.
        unwrap: the key that wraps every event.
        select: the fields and values that tell the profiled events from others in the file.
    """

    path: Path
    rows: int
    columns: tuple[ColumnProfile, ...]
    has_header: bool | None
    unwrap: tuple[str, ...] = ()
    select: Mapping[str, str] = field(default_factory=dict)

    def require(self, column: str) -> ColumnProfile:
        """A column by its name or, in a table, its position counted from 1.

        Raises:
            DataError: there is no such column.
        """
        names = [profile.name for profile in self.columns]
        column = column.strip()
        if column in names:
            return self.columns[names.index(column)]
        in_table = self.has_header is not None
        if in_table and column.isdecimal() and 1 <= int(column) <= len(names):
            return self.columns[int(column) - 1]
        hint = columns_hint(names, self.has_header is not False, column)
        raise DataError(f"file {self.path}: has no column {column!r}; {hint}.")


def profile(path: Path) -> FileProfile:
    """Read a whole file and describe its columns.

    Raises:
        DataError: it cannot be read, or has no rows.
    """
    source = open_source(path)
    if isinstance(source, JsonLines):
        found = _profile_lines(source)
    else:
        columns = tuple(map(ColumnProfile, source.columns))
        rows = 0
        for block in source.blocks(range(len(columns))):
            rows += len(block.rows)
            for column, cells in zip(columns, block.columns, strict=True):
                column.add(cells)
        found = FileProfile(path, rows, columns, source.has_header)
    if not found.rows:
        raise DataError(f"file {path}: has no rows to draft a spec from.")
    return found


def _profile_lines(source: JsonLines) -> FileProfile:
    rows, columns = 0, dict[str, ColumnProfile]()
    unwrap: tuple[str, ...] | None = None
    select: Mapping[str, str] | None = None
    for lines in source.blocks():
        documents = [d for line in lines if isinstance(d := _parse(line), dict)]
        if not documents:
            continue
        unwrap = _wrapping_key(documents) if unwrap is None else unwrap
        events = [document.get(unwrap[0]) if unwrap else document for document in documents]
        flat = [dict(_leaves(event)) for event in events if isinstance(event, dict)]
        if select is None:
            mixed = any(FLOW_EVENTS.items() <= event.items() for event in flat)
            select = FLOW_EVENTS if mixed else {}
        flat = [event for event in flat if select.items() <= event.items()]
        rows += len(flat)
        for path in dict.fromkeys(path for event in flat for path in event):
            cells = [event.get(path) for event in flat]
            columns.setdefault(path, ColumnProfile(path)).add(_array(cells), True)
    return FileProfile(source.path, rows, tuple(columns.values()), None, unwrap or (), select or {})


def _parse(line: bytes) -> object:
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError:
        return None


def _wrapping_key(documents: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """The one key that every event stands under, as in {"conn": {...}}."""
    keys = {key for document in documents for key in document}
    inner = [value for document in documents for value in document.values()]
    wrapped = len(keys) == 1 and all(isinstance(value, dict) for value in inner)
    return tuple(keys) if wrapped else ()


def _leaves(event: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Scalars of nested objects by dotted path; lists are no features."""
    for key, value in event.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}.")
        elif not isinstance(value, list):
            yield f"{prefix}{key}", value


def _array(cells: Sequence[Any]) -> pa.Array:
    """JSON scalars of one field to an arrow array of their common type, text where mixed."""
    kinds = {type(cell) for cell in cells if cell is not None}
    if kinds <= {int, float}:
        return pa.array([None if cell is None else float(cell) for cell in cells], pa.float64())
    if kinds == {bool}:
        return pa.array(cells, pa.bool_())
    return pa.array([scalar_text(cell) for cell in cells], pa.string())

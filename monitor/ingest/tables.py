"""Tables: rows of named columns, read in blocks, whatever file they come from."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from monitor.batch import Indices
from monitor.errors import DataError
from monitor.ingest.textfile import reading


@dataclass(frozen=True, slots=True)
class Malformed:
    """A row with another number of cells than the table has columns."""

    row: int
    cells: Sequence[str]


@dataclass(frozen=True, slots=True)
class RowBlock:
    """Consecutive rows of a table.

    Attributes:
        count: how many, well-formed or not.
        rows: (k,) positions in the file of the k well-formed rows; blank lines are no rows.
        columns: one array of k cells for each column asked for; null where the cell is missing
            (empty, Zeek's `-`, Parquet's null).
    """

    count: int
    rows: Indices
    columns: Sequence[pa.Array]
    malformed: Sequence[Malformed] = ()


@dataclass(frozen=True)
class Table:
    """A file of named columns; without a header their names are their positions from 1."""

    path: Path
    columns: tuple[str, ...]
    _read: Callable[[Sequence[int]], Iterator[RowBlock]] = field(repr=False)
    has_header: bool = True

    def blocks(self, columns: Sequence[int]) -> Iterator[RowBlock]:
        """Read the file from its start, giving these columns (positions from 0).

        Raises:
            DataError: it turns out to be damaged.
        """
        with reading(self.path):
            yield from self._read(columns)

    def locate(self, column: str) -> int | None:
        """Position, from 0, of a column given by its name or its position from 1."""
        column = column.strip()
        if column in self.columns:
            return self.columns.index(column)
        if column.isdecimal() and 1 <= int(column) <= len(self.columns):
            return int(column) - 1
        return None

    def require(self, column: str) -> int:
        """Like `locate`.

        Raises:
            DataError: there is no such column; it names some that there are.
        """
        if (position := self.locate(column)) is None:
            raise DataError(f"file {self.path}: has no column {column!r}; {self.hint(column)}.")
        return position

    def hint(self, wanted: str) -> str:
        """What columns there are, in words."""
        return columns_hint(self.columns, self.has_header, wanted)


def columns_hint(columns: Sequence[str], has_header: bool, wanted: str) -> str:
    """What columns there are, in words: those most like `wanted` first."""
    if not has_header:
        return f"it has no header line and {len(columns)} columns, counted from 1"
    alike = get_close_matches(wanted, columns, n=3, cutoff=0.5)
    few = list(dict.fromkeys([*alike, *columns]))[:6]
    return f"it has {len(columns)}, among them " + ", ".join(map(repr, few))


def unique_names(names: Sequence[str]) -> tuple[str, ...]:
    """Column names, stripped; an empty one becomes its position, a second `x` becomes `x (2)`."""
    unique: list[str] = []
    seen: Counter[str] = Counter()
    for position, name in enumerate((name.strip() for name in names), start=1):
        name = name or str(position)
        seen[name] += 1
        unique.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return tuple(unique)


def trimmed(array: pa.Array) -> pa.Array:
    """Text cells without surrounding white space; those of nothing else are missing."""
    text = pc.ascii_trim_whitespace(array)
    return pc.if_else(pc.equal(text, ""), pa.scalar(None, pa.string()), text)

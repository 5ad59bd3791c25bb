"""Whom the rows of Arrow columns are about, and when they were."""

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from monitor.ingest.arrow_fields import is_scalar, is_text, plain_value, value_type
from monitor.ingest.cells import distinct
from monitor.ingest.identity import LONGEST_NAME, identity_text

Codes = NDArray[np.int32]


class EntityNames:
    """Entities by number, each name once."""

    def __init__(self) -> None:
        self._codes = {"": -1}

    @property
    def names(self) -> list[str]:
        """The name of each number."""
        return list(self._codes)[1:]

    def encode(self, columns: Sequence[pa.Array], count: int) -> Codes:
        """(n,) numbers of the first name that each of n rows has in some columns; -1 for none."""
        codes = np.full(count, -1, np.int32)
        for column in columns:
            nameless = codes < 0
            if not nameless.any():
                break
            codes = np.where(nameless, self._encode(column), codes)
        return codes

    def _encode(self, column: pa.Array) -> Codes:
        kind = value_type(column)
        if not is_scalar(kind):
            return np.full(len(column), -1, np.int32)
        values, positions = distinct(column)
        names = [name[:LONGEST_NAME] for name in _names(values)]
        for name in names:
            if name not in self._codes:
                self._codes[name] = len(self._codes) - 1
        numbers = np.empty(len(names) + 1, np.int32)
        numbers[:-1] = np.fromiter(map(self._codes.__getitem__, names), np.int32, len(names))
        numbers[-1] = -1  # of null, which is at -1
        return numbers[positions]


def _names(values: pa.Array) -> list[str]:
    """Each value as a name, empty where it is none."""
    if is_text(values.type) and not values.null_count:
        texts: list[str] = values.to_pylist()
        return texts
    return [identity_text(plain_value(value)) or "" for value in values]


class Times(Sequence[Any]):
    """Times of rows that follow one another in several columns; read only when they are asked for.

    Args:
        columns: of each part its column, or how many rows it has where there is none.
    """

    def __init__(self, columns: Sequence[pa.Array | int]) -> None:
        self._columns = columns
        lengths = (c if isinstance(c, int) else len(c) for c in columns)
        self._starts = list(accumulate(lengths, initial=0))

    def __len__(self) -> int:
        return self._starts[-1]

    def __getitem__(self, position: Any) -> Any:
        if isinstance(position, slice):
            return [self[n] for n in range(*position.indices(len(self)))]
        if not 0 <= position < len(self):
            raise IndexError(position)
        part = bisect_right(self._starts, position) - 1
        column = self._columns[part]
        return (
            None if isinstance(column, int) else plain_value(column[position - self._starts[part]])
        )

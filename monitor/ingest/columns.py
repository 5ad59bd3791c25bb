"""Columns of arrow arrays become vectors, and of the rows that are none it is said why."""

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from monitor.batch import Indices, Matrix
from monitor.features import Feature, FeatureSpec
from monitor.ingest.arrow_fields import is_scalar, value_type
from monitor.ingest.cells import Cells, Fault, booleans, categories, numbers
from monitor.ingest.json_document import excerpt
from monitor.reasons import Reason

Encode = Callable[[str], int]
Convert = Callable[[Feature, pa.Array, Encode], Cells]
Refusal = tuple[int, Reason, str]
"""A row, why it is no vector, and what is wrong with it."""

_REASONS = {
    Fault.NOT_FINITE: Reason.NOT_FINITE,
    Fault.MISSING: Reason.MISSING_FEATURE,
    Fault.WRONG_TYPE: Reason.WRONG_TYPE,
    Fault.OUT_OF_RANGE: Reason.OUT_OF_RANGE,
}
# Which fault of a row counts is as in the stream: a record with NaN is no JSON to begin with, then
# comes `select`, missing features are noticed before types are, and all that from the first on.
_GOOD = 9
_NOT_SELECTED = 1
_PRECEDENCE = np.array([_GOOD, 0, 2, 3, 3], dtype=np.int64)  # by Fault


def convert(feature: Feature, column: pa.Array, encode: Encode) -> Cells:
    """A feature's column by the rules for files, which read text leniently."""
    if feature.kind == "numeric":
        return numbers(column)
    return booleans(column) if feature.kind == "boolean" else categories(column, encode)


class ColumnReader:
    """Reads columns by a spec.

    Args:
        encode: of each feature in spec order, a category to its code.
        convert: how a column becomes numbers.
    """

    def __init__(
        self, spec: FeatureSpec, encode: Sequence[Encode], convert: Convert = convert
    ) -> None:
        self._spec, self._encode, self._convert = spec, encode, convert

    def read(
        self, columns: Sequence[pa.Array | None], selected: NDArray[np.bool_]
    ) -> tuple[Matrix, NDArray[np.bool_], Iterator[Refusal]]:
        """Read n rows.

        Args:
            columns: of each feature in spec order; None where there is none.
            selected: (n,), which rows the spec selects.

        Returns:
            (n, f) values, (n,) which of them are vectors, and each row that is refused.
        """
        count = len(selected)
        values = np.empty((count, len(self._spec)), dtype=np.float32)
        faults: dict[int, NDArray[np.uint8]] = {}
        for i, column in enumerate(columns):
            cells = self.cells(i, column, count)
            values[:, i] = cells.values
            if cells.faults is not None:
                faults[i] = cells.faults
        verdict, culprit = _judge(faults, selected)

        def refusals() -> Iterator[Refusal]:
            for row in np.flatnonzero((verdict != _GOOD) & (verdict != _NOT_SELECTED)).tolist():
                i = int(culprit[row])
                yield row, *self._explain(i, Fault(faults[i][row]), columns[i], row)

        return values, verdict == _GOOD, refusals()

    def cells(self, i: int, column: pa.Array | None, count: int) -> Cells:
        """A feature's n numbers, its default where one is missing, and what is wrong with them."""
        feature = self._spec.features[i]
        if column is None:
            missing = Cells(np.zeros(count), np.full(count, Fault.MISSING, dtype=np.uint8))
            return self._with_default(i, missing)
        return self._with_default(i, self._convert(feature, column, self._encode[i]))

    def _with_default(self, i: int, cells: Cells) -> Cells:
        default = self._spec.features[i].default
        if cells.faults is None or default is None:
            return cells
        missing = cells.faults == Fault.MISSING
        if not missing.any():
            return cells
        value = float(self._encode[i](default) if isinstance(default, str) else default)
        faults = np.where(missing, np.uint8(Fault.NONE), cells.faults)
        return Cells(np.where(missing, value, cells.values), faults if faults.any() else None)

    def _explain(
        self, i: int, fault: Fault, column: pa.Array | None, row: int
    ) -> tuple[Reason, str]:
        feature = self._spec.features[i]
        cell = "" if column is None else _shown(column, row)
        expected = _EXPECTED[feature.kind]
        error = {
            Fault.MISSING: f"{feature.name!r} is missing",
            Fault.NOT_FINITE: f"{feature.name!r} is {cell}, not a finite number",
            Fault.WRONG_TYPE: f"{feature.name!r} is {cell}, expected {expected}",
            Fault.OUT_OF_RANGE: f"{feature.name!r} is {cell}, beyond float32",
        }[fault]
        return _REASONS[fault], error


def _shown(column: pa.Array, row: int) -> str:
    """A cell for an error text, by its type alone where Python may have no value for it.

    A date or a duration may lie beyond what Python's types hold, in lists and structs as well.
    """
    if is_scalar(value_type(column)):
        return excerpt(str(column[row]))
    return excerpt(str(column.type))


_EXPECTED = {
    "numeric": "a number",
    "boolean": "true or false",
    "categorical": "text, a number or a boolean",
}


def _judge(
    faults: Mapping[int, NDArray[np.uint8]], selected: NDArray[np.bool_]
) -> tuple[Indices, Indices]:
    """What becomes of each row, as a rank, and the feature to blame where it is refused."""
    verdict = np.where(selected, _GOOD, _NOT_SELECTED)
    culprit = np.zeros(len(selected), dtype=np.int64)
    for i, column_faults in faults.items():
        rank = _PRECEDENCE[column_faults]
        worse = rank < verdict
        verdict[worse], culprit[worse] = rank[worse], i
    return verdict, culprit

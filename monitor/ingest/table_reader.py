"""Rows of a table become vectors: a column at a time, and row by row only those that fail."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from monitor.batch import Decoded, Reject, VectorBatch
from monitor.errors import DataError
from monitor.features import Feature, FeatureSpec
from monitor.ingest.cells import mask, texts
from monitor.ingest.columns import ColumnReader
from monitor.ingest.tables import Malformed, RowBlock, Table
from monitor.ingest.vocabulary import CategoryCodes
from monitor.reasons import Reason


class TableReader:
    """Reads a table by a spec.

    Args:
        codes: of each feature in spec order.
        label_column: its name or its position counted from 1.

    Raises:
        DataError: the table lacks the label column, or one of a feature without default.
    """

    def __init__(
        self,
        table: Table,
        spec: FeatureSpec,
        codes: Sequence[CategoryCodes],
        label_column: str | None = None,
    ) -> None:
        self._table = table
        self._spec = spec
        self._reader = ColumnReader(spec, [code.get for code in codes])
        self._features = locate_features(table, spec)
        self._selected = {table.require(path): value for path, value in spec.select.items()}
        self._label = locate_label(table, spec, self._features, label_column)
        columns = {*self._features, *self._selected, self._label}
        self._wanted = sorted(column for column in columns if column is not None)

    def read(self) -> Iterator[tuple[Decoded, list[str] | None]]:
        """Blocks of consecutive rows, and the label of each vector where there is a label column.

        Rows are counted from 0, without header and blank lines.
        """
        for block in self._table.blocks(self._wanted):
            columns = dict(zip(self._wanted, block.columns, strict=True))
            decoded, good = self._decode(block, columns)
            yield decoded, self._labels(columns, good)

    def _decode(
        self, block: RowBlock, columns: Mapping[int, pa.Array]
    ) -> tuple[Decoded, NDArray[np.bool_]]:
        features = [None if column is None else columns[column] for column in self._features]
        selected = self._is_selected(columns, len(block.rows))
        values, good, refusals = self._reader.read(features, selected)
        rejects = [Reject(int(block.rows[row]), reason, error) for row, reason, error in refusals]
        not_selected = len(good) - int(good.sum()) - len(rejects)
        rejects += [self._refuse_malformed(row) for row in block.malformed]
        rejects.sort(key=lambda reject: reject.row)
        batch = VectorBatch(values[good], block.rows[good])
        return Decoded(batch, rejects, not_selected), good

    def _is_selected(self, columns: Mapping[int, pa.Array], count: int) -> NDArray[np.bool_]:
        selected = np.ones(count, dtype=bool)
        for column, value in self._selected.items():
            selected &= mask(pc.equal(texts(columns[column]).dictionary_decode(), value))
        return selected

    def _labels(self, columns: Mapping[int, pa.Array], good: NDArray[np.bool_]) -> list[str] | None:
        if self._label is None:
            return None
        cells = texts(columns[self._label]).dictionary_decode().fill_null("")
        labels: list[str] = cells.filter(pa.array(good)).to_pylist()
        return labels

    def _refuse_malformed(self, row: Malformed) -> Reject:
        error = f"a row of {len(row.cells)} cells, the file has {len(self._table.columns)} columns"
        return Reject(row.row, Reason.WRONG_LENGTH, error)


def locate_features(table: Table, spec: FeatureSpec) -> list[int | None]:
    """Column, from 0, of each feature; None where its default stands for it in every row.

    With a header columns are found by the features' paths, without one by their `column` or a path
    that is a position.

    Raises:
        DataError: a feature without default has no column, or no feature has one.
    """
    found = [_locate(table, feature) for feature in spec.features]
    for feature, column in zip(spec.features, found, strict=True):
        if column is None and (feature.default is None or not any(c is not None for c in found)):
            raise DataError(
                f"file {table.path}: has no column {_wanted(table, feature)!r}, which the spec "
                f"{spec.name!r} needs; {table.hint(feature.path)}."
            )
    return found


def locate_label(
    table: Table, spec: FeatureSpec, features: Sequence[int | None], label_column: str | None
) -> int | None:
    """Column, from 0, of the label, where there is one.

    Raises:
        DataError: it is not there, or is a feature.
    """
    if label_column is None:
        return None
    label = table.require(label_column)
    if label in features:
        refuse_label(table.path, spec, spec.names[features.index(label)])
    return label


def refuse_label(path: Path, spec: FeatureSpec, feature: str) -> NoReturn:
    """Refuse a label that a detector would learn from."""
    raise DataError(
        f"file {path}: its label column is the feature {feature!r} of the spec {spec.name!r}, "
        "which would give the answer away; take it out of the spec."
    )


def _locate(table: Table, feature: Feature) -> int | None:
    if table.has_header:
        return table.columns.index(feature.path) if feature.path in table.columns else None
    return table.locate(_wanted(table, feature))


def _wanted(table: Table, feature: Feature) -> str:
    by_position = not table.has_header and feature.column is not None
    return str(feature.column) if by_position else feature.path

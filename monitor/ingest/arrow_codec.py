"""Arrow IPC streams become vectors: one record of Kafka holds many, as named columns.

A record is a stream (schema, then record batches) or an IPC file. Columns are found by name as the
fields of a JSON event are, in any order; others are passed over. Rows mean what they would mean as
JSON, so both formats give the same vectors. What Arrow adds: a struct stands for a nested object, a
dictionary for its values, a timestamp for a time, a decimal for a number.

The common case is a few calls of Arrow a record: plain columns are copied into a matrix at once,
and looked at one by one only if something in it is null, not finite or too large.
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from monitor.batch import Decoded, EventIdentity, Matrix, Origins, Reject, VectorBatch
from monitor.features import Feature, FeatureSpec
from monitor.ingest.arrow_fields import (
    Fields,
    Plan,
    column_at,
    is_scalar,
    is_text,
    plain_value,
    plan,
    value_type,
)
from monitor.ingest.arrow_origins import EntityNames, Times
from monitor.ingest.arrow_stream import Claims, refusing, stream_of
from monitor.ingest.cells import Cells, Fault, categories, mask, numbers
from monitor.ingest.columns import ColumnReader, Encode, convert
from monitor.ingest.identity import IdentityReader
from monitor.ingest.json_document import RecordError
from monitor.ingest.limits import Limits, claimed

_FLOAT32_MAX = np.finfo(np.float32).max
_PLANS_KEPT = 16
_ONE_THREAD = pa.ipc.IpcReadOptions(use_threads=False)


@dataclass(frozen=True, slots=True)
class _Part:
    """The selected rows of one record batch.

    Attributes:
        within: (n,) positions in the record.
        columns: those that the plan needs.
    """

    record: int
    matrix: Matrix
    within: NDArray[np.int32]
    plan: Plan
    columns: pa.RecordBatch


class ArrowCodec:
    """Decodes Arrow by one spec and the vocabularies of its categorical features.

    Args:
        vocabularies: known values of each feature in spec order, empty where not categorical.
        read_origins: also read who each vector is about, and when it was.
    """

    def __init__(
        self,
        spec: FeatureSpec,
        vocabularies: Sequence[Sequence[str]],
        limits: Limits = Limits(),  # noqa: B008
        read_origins: bool = False,
    ) -> None:
        self.spec = spec
        self._limits, self._read_origins = limits, read_origins
        self._encode: list[Encode] = [_encoder(words) for words in vocabularies]
        self._numeric = spec.columns_of("numeric")
        self._others = spec.columns_of("categorical", "boolean")
        self._stand_ins = (
            [i if i in self._numeric else self._numeric[0] for i in range(len(spec))]
            if self._numeric
            else []
        )
        self._identity = IdentityReader(spec.identity)
        self._reader = ColumnReader(spec, self._encode, _convert)
        self._plans: dict[bytes, Plan] = {}
        self._last: tuple[bytes, list[pa.RecordBatch], Fields] | None = None

    def decode(self, values: Sequence[bytes | None]) -> Decoded:
        """Decode records; one with a row that is no vector is one reject.

        Which rows `select` passes over is decided first, so that nothing else is asked of them.
        """
        parts: list[_Part] = []
        rejects, not_selected = [], 0
        for row, value in enumerate(values):
            read = self._record(row, value)
            if isinstance(read, Reject):
                rejects.append(read)
                continue
            parts += read[0]
            not_selected += read[1]
        return Decoded(self._batch(parts), rejects, not_selected)

    def identify(self, value: bytes, within: int = -1) -> EventIdentity:
        """Read one row of a record that decoded: who and when it was, and its values."""
        batches, fields = self._reread(value)
        starts = list(accumulate(map(len, batches), initial=0))
        n = bisect_right(starts, within) - 1

        def get(path: str) -> object:
            location = fields.find(path)
            return (
                None
                if location is None
                else plain_value(column_at(batches[n], location)[within - starts[n]])
            )

        found = map(get, self.spec.paths)
        observed = (
            feature.default if value is None else value
            for feature, value in zip(self.spec.features, found, strict=True)
        )
        return self._identity.read(tuple(observed), get)

    def _reread(self, value: bytes) -> tuple[list[pa.RecordBatch], Fields]:
        """A record that decoded; the last one is kept, as anomalies come together."""
        if self._last is None or self._last[0] is not value:
            reader = pa.ipc.open_stream(stream_of(value), options=_ONE_THREAD)
            self._last = value, list(reader), Fields(reader.schema, self.spec.unwrap)
        return self._last[1:]

    def _record(self, row: int, value: bytes | None) -> tuple[list[_Part], int] | Reject:
        """The parts of a record, and how many of its rows are not selected."""
        claims = Claims()
        try:
            value = self._limits.check_value(value)
            with refusing():
                claims.read(value)
                self._limits.check_claims(claims.vectors, len(self.spec), claims.decoded_bytes)
                parts = list(self._parts(row, value, claims))
        except RecordError as error:
            return Reject(row, error.reason, error.error, claimed(claims.vectors))
        return parts, claims.vectors - sum(len(part.matrix) for part in parts)

    def _parts(self, record: int, value: bytes, claims: Claims) -> Iterator[_Part]:
        reader = pa.ipc.open_stream(stream_of(value), options=_ONE_THREAD)
        plan, start = self._plan(claims.schema, reader), 0
        all_columns = tuple(range(len(reader.schema)))
        for batch in reader:
            columns = batch.select(plan.needed) if plan.needed != all_columns else batch
            columns.validate(full=True)
            within = np.arange(start, start + len(columns), dtype=np.int32)
            start += len(columns)
            if plan.selected:
                kept = self._is_selected(plan, columns)
                columns, within = columns.filter(pa.array(kept)), within[kept]
            matrix = self._plain_matrix(plan, columns)
            if matrix is None:
                matrix = self._matrix(plan, columns, within, claims.vectors)
            yield _Part(record, matrix, within, plan, columns)

    def _plan(self, schema: bytes, reader: pa.RecordBatchReader) -> Plan:
        """How to read batches of a schema; producers use few, again and again."""
        if (known := self._plans.get(schema)) is not None:
            return known
        if len(self._plans) >= _PLANS_KEPT:
            self._plans.clear()
        return self._plans.setdefault(schema, plan(reader.schema, self.spec, self._identity))

    def _is_selected(self, plan: Plan, columns: pa.RecordBatch) -> NDArray[np.bool_]:
        kept = np.ones(len(columns), bool)
        for location, wanted in plan.selected:
            if location is None:
                return np.zeros(len(columns), bool)
            kept &= _categories(column_at(columns, location), _encoder([wanted])).values == 1
        return kept

    def _plain_matrix(self, plan: Plan, columns: pa.RecordBatch) -> Matrix | None:
        """(n, f) of the rows of a batch; None where some value needs a second look."""
        if not plan.plain:
            return None
        matrix = self._plain_numbers(columns)
        for i in self._others:
            cells = self._reader.cells(i, columns.column(i), len(matrix))
            if cells.faults is not None:
                return None
            matrix[:, i] = cells.values
        if not _is_sound(matrix):
            self._fill_nulls(matrix, columns)
        return matrix if _is_sound(matrix) else None

    def _plain_numbers(self, columns: pa.RecordBatch) -> Matrix:
        """(n, f) with numeric features where they belong, null as NaN, and any number elsewhere."""
        if not self._numeric:
            return np.zeros((len(columns), len(self.spec)), np.float32)
        tensor = columns.select(self._stand_ins).to_tensor(null_to_nan=True, row_major=True)
        with np.errstate(over="ignore"):
            matrix: Matrix = tensor.to_numpy().astype(np.float32, copy=False)
        return matrix

    def _fill_nulls(self, matrix: Matrix, columns: pa.RecordBatch) -> None:
        """Put defaults where numbers are null."""
        for i in self._numeric:
            column, default = columns.column(i), self.spec.features[i].default
            if column.null_count and default is not None:
                matrix[mask(column.is_null()), i] = default

    def _matrix(
        self, plan: Plan, columns: pa.RecordBatch, within: NDArray[np.int32], rows: int
    ) -> Matrix:
        """(n, f) of the rows of a batch, a column at a time.

        Raises:
            RecordError: a row is no vector; the first one is named.
        """
        features = [None if at is None else column_at(columns, at) for at in plan.features]
        values, _, refusals = self._reader.read(features, np.ones(len(columns), bool))
        for row, reason, error in refusals:
            raise RecordError(reason, f"row {within[row] + 1} of {rows}: {error}")
        return values

    def _batch(self, parts: Sequence[_Part]) -> VectorBatch:
        if len(parts) == 1:
            values, within = parts[0].matrix, parts[0].within
        else:
            values = np.concatenate(
                [np.empty((0, len(self.spec)), np.float32)] + [p.matrix for p in parts]
            )
            within = np.concatenate([np.empty(0, np.int32)] + [p.within for p in parts])
        records = np.array([part.record for part in parts], np.int64)
        rows = np.repeat(records, [len(part.matrix) for part in parts])
        return VectorBatch(
            values, rows, self._origins(parts) if self._read_origins else None, within
        )

    def _origins(self, parts: Sequence[_Part]) -> Origins:
        entities = EntityNames()
        codes = [np.empty(0, np.int32)]
        for part in parts:
            named = [column_at(part.columns, at) for at in part.plan.entities]
            codes.append(entities.encode(named, len(part.matrix)))
        times = [
            len(part.matrix) if part.plan.time is None else column_at(part.columns, part.plan.time)
            for part in parts
        ]
        return Origins(np.concatenate(codes), entities.names, Times(times))


def _is_sound(matrix: Matrix) -> bool:
    """Whether all numbers are finite and so small that nothing was cut off."""
    most = _FLOAT32_MAX
    return not matrix.size or bool(matrix.min() > -most and matrix.max() < most)


def _encoder(words: Sequence[str]) -> Encode:
    codes = {word: code for code, word in enumerate(words, start=1)}
    return lambda word: codes.get(word, 0)


def _convert(feature: Feature, column: pa.Array, encode: Encode) -> Cells:
    """A feature's column by the rules for records, where text is neither number nor boolean."""
    kind = value_type(column)
    if not is_scalar(kind) or (feature.kind != "categorical" and is_text(kind)):
        return _without_values(column, Fault.WRONG_TYPE)
    if feature.kind == "categorical":
        return _categories(column, encode)
    return convert(feature, _decoded(column), encode)


def _categories(column: pa.Array, encode: Encode) -> Cells:
    """Codes of scalars as text; a number that is none is no category either."""
    if not is_scalar(value_type(column)):
        return _without_values(column, Fault.WRONG_TYPE)
    cells = categories(column, encode)
    if pa.types.is_floating(value_type(column)):
        numbers_faults = numbers(_decoded(column)).faults
        if numbers_faults is not None and (bad := numbers_faults == Fault.NOT_FINITE).any():
            faults = np.zeros(len(column), np.uint8) if cells.faults is None else cells.faults
            return Cells(cells.values, np.where(bad, np.uint8(Fault.NOT_FINITE), faults))
    return cells


def _decoded(column: pa.Array) -> pa.Array:
    """A column of numbers without a dictionary."""
    return column.dictionary_decode() if pa.types.is_dictionary(column.type) else column


def _without_values(column: pa.Array, fault: Fault) -> Cells:
    faults = np.where(mask(column.is_valid()), np.uint8(fault), np.uint8(Fault.MISSING))
    return Cells(np.zeros(len(column)), faults)

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
from monitor.ingest.limits import Limits

_FLOAT32_MAX = np.finfo(np.float32).max
_PLANS_KEPT = 16
_ONE_THREAD = pa.ipc.IpcReadOptions(use_threads=False)


@dataclass(frozen=True, slots=True)
class _Part:
    """The n selected rows of one record batch.

    Attributes:
        within: (n,) positions in the record.
        columns: those that the plan needs.
    """

    record: int
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
        Room is made at once for all vectors that the records claim to hold: how many records may
        be decoded together `monitor.ingest.pieces` says.
        """
        claims = [self._claims(row, value) for row, value in enumerate(values)]
        claimed_rows = sum(claim.vectors for claim in claims if isinstance(claim, Claims))
        block = np.empty((claimed_rows, len(self.spec)), np.float32)
        parts: list[_Part] = []
        rejects, used = [], 0
        passed_over: dict[int, int] = {}
        for row, claim in enumerate(claims):
            read = (
                claim
                if isinstance(claim, Reject)
                else self._record(row, values[row] or b"", claim, block[used:])
            )
            if isinstance(read, Reject):
                rejects.append(read)
                continue
            taken = sum(len(part.within) for part in read)
            parts += read
            used += taken
            if claim.vectors > taken:
                passed_over[row] = claim.vectors - taken
        batch = self._batch(block[:used], parts)
        return Decoded(batch, rejects, sum(passed_over.values()), passed_over)

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

    def _claims(self, row: int, value: bytes | None) -> Claims | Reject:
        """What a record says of itself, if it may be loaded."""
        claims = Claims()
        try:
            value = self._limits.check_value(value)
            with refusing():
                claims.read(value)
            self._limits.check_claims(claims.vectors, len(self.spec), claims.decoded_bytes)
        except RecordError as error:
            return Reject(row, error.reason, error.error, self._limits.counted(claims.vectors))
        return claims

    def _record(
        self, row: int, value: bytes, claims: Claims, block: Matrix
    ) -> Sequence[_Part] | Reject:
        """The parts of a record, whose vectors then are the first ones of the block."""
        try:
            with refusing():
                return list(self._parts(row, value, claims, block))
        except RecordError as error:
            return Reject(row, error.reason, error.error, self._limits.counted(claims.vectors))

    def _parts(self, record: int, value: bytes, claims: Claims, block: Matrix) -> Iterator[_Part]:
        reader = pa.ipc.open_stream(stream_of(value), options=_ONE_THREAD)
        plan, start = self._plan(claims.schema, reader), 0
        all_columns = tuple(range(len(reader.schema)))
        for batch in filter(len, reader):
            columns = batch.select(plan.needed) if plan.needed != all_columns else batch
            columns.validate(full=True)
            within = np.arange(start, start + len(columns), dtype=np.int32)
            start += len(columns)
            if plan.selected:
                kept = self._is_selected(plan, columns)
                columns, within = columns.filter(pa.array(kept)), within[kept]
            matrix, block = block[: len(columns)], block[len(columns) :]
            if not (plan.plain and self._read_plain(columns, matrix)):
                matrix[:] = self._matrix(plan, columns, within, claims.vectors)
            yield _Part(record, within, plan, columns)

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

    def _read_plain(self, columns: pa.RecordBatch, matrix: Matrix) -> bool:
        """Write plain columns into an (n, f) matrix; False where some value needs a second look."""
        if self._numeric:  # they where they belong, null as NaN, and one of them at other places
            whole = not self._others and columns.num_columns == len(self.spec)
            numbers = columns if whole else columns.select(self._stand_ins)
            with np.errstate(over="ignore"):
                matrix[:] = numbers.to_tensor(null_to_nan=True, row_major=True).to_numpy()
        for i in self._others:
            cells = self._reader.cells(i, columns.column(i), len(matrix))
            if cells.faults is not None:
                return False
            matrix[:, i] = cells.values
        if not _is_sound(matrix):
            self._fill_nulls(matrix, columns)
        return _is_sound(matrix)

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

    def _batch(self, values: Matrix, parts: Sequence[_Part]) -> VectorBatch:
        within = np.concatenate([np.empty(0, np.int32), *(part.within for part in parts)])
        records = np.array([part.record for part in parts], np.int64)
        rows = np.repeat(records, [len(part.within) for part in parts])
        origins = self._origins(parts) if self._read_origins else None
        return VectorBatch(values, rows, origins, within)

    def _origins(self, parts: Sequence[_Part]) -> Origins:
        entities = EntityNames()
        codes = [np.empty(0, np.int32)]
        for part in parts:
            named = [column_at(part.columns, at) for at in part.plan.entities]
            codes.append(entities.encode(named, len(part.within)))
        times = [
            len(part.within) if part.plan.time is None else column_at(part.columns, part.plan.time)
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

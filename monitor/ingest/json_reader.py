"""JSON records become vectors one by one: what decides of each record what it is.

    reader = RecordReader(spec, codes)
    found = reader.read(values, range(len(values)))

A record is parsed to a document, its features are taken out by one C-level getter, and the types
of all records are checked at once. Only one that fails that is looked at feature by feature, to
say what is wrong with it.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import repeat
from operator import itemgetter
from typing import Any

import numpy as np

from monitor.batch import Indices, Matrix, Origins, Reject, VectorBatch
from monitor.features import Feature, FeatureSpec
from monitor.ingest.identity import LONGEST_NAME, IdentityReader, entity_name
from monitor.ingest.json_document import RecordError, excerpt, find, parse_document, scalar_text
from monitor.ingest.json_shape import wrapper_of
from monitor.ingest.json_values import booleans, check, default, numbers, texts
from monitor.reasons import Reason

DEFAULT_MAX_RECORD_BYTES = 1_048_576
DOCUMENTS_KEPT = 16
LOOKED_AT_ONE_BY_ONE = 16
"""So few rows, of which some do not fit, are sooner looked at feature by feature."""


class NotSelected(Exception):  # noqa: N818  # an outcome, not an error
    """The spec's `select` passes this record over."""


@dataclass(frozen=True, slots=True)
class Part:
    """Some of the vectors of a micro-batch.

    Attributes:
        rows: (n,) ascending.
        names, times: of each, where origins are read: whom it is about and when it was.
    """

    rows: Indices
    values: Matrix
    names: Sequence[str | None] = ()
    times: Sequence[Any] = ()


@dataclass(slots=True)
class Found:
    """What records are, one by one.

    Attributes:
        rows, features: of those that may be vectors, the features still of any JSON type.
        documents: the first few of them.
        passed_over: rows that the spec does not select.
    """

    rows: list[int] = field(default_factory=list)
    features: list[Sequence[Any]] = field(default_factory=list)
    names: list[str | None] = field(default_factory=list)
    times: list[Any] = field(default_factory=list)
    documents: list[Any] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)
    passed_over: list[int] = field(default_factory=list)


class RecordReader:
    """Reads records by a spec.

    Args:
        codes: of the values of each feature, empty where it is not categorical.
        max_record_bytes: larger values are refused unread.
        read_origins: also read who each vector is about, and when it was.
    """

    def __init__(
        self,
        spec: FeatureSpec,
        codes: Sequence[Mapping[str, int]],
        max_record_bytes: int = DEFAULT_MAX_RECORD_BYTES,
        read_origins: bool = False,
    ) -> None:
        self.spec, self.identity = spec, IdentityReader(spec.identity)
        self._codes, self._max_record_bytes = codes, max_record_bytes
        self._read_origins = read_origins
        self._get_all: Callable[[Any], Any] = itemgetter(*spec.paths)
        self._get_origin: Callable[[Any], Any] = itemgetter(*self.identity.usual_paths)
        self._numeric = np.array(spec.columns_of("numeric"), dtype=np.intp)
        self._others = spec.columns_of("categorical", "boolean")

    def read(self, values: Sequence[bytes | None], rows: Iterable[int]) -> tuple[Part, Found]:
        """Some rows of a micro-batch: the vectors, and what became of all of them."""
        found = Found()
        for row in rows:
            try:
                document = parse_document(values[row], self._max_record_bytes)
                found.features.append(self.features(document))
            except NotSelected:
                found.passed_over.append(row)
            except RecordError as error:
                found.rejects.append(Reject(row, error.reason, error.error))
            else:
                found.rows.append(row)
                if len(found.documents) < DOCUMENTS_KEPT:
                    found.documents.append(document)
                if self._read_origins:
                    name, time = self._origin(document)
                    found.names.append(name)
                    found.times.append(time)
        return self._part(found), found

    def encode(self, feature: int, values: Sequence[Any]) -> Matrix:
        """The values of a categorical feature to (n,) codes, 0 for unknown ones.

        Raises:
            RecordError: some value is no scalar; which one is not said.
        """
        codes = map(self._codes[feature].get, texts(values), repeat(0))
        return np.fromiter(codes, np.float32, len(values))

    def features(self, document: Any) -> Sequence[Any]:
        """A document to its features in spec order, still of any JSON type."""
        if isinstance(document, list):
            if len(document) != len(self.spec):
                raise RecordError(
                    Reason.WRONG_LENGTH,
                    f"an array of {len(document)} elements, the spec has {len(self.spec)} features",
                )
            if None in document:
                return [default(*pair) for pair in zip(document, self.spec.features, strict=True)]
            return document
        if not isinstance(document, dict):
            raise RecordError(
                Reason.WRONG_SHAPE, f"neither an object nor an array: {excerpt(document)}"
            )
        event = self.unwrap(document)
        for path, wanted in self.spec.select.items():
            if scalar_text(find(event, path)) != wanted:
                raise NotSelected
        try:
            found = self._get_all(event)
        except KeyError:
            return [self._find_feature(event, feature) for feature in self.spec.features]
        found = found if len(self.spec) > 1 else (found,)
        if None in found:
            return [self._find_feature(event, feature) for feature in self.spec.features]
        return found

    def unwrap(self, document: dict[str, Any]) -> dict[str, Any]:
        """The event of a document."""
        wrapper = wrapper_of(document, self.spec.unwrap)
        return document if wrapper is None else document[wrapper]

    def _find_feature(self, event: dict[str, Any], feature: Feature) -> Any:
        return default(find(event, feature.path), feature)

    def _origin(self, document: Any) -> tuple[str | None, Any]:
        """Who a document that is a vector is about, and its time as it stands there.

        The entity is the one that `monitor.contracts.detection.subjects` names first.
        """
        if type(document) is not dict:
            return None, None
        event = self.unwrap(document) if self.spec.unwrap else document
        timed = self.identity.time_path
        try:
            entity, time = self._get_origin(event)
        except KeyError:
            entity = None
        if type(entity) is str and entity:
            return entity[:LONGEST_NAME], time if timed else None
        name = entity_name(find(event, path) for path in self.identity.entity_paths)
        return name, find(event, timed) if timed else None

    def _part(self, found: Found) -> Part:
        """Convert all rows at once; where that fails, halve, so that one bad row costs little."""
        good: list[tuple[Sequence[int], Matrix]] = []
        pending: list[Sequence[int]] = [range(len(found.rows))]
        while pending:
            chosen = pending.pop()
            try:
                good.append((chosen, self._convert([found.features[n] for n in chosen])))
            except RecordError:
                if len(chosen) <= LOOKED_AT_ONE_BY_ONE:
                    pending.append([n for n in chosen if self._fits(found, n)])
                else:
                    middle = len(chosen) // 2
                    pending += [chosen[middle:], chosen[:middle]]
        kept = [n for chosen, _ in good for n in chosen]
        return Part(
            np.array([found.rows[n] for n in kept], np.int64),
            np.concatenate([matrix for _, matrix in good] or [self._convert([])]),
            [found.names[n] for n in kept] if self._read_origins else (),
            [found.times[n] for n in kept] if self._read_origins else (),
        )

    def _fits(self, found: Found, n: int) -> bool:
        """Whether a row can be converted; where it cannot, it becomes a reject."""
        try:
            for value, feature in zip(found.features[n], self.spec.features, strict=True):
                check(value, feature)
        except RecordError as error:
            found.rejects.append(Reject(found.rows[n], error.reason, error.error))
            return False
        return True

    def _convert(self, features: Sequence[Sequence[Any]]) -> Matrix:
        """Rows of JSON values to (n, f) float32.

        Raises:
            RecordError: some value does not fit its feature; which one is not said.
        """
        matrix = np.empty((len(features), len(self.spec)), dtype=np.float32)
        if not features:
            return matrix
        if len(self._others) == 0:
            matrix[:] = numbers(features, len(self.spec))
            return matrix
        columns = list(zip(*features, strict=True))
        if len(self._numeric):
            numeric = [columns[i] for i in self._numeric]
            matrix[:, self._numeric] = numbers(numeric, len(features)).T
        for i in self._others:
            boolean = self.spec.features[i].kind == "boolean"
            matrix[:, i] = booleans(columns[i]) if boolean else self.encode(i, columns[i])
        return matrix


def joined(parts: Sequence[Part], origins: bool) -> VectorBatch:
    """The vectors of all parts, in the order of their rows."""
    parts = [part for part in parts if len(part.rows)] or parts[:1]
    rows = np.concatenate([part.rows for part in parts])
    values = np.concatenate([part.values for part in parts])
    names = [name for part in parts for name in part.names]
    times = [time for part in parts for time in part.times]
    if len(parts) > 1:
        order = np.argsort(rows)
        rows, values = rows[order], values[order]
        if origins:
            names = [names[n] for n in order.tolist()]
            times = [times[n] for n in order.tolist()]
    return VectorBatch(values, rows, _origins(names, times) if origins else None)


def _origins(names: Sequence[str | None], times: Sequence[Any]) -> Origins:
    distinct = [name for name in dict.fromkeys(names) if name is not None]
    codes: dict[str | None, int] = {name: code for code, name in enumerate(distinct)}
    codes[None] = -1
    entities = np.fromiter(map(codes.__getitem__, names), np.int32, len(names))
    return Origins(entities, distinct, times)

"""JSON records become vectors.

A record is an object of named features, an array in spec order, or any event that the spec can find
its fields in. Objects may nest; a field is looked up by its literal key first, then as a dotted
path.

The common case is fast: a record is parsed once, its features are taken out by one C-level getter,
and the types of a whole micro-batch are checked at once. Only a record that fails that is looked at
feature by feature, to say what is wrong with it.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, repeat
from operator import itemgetter
from typing import Any

import numpy as np
import orjson

from monitor.batch import Decoded, EventIdentity, Indices, Matrix, Origins, Reject, VectorBatch
from monitor.features import Feature, FeatureSpec
from monitor.ingest.identity import IdentityReader, identity_text
from monitor.ingest.json_document import (
    RecordError,
    excerpt,
    find,
    parse_document,
    scalar_text,
)
from monitor.reasons import Reason

DEFAULT_MAX_RECORD_BYTES = 1_048_576
LONGEST_NAME = 256
"""Characters of an entity's name that tell it from others: as many as an alert shows."""
FLOAT32_MAX = float(np.finfo(np.float32).max)


class NotSelected(Exception):  # noqa: N818  # an outcome, not an error
    """The spec's `select` passes this record over."""


@dataclass
class _Rows:
    """What has been read of a micro-batch so far."""

    rows: list[int] = field(default_factory=list)
    features: list[Sequence[Any]] = field(default_factory=list)
    origins: list[tuple[str | None, Any]] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)
    not_selected: int = 0


class JsonCodec:
    """Decodes JSON by one spec and the vocabularies of its categorical features.

    Args:
        vocabularies: known values of each feature in spec order, empty where not categorical.
        max_record_bytes: larger values are refused unread.
        read_origins: also read who each vector is about, and when it was.
    """

    def __init__(
        self,
        spec: FeatureSpec,
        vocabularies: Sequence[Sequence[str]],
        max_record_bytes: int = DEFAULT_MAX_RECORD_BYTES,
        read_origins: bool = False,
    ) -> None:
        self.spec = spec
        self._max_record_bytes = max_record_bytes
        self._codes: list[Mapping[str, int]] = [
            {value: code for code, value in enumerate(words, start=1)} for words in vocabularies
        ]
        self._identity = IdentityReader(spec.identity)
        self._read_origins = read_origins
        self._get_all: Callable[[Any], Any] = itemgetter(*spec.paths)
        self._get_origin: Callable[[Any], Any] = itemgetter(*self._identity.usual_paths)
        self._numeric = np.array(spec.columns_of("numeric"), dtype=np.intp)
        self._others = spec.columns_of("categorical", "boolean")

    def decode(self, values: Sequence[bytes | None]) -> Decoded:
        """Decode the values of a micro-batch; bad input becomes rejects, never an exception."""
        read = _Rows()
        for row, value in enumerate(values):
            try:
                document = parse_document(value, self._max_record_bytes)
                read.features.append(self._features(document))
                read.rows.append(row)
                if self._read_origins:
                    read.origins.append(self._origin(document))
            except NotSelected:
                read.not_selected += 1
            except RecordError as error:
                read.rejects.append(Reject(row, error.reason, error.error))
        batch = self._matrix(read)
        rejects = sorted(read.rejects, key=lambda reject: reject.row)
        return Decoded(batch, rejects, read.not_selected)

    def identify(self, value: bytes, within: int = -1) -> EventIdentity:  # noqa: ARG002
        """Read again a record that decoded: who and when it was, and its values as they stand."""
        document = orjson.loads(value)
        if not isinstance(document, dict):
            return EventIdentity(tuple(self._features(document)))
        event = self._unwrap(document)
        return self._identity.read(
            tuple(self._features(document)),
            lambda path: find(event, path),
        )

    def _origin(self, document: Any) -> tuple[str | None, Any]:
        """Who a document that is a vector is about, and its time as it stands there.

        The entity is the one that `monitor.contracts.alert.subjects` names first.
        """
        if type(document) is not dict:
            return None, None
        event = self._unwrap(document) if self.spec.unwrap else document
        try:
            entity, time = self._get_origin(event)
        except KeyError:
            entity = None
        if type(entity) is str and entity:
            return entity[:LONGEST_NAME], time
        identity = self._identity
        texts = (identity_text(find(event, path)) for path in identity.entity_paths)
        time = find(event, identity.time_path) if identity.time_path else None
        name = next(filter(None, texts), None)
        return name and name[:LONGEST_NAME], time

    def _features(self, document: Any) -> Sequence[Any]:
        """A document to its features in spec order, still of any JSON type."""
        if isinstance(document, list):
            if len(document) != len(self.spec):
                raise RecordError(
                    Reason.WRONG_LENGTH,
                    f"an array of {len(document)} elements, the spec has {len(self.spec)} features",
                )
            if None in document:
                return [_default(*pair) for pair in zip(document, self.spec.features, strict=True)]
            return document
        if not isinstance(document, dict):
            raise RecordError(
                Reason.WRONG_SHAPE, f"neither an object nor an array: {excerpt(document)}"
            )
        event = self._unwrap(document)
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

    def _unwrap(self, document: dict[str, Any]) -> dict[str, Any]:
        for key in self.spec.unwrap:
            inner = document.get(key)
            if isinstance(inner, dict):
                return inner
        return document

    def _find_feature(self, event: dict[str, Any], feature: Feature) -> Any:
        return _default(find(event, feature.path), feature)

    def _matrix(self, read: _Rows) -> VectorBatch:
        """Convert all rows at once; where that fails, halve, so that one bad row costs little."""
        good: list[tuple[list[int], Matrix]] = []
        pending = [(read.rows, read.features)]
        while pending:
            rows, features = pending.pop()
            try:
                good.append((rows, self._convert(features)))
            except RecordError:
                if len(rows) == 1:
                    read.rejects.append(self._explain_reject(rows[0], features[0]))
                    continue
                middle = len(rows) // 2
                pending.append((rows[middle:], features[middle:]))
                pending.append((rows[:middle], features[:middle]))
        values = np.concatenate([matrix for _, matrix in good] or [self._convert([])])
        kept = np.array([r for rows, _ in good for r in rows], dtype=np.int64)
        return VectorBatch(values, kept, self._origins(read, kept) if self._read_origins else None)

    def _origins(self, read: _Rows, rows: Indices) -> Origins:
        """The origins of these (n,) rows, which are among those read."""
        origins = read.origins
        if len(rows) < len(origins):
            origins = [origins[n] for n in np.searchsorted(read.rows, rows)]
        codes: dict[str | None, int] = {None: -1}
        entities = [codes.setdefault(entity, len(codes) - 1) for entity, _ in origins]
        names = [name for name in codes if name]
        timed = self._identity.time_path is not None
        times = [time for _, time in origins] if timed else [None] * len(origins)
        return Origins(np.array(entities, np.int32), names, times)

    def _explain_reject(self, row: int, features: Sequence[Any]) -> Reject:
        for value, feature in zip(features, self.spec.features, strict=True):
            try:
                _check(value, feature)
            except RecordError as error:
                return Reject(row, error.reason, error.error)
        raise AssertionError("a row that cannot be converted has a value that does not fit")

    def _convert(self, features: Sequence[Sequence[Any]]) -> Matrix:
        """Rows of JSON values to (n, f) float32.

        Raises:
            RecordError: some value does not fit its feature; which one is not said.
        """
        matrix = np.empty((len(features), len(self.spec)), dtype=np.float32)
        if not features:
            return matrix
        if len(self._others) == 0:
            matrix[:] = _numbers(features, len(self.spec))
            return matrix
        columns = list(zip(*features, strict=True))
        if len(self._numeric):
            numeric = [columns[i] for i in self._numeric]
            matrix[:, self._numeric] = _numbers(numeric, len(features)).T
        for i in self._others:
            matrix[:, i] = self._encode(i, columns[i])
        return matrix

    def _encode(self, feature: int, values: Sequence[Any]) -> Matrix:
        """The values of a boolean or categorical feature to (n,) float32."""
        if self.spec.features[feature].kind == "boolean":
            try:
                return np.fromiter(map(_BOOLEANS.__getitem__, values), np.float32, len(values))
            except (KeyError, TypeError):
                raise RecordError(Reason.WRONG_TYPE, "not a boolean") from None
        texts = values if set(map(type, values)) == {str} else map(_category, values)
        codes = map(self._codes[feature].get, texts, repeat(0))
        return np.fromiter(codes, np.float32, len(values))


def _numbers(rows: Sequence[Sequence[Any]], width: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Equally long rows of JSON numbers to a finite matrix that float32 can hold."""
    if not set(map(type, chain.from_iterable(rows))) <= {int, float}:
        raise RecordError(Reason.WRONG_TYPE, "not a number")
    try:
        flat = np.fromiter(chain.from_iterable(rows), np.float64, len(rows) * width)
    except OverflowError:
        raise RecordError(Reason.OUT_OF_RANGE, "beyond float32") from None
    if len(flat) and not np.abs(flat).max() <= FLOAT32_MAX:
        raise RecordError(Reason.OUT_OF_RANGE, "beyond float32")
    return flat.reshape(len(rows), width)


def _check(value: Any, feature: Feature) -> None:
    """Refuse a value that does not fit its feature's kind, naming both."""
    if feature.kind == "categorical":
        _category(value, feature.name)
    elif feature.kind == "boolean":
        _boolean(value, feature.name)
    elif type(value) not in (int, float):
        raise RecordError(
            Reason.WRONG_TYPE, f"{feature.name!r} is {excerpt(value)}, expected a number"
        )
    elif not math.isfinite(value):
        raise RecordError(Reason.NOT_FINITE, f"{feature.name!r} is {value}")
    elif abs(value) > FLOAT32_MAX:
        raise RecordError(
            Reason.OUT_OF_RANGE, f"{feature.name!r} is {excerpt(value)}, beyond float32"
        )


def _default(value: Any, feature: Feature) -> Any:
    if value is not None:
        return value
    if feature.default is None:
        raise RecordError(Reason.MISSING_FEATURE, f"{feature.name!r} is missing")
    return feature.default


def _category(value: Any, name: str = "") -> str:
    """A JSON scalar as the text that vocabularies hold."""
    text = scalar_text(value)
    if text is None:
        raise RecordError(
            Reason.WRONG_TYPE,
            f"{name!r} is {excerpt(value)}, expected text, a number or a boolean",
        )
    return text


_BOOLEANS = {True: 1.0, False: 0.0}


def _boolean(value: Any, name: str = "") -> float:
    """true, false, 1 and 0 (equal keys of one mapping) to 1.0 and 0.0."""
    try:
        return _BOOLEANS[value]
    except (KeyError, TypeError):
        raise RecordError(
            Reason.WRONG_TYPE, f"{name!r} is {excerpt(value)}, expected true or false"
        ) from None

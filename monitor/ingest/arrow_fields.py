"""Where in Arrow record batches the fields of a spec are, and their values as plain Python ones."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa

from monitor.features import FeatureSpec, Kind
from monitor.ingest.identity import IdentityReader
from monitor.ingest.json_document import RecordError
from monitor.reasons import Reason

Location = tuple[int, ...]
"""Position of a column and, in structs, those of the children below it."""

_UNITS_PER_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}


@dataclass(frozen=True, slots=True)
class Plan:
    """How batches of one schema are read by a spec.

    Attributes:
        needed: positions in the batch of the columns to keep, all that are ever looked at; what
            follows refers to these.
        features: of each feature in spec order; None where the schema lacks it.
        selected: what the spec selects by, and the value wanted.
        entities: what may name whom a vector is about, first choice first.
        plain: whether the needed columns begin with the features in order, each of a type that
            needs no second look.
    """

    needed: tuple[int, ...]
    features: tuple[Location | None, ...]
    selected: tuple[tuple[Location | None, str], ...]
    entities: tuple[Location, ...]
    time: Location | None
    plain: bool


def plan(schema: pa.Schema, spec: FeatureSpec, identity: IdentityReader) -> Plan:
    """How to read batches of this schema.

    Raises:
        RecordError: a column that is needed stands twice.
    """
    fields = Fields(schema, spec.unwrap)
    needed: dict[int, int] = {}

    def place(path: str | None) -> Location | None:
        if path is None or (found := fields.find(path)) is None:
            return None
        return needed.setdefault(found[0], len(needed)), *found[1:]

    features = tuple(map(place, spec.paths))
    for path in spec.identity.fields:
        place(path)
    named = map(place, identity.entity_paths)
    return Plan(
        features=features,
        selected=tuple((place(path), value) for path, value in spec.select.items()),
        entities=tuple(location for location in named if location is not None),
        time=place(identity.time_path),
        plain=all(
            location == (i,) and _is_plain(schema.field(list(needed)[i]).type, feature.kind)
            for i, (location, feature) in enumerate(zip(features, spec.features, strict=True))
        ),
        needed=tuple(needed),
    )


class Fields:
    """The fields of a schema by path, as those of a JSON event: literally first, then nested."""

    def __init__(self, schema: pa.Schema, unwrap: Sequence[str] = ()) -> None:
        self._tree = _Level(list(schema))
        self._inside = next(filter(None, map(self._tree.level, unwrap)), None)

    def find(self, path: str) -> Location | None:
        """Where a path leads; None if nowhere.

        Raises:
            RecordError: to two columns of one name.
        """
        if self._inside is None:
            return self._tree.find(path)
        found = self._inside[1].find(path)
        return found and (self._inside[0], *found)


class _Level:
    """Sibling fields."""

    def __init__(self, fields: Sequence[pa.Field]) -> None:
        self._fields = fields
        self._positions: Mapping[str, int] = {f.name: i for i, f in enumerate(fields)}
        self._unique = len(self._positions) == len(fields)

    def level(self, name: str) -> "tuple[int, _Level] | None":
        """The fields of a struct, and its position."""
        position = self._position(name)
        if position is None or not pa.types.is_struct(self._fields[position].type):
            return None
        return position, _Level(list(self._fields[position].type))

    def find(self, path: str) -> Location | None:
        if (position := self._position(path)) is not None:
            return (position,)
        head, _, rest = path.partition(".")
        if not rest or (inner := self.level(head)) is None:
            return None
        found = inner[1].find(rest)
        return found and (inner[0], *found)

    def _position(self, name: str) -> int | None:
        if not self._unique and sum(field.name == name for field in self._fields) > 1:
            raise RecordError(Reason.DUPLICATE_KEY, f"two columns are named {name!r}")
        return self._positions.get(name)


def column_at(batch: pa.RecordBatch, location: Location) -> pa.Array:
    """The column there; a child is null where its struct is."""
    column = batch.column(location[0])
    for child in location[1:]:
        column = column.flatten()[child]
    return column


def value_type(column: pa.Array) -> pa.DataType:
    """The type of the values, in a dictionary or not."""
    return column.type.value_type if pa.types.is_dictionary(column.type) else column.type


def is_text(kind: pa.DataType) -> bool:
    """Whether values of this type are text."""
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def is_scalar(kind: pa.DataType) -> bool:
    """Whether JSON has a scalar for values of this type: text, a number or a boolean."""
    types = pa.types
    number = types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind)
    return bool(number or types.is_boolean(kind) or is_text(kind))


def plain_value(scalar: pa.Scalar) -> Any:
    """A value as JSON would have it, None if it would not; a timestamp as seconds since 1970."""
    kind = scalar.type
    if pa.types.is_dictionary(kind):
        return plain_value(scalar.value)
    if pa.types.is_timestamp(kind):
        return None if scalar.value is None else scalar.value / _UNITS_PER_SECOND[kind.unit]
    value = scalar.as_py() if is_scalar(kind) else None
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, float) and kind in (pa.float16(), pa.float32()):
        return float(str(np.float32(value)))  # the shortest text that means this float32
    return value


def _is_plain(kind: pa.DataType, feature: Kind) -> bool:
    """Whether a column of this type can be read whole."""
    types = pa.types
    if feature == "numeric":
        return bool(types.is_integer(kind) or kind in (pa.float32(), pa.float64()))
    if feature == "boolean":
        return bool(types.is_boolean(kind) or types.is_integer(kind))
    kind = kind.value_type if types.is_dictionary(kind) else kind
    return is_text(kind) or bool(types.is_integer(kind))

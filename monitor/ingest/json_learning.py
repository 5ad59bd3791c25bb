"""The layout of a producer's JSON records, learnt from a few of them.

    layout = learn(spec, identity, documents)

The documents say which keys there are and which of them hold objects; the spec says what is wanted.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from struct import Struct
from typing import Annotated, Any, Literal, Union

import msgspec
import numpy as np
from msgspec import UNSET
from msgspec.structs import astuple

from monitor.features import Feature, FeatureSpec
from monitor.ingest.identity import IdentityReader
from monitor.ingest.json_layout import NO_NUMBER, Layout, Numbers, ObjectLayout, Other
from monitor.ingest.json_shape import Keys, Location, NoLayoutError, keys_of, locate, wrapper_of
from monitor.ingest.json_values import FLOAT32_MAX

OTHER_KEYS = 64
"""So many keys are learnt beside those of the spec: nobody can make all records slow with more."""

_INTEGER = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
"""Beyond these, parsers differ in what is an integer."""
_SCALAR: Any = Union[None, bool, _INTEGER, float, str]  # noqa: UP007  # a value, no annotation
_ANY: Any = Union[_SCALAR, list[_SCALAR]]  # noqa: UP007
_PLAINEST: dict[str, Any] = {
    "numeric": float,
    "boolean": Union[bool, float],  # noqa: UP007
    "categorical": Union[str, _INTEGER, float],  # noqa: UP007
}
_AS_IT_STANDS: dict[str, Any] = _PLAINEST | {
    "numeric": Union[_INTEGER, float],  # noqa: UP007
    "boolean": Union[bool, _INTEGER, float],  # noqa: UP007
}


@dataclass(slots=True)
class _Field:
    """What a value that is no object is for.

    Attributes:
        features: by position in the spec.
        wanted: the text that it must be for a record to be selected.
        identifies: whether it is asked for as it stands.
    """

    features: dict[int, Feature] = field(default_factory=dict)
    wanted: str | None = None
    identifies: bool = False

    @property
    def kind(self) -> str | None:
        """Of the features that it is."""
        kinds = {feature.kind for feature in self.features.values()}
        if len(kinds) > 1 or (self.wanted is not None and kinds - {"categorical"}):
            raise NoLayoutError(kinds)
        return next(iter(kinds), None)

    @property
    def is_number(self) -> bool:
        return self.kind in ("numeric", "boolean")

    @property
    def required(self) -> bool:
        defaults = [feature.default for feature in self.features.values()]
        return None in defaults or self.wanted is not None

    @property
    def type(self) -> Any:
        if self.wanted is not None:
            return Literal[self.wanted]
        types = _AS_IT_STANDS if self.identifies else _PLAINEST
        return types[self.kind] if self.kind else _ANY

    @property
    def definition(self) -> tuple[Any, ...]:
        """As msgspec has it."""
        stand_in = NO_NUMBER if self.is_number else UNSET
        return (self.type,) if self.required else (self.type, stand_in)


def learn(
    spec: FeatureSpec,
    identity: IdentityReader | None,
    documents: Sequence[dict[str, Any]],
    known: Layout | None = None,
    afresh: bool = True,
) -> Layout | None:
    """The layout of documents like the first; None where they have none that can be told apart.

    Args:
        identity: also read who each vector is about, and when it was.
        documents: of records that are vectors.
        known: the layout so far; returned where there is nothing to add to it.
        afresh: forget the keys of the layout so far.
    """
    wrapper = wrapper_of(documents[0], spec.unwrap)
    base = () if wrapper is None else (wrapper,)
    old = (known.keys or {}) if known and known.base == base and not afresh else {}
    most = len(spec) + len(spec.select) + len(spec.identity.fields) + OTHER_KEYS
    keys = keys_of(documents, spec.unwrap, old, most)
    if known and keys == known.keys:
        return known
    try:
        return _Learner(spec, keys, base).layout(identity)
    except NoLayoutError:
        return learn(spec, identity, documents) if old else None


def layout_of_arrays(spec: FeatureSpec) -> Layout:
    """The layout of arrays of the features in spec order."""
    fields = [_Field({i: feature}) for i, feature in enumerate(spec.features)]
    numbers = spec.columns_of("numeric", "boolean")
    root = ObjectLayout(
        rows=lambda parsed: parsed,
        width=0,
        numbers=_numbers([fields[i] for i in numbers], numbers, len(spec)),
        numbers_kept={},
        others=[Other(i, [(i, None)], None, False) for i in spec.columns_of("categorical")],
        objects={},
    )
    types = tuple(found.type for found in fields)
    parse = msgspec.json.Decoder(tuple.__class_getitem__(types)).decode
    return Layout(parse, root, len(spec), absent={})


class _Learner:
    """Finds the fields of a spec among keys, and makes types and layouts of both."""

    def __init__(self, spec: FeatureSpec, keys: Keys, base: Location) -> None:
        self._spec, self._keys, self._base = spec, keys, base
        self._event = (keys.get(base[0]) or {}) if base else keys
        self._fields: dict[Location, _Field] = {}

    def layout(self, identity: IdentityReader | None) -> Layout:
        """Of records that have these keys and no others."""
        absent = dict(self._place_features())
        for path, wanted in self._spec.select.items():
            if not (place := self._find(path)):
                raise NoLayoutError(path)
            self._fields[place].wanted = wanted
        found = [self._find(path) for path in identity.entity_paths] if identity else []
        entities = [place for place in found if place]
        time = self._find(identity.time_path) if identity and identity.time_path else None
        for place in (*entities, time):
            if place:
                self._fields[place].identifies = True
        kind, root, _ = self._object(self._keys, ())
        parse = msgspec.json.Decoder(kind).decode
        return Layout(parse, root, len(self._spec), absent, entities, time, self._keys, self._base)

    def _place_features(self) -> Iterator[tuple[int, Any]]:
        """Find the fields of features; those that are nowhere, with their defaults."""
        for i, feature in enumerate(self._spec.features):
            if place := self._find(feature.path):
                self._fields[place].features[i] = feature
            elif feature.default is None or not _usable(feature.default):
                raise NoLayoutError(feature.path)
            else:
                yield i, feature.default

    def _find(self, path: str) -> Location | None:
        found = locate(self._event, path)
        if found is None:
            return None
        place = (*self._base, *found)
        self._fields.setdefault(place, _Field())
        return place

    def _object(self, keys: Keys, at: Location) -> tuple[Any, ObjectLayout, bool]:
        """The type and the layout of an object, and whether every record must have it."""
        places = [(*at, key) for key in keys]
        used = [(place, found) for place in places if (found := self._fields.get(place))]
        used.sort(key=lambda leaf: not leaf[1].is_number)
        definitions = {place[-1]: found.definition for place, found in used}
        objects = {}
        for key, inner in keys.items():
            if inner is not None:
                kind, layout, needed = self._object(inner, (*at, key))
                stand_in = None if needed else kind()
                objects[len(definitions)] = layout, stand_in
                definitions[key] = (kind,) if needed else (kind, stand_in)
        required = at == self._base or any(len(found) == 1 for found in definitions.values())
        unused = [key for key in keys if key not in definitions]
        definitions |= dict.fromkeys(unused, _Field().definition)
        return _struct(definitions), _object_layout(used, objects, len(unused)), required


def _usable(default: float | bool | str) -> bool:
    return isinstance(default, str) or abs(default) <= FLOAT32_MAX


def _struct(definitions: Mapping[str, tuple[Any, ...]]) -> Any:
    names = {f"f{i}": key for i, key in enumerate(definitions)}
    return msgspec.defstruct(
        "Object",
        [(name, *definitions[key]) for name, key in names.items()],
        rename=names,
        kw_only=True,
        frozen=True,
        eq=False,
        gc=False,
    )


def _object_layout(
    used: Sequence[tuple[Location, _Field]],
    objects: Mapping[int, tuple[ObjectLayout, Any]],
    unused: int,
) -> ObjectLayout:
    """Of an object with these fields, numbers first, these objects within, and others."""
    numbers = [found for _, found in used if found.is_number]
    width = len(used) + len(objects) + unused
    return ObjectLayout(
        rows=_rows,
        width=width,
        numbers=_numbers(numbers, range(len(numbers)), width),
        numbers_kept={
            place: i
            for i, (place, found) in enumerate(used)
            if found.is_number and found.identifies
        },
        others=[
            Other(
                i,
                [(n, feature.default) for n, feature in found.features.items()],
                place if found.identifies else None,
                not found.required,
            )
            for i, (place, found) in enumerate(used)
            if not found.is_number
        ],
        objects=objects,
        unused=unused,
    )


def _rows(parsed: Sequence[Any]) -> Sequence[Any]:
    return list(map(astuple, parsed))


def _numbers(fields: Sequence[_Field], places: Sequence[int], width: int) -> Numbers | None:
    """Of fields that are numbers, at these places of a row of some width."""
    if not fields:
        return None
    first, k = places[0], len(places)
    contiguous = list(places) == list(range(first, first + k))
    take = itemgetter(slice(first, first + k)) if contiguous else itemgetter(*places)
    features = [(j, n, feature) for j, f in enumerate(fields) for n, feature in f.features.items()]
    defaults = [NO_NUMBER if f.default is None else float(f.default) for _, _, f in features]
    return Numbers(
        take=None if k == width else take,
        pack=Struct(f"{k}d").pack,
        count=k,
        fields=np.array([j for j, _, _ in features], np.int64),
        columns=np.array([n for _, n, _ in features], np.int64),
        defaults=np.array(defaults),
        boolean=[m for m, (_, _, f) in enumerate(features) if f.kind == "boolean"],
    )

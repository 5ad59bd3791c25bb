"""What every format is to the rest: the values of records become arrays, or rejects.

    codec = build_codec(spec, vocabularies, "auto", Limits(), read_origins=True)
    codec.decode(values)

`auto` tells formats apart by the first bytes of each record; what has no known ones is JSON.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import Literal, Protocol

import numpy as np

from monitor.batch import (
    Decoded,
    EventIdentity,
    Indices,
    Matrix,
    Origins,
    Picked,
    VectorBatch,
)
from monitor.errors import SpecError
from monitor.features import FeatureSpec
from monitor.ingest import float32_codec
from monitor.ingest.arrow_codec import ArrowCodec
from monitor.ingest.arrow_stream import FILE_MAGIC, STREAM_MAGIC
from monitor.ingest.float32_codec import Float32Codec
from monitor.ingest.json_codec import JsonCodec
from monitor.ingest.limits import Limits

Format = Literal["json", "arrow", "float32"]


class Codec(Protocol):
    """Decodes records by one spec and the vocabularies of its categorical features."""

    @property
    def spec(self) -> FeatureSpec: ...

    def decode(self, values: Sequence[bytes | None]) -> Decoded:
        """Decode the values of records; bad input becomes rejects, never an exception.

        A record that holds many vectors is one reject, or gives all of them in order.
        """

    def identify(self, value: bytes, within: int = -1) -> EventIdentity:
        """Read again one vector of a record that decoded: who and when it was, and its values.

        Args:
            within: its position in the record; -1 where the record is the vector.
        """


Build = Callable[[FeatureSpec, Sequence[Sequence[str]], Limits, bool], Codec]


@dataclass(frozen=True, slots=True)
class _Entry:
    """A format: how its codec is made, and how its records begin where they can be told apart."""

    build: Build
    magics: tuple[bytes, ...] = ()


def _json(
    spec: FeatureSpec, words: Sequence[Sequence[str]], limits: Limits, read_origins: bool
) -> Codec:
    return JsonCodec(spec, words, limits.max_record_bytes, read_origins)


FORMATS: Mapping[Format, _Entry] = {
    "json": _Entry(_json),
    "arrow": _Entry(ArrowCodec, (STREAM_MAGIC, FILE_MAGIC)),
    "float32": _Entry(Float32Codec, (float32_codec.MAGIC,)),
}
_MAGICS = [(magic, name) for name, entry in FORMATS.items() for magic in entry.magics]
_FIRST_BYTES = {magic[0] for magic, _ in _MAGICS}


def build_codec(
    spec: FeatureSpec,
    vocabularies: Sequence[Sequence[str]],
    format: Format | Literal["auto"] = "auto",
    limits: Limits = Limits(),  # noqa: B008
    read_origins: bool = False,
) -> Codec:
    """The codec of a format, or one that tells formats apart by itself.

    Raises:
        SpecError: the format has no place for what the spec asks for.
    """
    if format != "auto":
        if format == "float32" and (named := spec.columns_of("categorical")):
            raise SpecError(
                f"input.format float32: cannot say the categories of {spec.names[named[0]]!r}, a "
                f"feature of the spec {spec.name!r}; take arrow, or auto."
            )
        return FORMATS[format].build(spec, vocabularies, limits, read_origins)
    codecs = {
        name: entry.build(spec, vocabularies, limits, read_origins)
        for name, entry in FORMATS.items()
    }
    return AutoCodec(spec, codecs)


def format_of(value: bytes | None) -> Format:
    """The format of a record, by how it begins."""
    for magic, name in _MAGICS:
        if value is not None and value.startswith(magic):
            return name
    return "json"


class AutoCodec:
    """Decodes each record by the codec of its format; a micro-batch may hold several."""

    def __init__(self, spec: FeatureSpec, codecs: Mapping[Format, Codec]) -> None:
        self.spec, self._codecs = spec, codecs

    def decode(self, values: Sequence[bytes | None]) -> Decoded:
        """Decode records; vectors are in the order of their records."""
        if surely_json(values):
            return self._codecs["json"].decode(values)
        rows: dict[Format, list[int]] = {}
        for row, value in enumerate(values):
            rows.setdefault(format_of(value), []).append(row)
        if len(rows) == 1:
            return self._codecs[next(iter(rows))].decode(values)
        parts = [
            (np.array(chosen, np.int64), self._codecs[name].decode([values[n] for n in chosen]))
            for name, chosen in rows.items()
        ]
        return merged(parts)

    def identify(self, value: bytes, within: int = -1) -> EventIdentity:
        """Read again one vector of a record that decoded."""
        return self._codecs[format_of(value)].identify(value, within)


def surely_json(values: Sequence[bytes | None]) -> bool:
    """Whether no record can be of a format that has magic bytes; False where one is empty."""
    try:
        first = set(map(itemgetter(0), values))  # type: ignore[arg-type]  # None is caught
    except (TypeError, IndexError):
        return False
    return first.isdisjoint(_FIRST_BYTES)


def merged(parts: Sequence[tuple[Indices, Decoded]]) -> Decoded:
    """Records decoded apart, each with its row in the whole, in the order of the rows."""
    batches = [decoded.batch for _, decoded in parts]
    rows = np.concatenate([where[decoded.batch.rows] for where, decoded in parts])
    order = np.argsort(rows, kind="stable")
    values: Matrix = np.concatenate([batch.values for batch in batches])
    within = np.concatenate(
        [
            np.full(len(batch), -1, np.int32) if batch.within is None else batch.within
            for batch in batches
        ]
    )
    rejects = [
        replace(reject, row=int(where[reject.row]))
        for where, decoded in parts
        for reject in decoded.rejects
    ]
    return Decoded(
        VectorBatch(values[order], rows[order], _origins(batches, order), within[order]),
        sorted(rejects, key=lambda reject: reject.row),
        sum(decoded.not_selected for _, decoded in parts),
        {int(where[row]): n for where, decoded in parts for row, n in decoded.passed_over.items()},
    )


def _origins(batches: Sequence[VectorBatch], order: Indices) -> Origins | None:
    """The origins of several batches put in order."""
    codes: dict[str, int] = {}
    entities, times = [], []
    for batch in batches:
        if (origins := batch.origins) is None:
            return None
        known = [codes.setdefault(name, len(codes)) for name in origins.names]
        entities.append(np.array([*known, -1], np.int32)[origins.entities])
        times += list(origins.times)
    return Origins(np.concatenate(entities)[order], list(codes), Picked(times, order))

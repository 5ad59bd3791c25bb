"""JSON records packed as their producer would send them in volume: many vectors in one record.

    for packed in pack(records, spec, "arrow", rows_per_record=1024):
        producer.send("vectors", packed.value)

What is no vector of the spec, or is not selected by it, follows as the JSON that it is: packed, one
such row would take all those beside it to the dead letters.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

import orjson
import pyarrow as pa

from monitor.batch import Matrix
from monitor.errors import SpecError
from monitor.features import FeatureSpec
from monitor.ingest.codec import Format
from monitor.ingest.float32_codec import header
from monitor.ingest.json_codec import JsonCodec
from monitor.ingest.json_document import find, scalar_text

Event = Mapping[str, Any]


class Packed(NamedTuple):
    """The value of a record, and how many rows went into it."""

    value: bytes
    rows: int


def pack(
    records: Iterable[bytes], spec: FeatureSpec, format: Format, rows_per_record: int
) -> Iterator[Packed]:
    """JSON records in a format, in order but for what cannot be packed.

    Raises:
        SpecError: the format has no place for what the spec asks for.
    """
    if format == "json":
        return (Packed(record, 1) for record in records)
    if format == "float32" and (categorical := spec.columns_of("categorical")):
        raise SpecError(
            f"format float32: cannot say the categories of {spec.names[categorical[0]]!r}, a "
            f"feature of the spec {spec.name!r}; take arrow."
        )
    return _pack(
        iter(records), JsonCodec(spec, [()] * len(spec)), _WRITERS[format], rows_per_record
    )


Write = Callable[[FeatureSpec, Sequence[bytes], Matrix], bytes]


def _pack(
    records: Iterator[bytes], codec: JsonCodec, write: Write, rows_per_record: int
) -> Iterator[Packed]:
    while chunk := list(islice(records, rows_per_record)):
        batch = codec.decode(chunk).batch
        good = batch.rows.tolist()
        if good:
            value = write(codec.spec, [chunk[row] for row in good], batch.values)
            yield Packed(value, len(good))
        for row in sorted(set(range(len(chunk))).difference(good)):
            yield Packed(chunk[row], 1)


def _write_float32(spec: FeatureSpec, records: Sequence[bytes], values: Matrix) -> bytes:  # noqa: ARG001
    return header(spec, len(values)) + values.astype("<f4").tobytes()


def _write_arrow(spec: FeatureSpec, records: Sequence[bytes], values: Matrix) -> bytes:  # noqa: ARG001
    events = [_event(orjson.loads(record), spec) for record in records]
    batch = pa.record_batch(_columns(events, spec))
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    value: bytes = sink.getvalue().to_pybytes()
    return value


_WRITERS: Mapping[str, Write] = {"arrow": _write_arrow, "float32": _write_float32}


def _event(document: Any, spec: FeatureSpec) -> Event:
    if isinstance(document, list):
        return dict(zip(spec.paths, document, strict=True))
    wrapped = (document.get(key) for key in spec.unwrap)
    event: Event = next((inner for inner in wrapped if isinstance(inner, dict)), document)
    return event


def _columns(events: Sequence[Event], spec: FeatureSpec) -> dict[str, pa.Array]:
    """A column for each field of the spec that some event has."""
    kinds = dict(zip(spec.paths, (feature.kind for feature in spec.features), strict=True))
    columns: dict[str, pa.Array] = {}
    for path in dict.fromkeys([*spec.paths, *spec.identity.fields, *spec.select]):
        cells = [find(event, path) for event in events]
        if any(cell is not None for cell in cells):
            columns[path] = _array(cells, kinds.get(path))
    return columns


def _array(cells: Sequence[Any], kind: str | None) -> pa.Array:
    if kind == "boolean":
        return pa.array([None if cell is None else bool(cell) for cell in cells])
    types = set(map(type, cells)) - {type(None)}
    if kind == "categorical" or not types <= {int, float}:
        return pa.array(list(map(scalar_text, cells)), pa.string()).dictionary_encode()
    try:
        return pa.array(cells, pa.int64() if types == {int} else pa.float64())
    except (OverflowError, pa.ArrowInvalid):  # integers that are larger, or have no exact float
        return pa.array([None if cell is None else float(cell) for cell in cells])

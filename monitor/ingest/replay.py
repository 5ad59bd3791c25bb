"""A data file as the JSON records that its producer would have sent.

    for record in vector_records(Path("flows.csv.gz"), spec, label_column="Label"):
        producer.send("vectors", record)

A row of a table becomes an object of the spec's features and identity fields, so that neither a
label nor an ignored column is in it. JSON lines are sent as they are. What is no vector stays none:
text where a number belongs is sent as text, `NaN` as the literal that is no JSON.
"""

import re
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from monitor.features import FeatureSpec, Kind
from monitor.ingest.cells import NUMBER, boolean, texts
from monitor.ingest.formats import JsonLines, open_source
from monitor.ingest.table_reader import locate_features, locate_label
from monitor.ingest.tables import Malformed, RowBlock, Table

# Longer integers are beyond any float: they become `Infinity`, where parsers would differ.
_JSON_NUMBER = r"^-?(0|[1-9][0-9]{0,299})(\.[0-9]+)?([eE][+-]?[0-9]+)?$"


def vector_records(
    path: Path, spec: FeatureSpec, label_column: str | None = None
) -> Iterator[bytes]:
    """The rows of a file as JSON, in order.

    Args:
        label_column: its name or its position counted from 1, for JSON lines a path; it is not
            sent.

    Raises:
        DataError: as `open_vectors` does.
    """
    source = open_source(path, spec)
    if isinstance(source, JsonLines):
        return _lines(source, spec.unwrap, label_column)
    fields = _fields(source, spec, label_column)
    return _rows(source, fields, len(spec))


def _lines(source: JsonLines, unwrap: Sequence[str], label_column: str | None) -> Iterator[bytes]:
    for lines in source.blocks():
        if label_column is None:
            yield from lines
        else:
            yield from (_without(line, label_column.strip(), unwrap) for line in lines)


def _without(line: bytes, label: str, unwrap: Sequence[str]) -> bytes:
    """An event without its label; the same bytes where it has none, or is no event."""
    try:
        document = orjson.loads(line)
    except orjson.JSONDecodeError:
        return line
    if not isinstance(document, dict):
        return line
    events = [document, *(document[key] for key in unwrap if isinstance(document.get(key), dict))]
    removed = [_remove(event, label) for event in events]
    return orjson.dumps(document) if any(removed) else line


def _remove(event: MutableMapping[str, Any], path: str) -> bool:
    """Take out the value under a literal key or, failing that, along a dotted path."""
    if path in event:
        del event[path]
        return True
    head, _, rest = path.partition(".")
    inner = event.get(head) if rest else None
    return isinstance(inner, dict) and _remove(inner, rest)


def _fields(
    table: Table, spec: FeatureSpec, label_column: str | None
) -> dict[str, tuple[int, Kind]]:
    """What a record holds: its keys, and of each the column (from 0) and how to write it."""
    features = locate_features(table, spec)
    label = locate_label(table, spec, features, label_column)
    fields: dict[str, tuple[int, Kind]] = {}
    for path in (*spec.identity.fields, *spec.select):
        column = table.locate(path)
        if column is not None and column != label:
            fields[path] = column, "categorical"
    for feature, column in zip(spec.features, features, strict=True):
        if column is not None:
            fields[feature.path] = column, feature.kind
    return fields


def _rows(table: Table, fields: Mapping[str, tuple[int, Kind]], features: int) -> Iterator[bytes]:
    wanted = sorted({column for column, _ in fields.values()})
    for block in table.blocks(wanted):
        columns = dict(zip(wanted, block.columns, strict=True))
        records = _objects([(key, columns[c], kind) for key, (c, kind) in fields.items()])
        yield from _with_malformed(block, records, features)


def _objects(fields: Sequence[tuple[str, pa.Array, Kind]]) -> list[bytes]:
    """Columns to one JSON object a row, without the keys of missing cells."""
    members = [
        pc.binary_join_element_wise(_quoted(key) + ":", _WRITERS[kind](column), "")
        for key, column, kind in fields
    ]
    joined = pc.binary_join_element_wise(*members, ",", null_handling="skip")
    objects: list[bytes] = (
        pc.binary_join_element_wise("{", joined, "}", "").cast(pa.binary()).to_pylist()
    )
    return objects


def _with_malformed(block: RowBlock, records: list[bytes], features: int) -> Iterator[bytes]:
    if not block.malformed:
        return iter(records)
    numbered = [
        *zip(block.rows.tolist(), records, strict=True),
        *((row.row, _array(row, features)) for row in block.malformed),
    ]
    return (record for _, record in sorted(numbered))


def _array(row: Malformed, features: int) -> bytes:
    """A row whose cells cannot be named, as an array that cannot be taken for a vector."""
    cells: list[str | None] = list(row.cells)
    return orjson.dumps(cells if len(cells) != features else [*cells, None])


def _write_numbers(column: pa.Array) -> pa.Array:
    """JSON numbers where cells are numbers, else JSON text."""
    if pa.types.is_floating(column.type):
        column = column.cast(pa.float64())
    if pa.types.is_temporal(column.type):
        return _write_by_text(column, _quoted)
    text = column.cast(pa.string())
    if pc.all(pc.match_substring_regex(text, _JSON_NUMBER)).as_py() is not False:
        return text
    return _write_by_text(text, _quoted if pa.types.is_boolean(column.type) else _number)


def _write_by_text(column: pa.Array, write: Callable[[str], str]) -> pa.Array:
    encoded = texts(column)
    written = pa.array([write(text) for text in encoded.dictionary.to_pylist()], pa.string())
    return written.take(encoded.indices)


_WRITERS: Mapping[Kind, Callable[[pa.Array], pa.Array]] = {
    "numeric": _write_numbers,
    "boolean": lambda column: _write_by_text(column, _boolean),
    "categorical": lambda column: _write_by_text(column, _quoted),
}


def _number(text: str) -> str:
    if re.fullmatch(_JSON_NUMBER, text):
        return text
    if not re.fullmatch(NUMBER, text, re.ASCII):
        return _quoted(text)
    literal = repr(float(text))
    return {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}.get(literal, literal)


def _boolean(text: str) -> str:
    meaning = boolean(text)
    return _quoted(text) if meaning is None else "true" if meaning else "false"


def _quoted(text: str) -> str:
    return orjson.dumps(text).decode()

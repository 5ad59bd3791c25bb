"""The same rows are the same vectors in every format, and no bytes get past a codec as anything
but vectors and rejects."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.batch import Decoded
from monitor.features import FeatureSpec
from monitor.ingest.codec import build_codec
from monitor.ingest.limits import Limits
from tests.support.formats import arrow_stream, float32_record

SPEC = FeatureSpec.parse(
    {
        "name": "t",
        "select": {"kind": "flow"},
        "identity": {
            "record_id": "uid",
            "event_time": "ts",
            "source_address": "src",
            "source_port": "port",
            "entities": {"sensor": "sensor"},
        },
        "features": [
            {"name": "n", "kind": "numeric"},
            {"name": "inner", "field": "deep.m", "kind": "numeric", "default": -1},
            {"name": "c", "kind": "categorical", "default": "none"},
            {"name": "b", "kind": "boolean"},
        ],
    },
    "t",
)
VOCABULARIES = [(), (), ("x", "none", "6", "true"), ()]
JSON = build_codec(SPEC, VOCABULARIES, "json", read_origins=True)
LIMITS = Limits(max_record_vectors=10_000, max_decoded_bytes=1 << 20)
AUTO = build_codec(SPEC, VOCABULARIES, "auto", LIMITS, read_origins=True)

# Up to here the shortest text of a float32 means no more than a float32 holds.
LARGE = float(np.float32(3.4e38))
numbers = st.sampled_from(
    [
        (pa.float64(), st.floats(-1e39, 1e39)),
        (pa.float32(), st.floats(-LARGE, LARGE, width=32)),
        (pa.int64(), st.integers(-(2**63), 2**63 - 1)),
        (pa.uint64(), st.integers(0, 2**64 - 1)),
        (pa.int8(), st.integers(-128, 127)),
    ]
)
words = st.sampled_from(["x", "y", "none", "", "é" * 300])
texts = st.sampled_from([
    pa.string(), pa.large_string(), pa.dictionary(pa.int8(), pa.string()),
    pa.dictionary(pa.uint32(), pa.large_string()),
]).map(lambda kind: (kind, words))  # fmt: skip
scalars = texts | st.sampled_from([
    (pa.int16(), st.integers(0, 9)),
    (pa.bool_(), st.booleans()),
    (pa.float64(), st.sampled_from([6.0, 0.5, -1e300])),
    (pa.dictionary(pa.int16(), pa.int64()), st.integers(5, 7)),
])  # fmt: skip
booleans = st.sampled_from([
    (pa.bool_(), st.booleans()),
    (pa.int32(), st.integers(0, 1)),
    (pa.float64(), st.sampled_from([0.0, 1.0])),
    (pa.int8(), st.integers(0, 2)),
])  # fmt: skip
COLUMNS = {
    "n": numbers,
    "deep.m": numbers,
    "c": scalars,
    "b": booleans,
    "kind": st.just((pa.string(), st.sampled_from(["flow", "flow", "flow", "dns"]))),
    "uid": scalars,
    "ts": numbers,
    "src": scalars,
    "port": st.just((pa.int32(), st.integers(0, 70_000))),
    "sensor": scalars,
    "other": scalars,
}
SOMETIMES_NULL = {"deep.m", "c", "uid", "ts", "src", "sensor"}


@st.composite
def tables(draw: st.DrawFn) -> pa.Table:
    """A table of a few rows, its columns of drawn types and in a drawn order."""
    count = draw(st.integers(0, 9))
    names = draw(st.permutations(list(COLUMNS)))
    columns = {}
    for name in names:
        kind, values = draw(COLUMNS[name])
        if name in SOMETIMES_NULL and draw(st.booleans()):
            values = st.none() | values
        cells = draw(st.lists(values, min_size=count, max_size=count))
        columns[name] = pa.array(cells, kind)
    if draw(st.booleans()):
        columns["deep"] = pa.StructArray.from_arrays([columns.pop("deep.m")], ["m"])
    return pa.table(columns)


def as_json(table: pa.Table) -> list[bytes]:
    """A record a row; a float32 is written as short as it can be, as producers do."""
    columns = {name: list(map(plain, table[name])) for name in table.column_names}
    rows = [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]
    return [json.dumps(row).encode() for row in rows]


def plain(cell: pa.Scalar) -> Any:
    if isinstance(cell, pa.StructScalar):
        return {name: plain(inner) for name, inner in cell.items()}
    value = cell.as_py()
    return float(str(np.float32(value))) if cell.type == pa.float32() and cell.is_valid else value


def owners(decoded: Decoded) -> list[str | None]:
    origins = decoded.batch.origins
    assert origins is not None
    assert len(set(origins.names)) == len(origins.names)
    return [[*origins.names, None][code] for code in origins.entities.tolist()]


@given(tables(), st.integers(1, 9), st.sampled_from([None, "lz4", "zstd"]))
@settings(max_examples=200, deadline=None)
def test_rows_are_the_same_vectors_in_arrow_as_in_json(
    table: pa.Table, rows_per_batch: int, compression: str | None
) -> None:
    records = as_json(table)
    expected = JSON.decode(records)
    record = arrow_stream(table, rows_per_batch, compression=compression)
    found = AUTO.decode([record])
    if expected.rejects:
        [reject] = found.rejects
        first = expected.rejects[0]
        assert reject.vectors == len(table)
        assert reject.reason == first.reason
        assert reject.error.startswith(f"row {first.row + 1} of {len(table)}: ")
        return
    assert not found.rejects
    assert found.not_selected == expected.not_selected
    np.testing.assert_array_equal(found.batch.values, expected.batch.values)
    assert found.batch.within is not None
    assert found.batch.within.tolist() == expected.batch.rows.tolist()
    assert owners(found) == owners(expected)
    assert found.batch.origins is not None
    assert expected.batch.origins is not None
    assert list(found.batch.origins.times) == list(expected.batch.origins.times)
    for row in expected.batch.rows.tolist():
        assert AUTO.identify(record, row) == JSON.identify(records[row])


def _seeds() -> list[bytes]:
    row = {"n": 1.5, "deep": {"m": 2}, "c": "x", "b": True, "kind": "flow", "ts": 1.7e9}
    rows = [{**row, "src": f"10.0.0.{n % 3}", "uid": f"C{n}", "extra": [n]} for n in range(6)]
    plain = pa.Table.from_pylist(rows)
    encoded = plain
    for name in ("c", "src"):
        at = encoded.column_names.index(name)
        encoded = encoded.set_column(at, name, encoded[name].dictionary_encode())
    numbers = FeatureSpec.parse({"name": "n", "features": [{"name": "n", "kind": "numeric"}]}, "n")
    return [
        arrow_stream(plain, 3),
        arrow_stream(encoded, 4),
        arrow_stream(encoded, 4, compression="zstd"),
        arrow_stream(plain, compression="lz4"),
        *float32_record(numbers, rows),
    ]


SEEDS = _seeds()
NUMBERS = build_codec(
    FeatureSpec.parse({"name": "n", "features": [{"name": "n", "kind": "numeric"}]}, "n"),
    [()],
    "auto",
    LIMITS,
)
changes = st.lists(
    st.tuples(
        st.floats(0, 1, exclude_max=True),
        st.one_of(
            st.binary(min_size=1, max_size=1),
            st.sampled_from([b"\xff" * 8, b"\0" * 8, b"\0" * 7 + b"\x40", b"\xff\xff\xff\x7f"]),
        ),
    ),
    min_size=1,
    max_size=4,
)


def mutated(seed: bytes, changes: Sequence[tuple[float, bytes]], length: float) -> bytes:
    """The bytes with others written over them here and there, and cut."""
    value = bytearray(seed)
    for where, what in changes:
        at = int(where * len(seed))
        value[at : at + len(what)] = what
    return bytes(value[: 1 + int(length * len(value))])


@given(st.sampled_from(SEEDS), changes, st.sampled_from([1.0, 1.0, 1.0, 0.97, 0.5]))
@settings(max_examples=400, deadline=None)
def test_damaged_records_are_rejects_or_vectors(seed: bytes, changes: Any, length: float) -> None:
    value = mutated(seed, changes, length)
    for codec in (AUTO, NUMBERS):
        before = pa.total_allocated_bytes()
        decoded = codec.decode([value])
        assert pa.total_allocated_bytes() - before <= 4 * LIMITS.max_decoded_bytes
        assert not (decoded.rejects and len(decoded.batch))
        assert all(reject.error and reject.vectors >= 1 for reject in decoded.rejects)
        assert np.isfinite(decoded.batch.values).all()
        within = decoded.batch.within
        for n in range(0, len(decoded.batch), 7):
            assert codec.identify(value, -1 if within is None else int(within[n])).observed


@given(
    st.sampled_from([b"\xff\xff\xff\xff", b"ARROW1\0\0", b"\x8aF32ROWS"]), st.binary(max_size=80)
)
@settings(max_examples=200, deadline=None)
def test_bytes_that_only_begin_like_a_record_are_rejects(magic: bytes, rest: bytes) -> None:
    decoded = AUTO.decode([magic + rest])
    assert len(decoded.rejects) == 1

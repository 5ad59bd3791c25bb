"""Whatever the bytes, each record is a vector or a reject, and never an exception."""

import json
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.features import FeatureSpec
from monitor.ingest.json_codec import JsonCodec
from monitor.reasons import Reason

SPEC = FeatureSpec.parse(
    {
        "name": "t",
        "unwrap": ["wrapped"],
        "identity": {
            "event_time": "c",
            "source_address": "src",
            "entities": {"sensor": "deep.src"},
            "destination_address": "dst",
        },
        "features": [
            {"name": "n", "kind": "numeric"},
            {"name": "deep.n", "kind": "numeric", "default": -1},
            {"name": "c", "kind": "categorical", "default": "none"},
            {"name": "b", "kind": "boolean"},
        ],
    },
    "t",
)
CODEC = JsonCodec(SPEC, [(), (), ("x", "y"), ()], read_origins=True)
FIELDS = ["n", "deep", "deep.n", "c", "b", "n ", "src", "dst", "wrapped"]
scalars = (
    st.none() | st.booleans() | st.integers(-(10**400), 10**400) | st.floats() | st.text(max_size=8)
)
documents = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.dictionaries(
            st.sampled_from(FIELDS),
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)
records = st.none() | st.binary(max_size=40) | documents.map(lambda d: json.dumps(d).encode())
vectors = st.tuples(
    st.floats(-3e38, 3e38),
    st.integers(-(2**53), 2**53),
    st.sampled_from("xyz"),
    st.booleans(),
)


@given(st.lists(records, max_size=30))
@settings(max_examples=300, deadline=None)
def test_every_record_is_a_vector_or_a_reject(values: list[bytes | None]) -> None:
    decoded = CODEC.decode(values)
    rows = sorted([*decoded.batch.rows.tolist(), *(reject.row for reject in decoded.rejects)])
    assert rows == list(range(len(values)))
    assert np.isfinite(decoded.batch.values).all()
    assert all(reject.reason in Reason and reject.error for reject in decoded.rejects)
    assert decoded.batch.origins is not None
    assert len(decoded.batch.origins.entities) == len(decoded.batch.origins.times)


@given(st.lists(records, min_size=1, max_size=20))
@settings(max_examples=200, deadline=None)
def test_a_record_decodes_the_same_alone_as_among_others(values: list[bytes | None]) -> None:
    together = CODEC.decode(values)
    by_row = dict(zip(together.batch.rows.tolist(), together.batch.values.tolist(), strict=True))
    reasons = {reject.row: reject.reason for reject in together.rejects}
    for row, value in enumerate(values):
        alone = CODEC.decode([value])
        assert alone.batch.values.tolist() == ([by_row[row]] if row in by_row else [])
        assert [reject.reason for reject in alone.rejects] == (
            [reasons[row]] if row in reasons else []
        )


@given(st.lists(vectors, max_size=10))
@settings(max_examples=200, deadline=None)
def test_an_object_and_an_array_of_the_same_values_are_the_same_vector(rows: list[Any]) -> None:
    objects = [json.dumps(dict(zip(SPEC.names, row, strict=True))).encode() for row in rows]
    arrays = [json.dumps(row).encode() for row in rows]
    as_objects, as_arrays = CODEC.decode(objects), CODEC.decode(arrays)
    assert not as_objects.rejects
    np.testing.assert_array_equal(as_objects.batch.values, as_arrays.batch.values)


@given(st.lists(vectors, min_size=1, max_size=10))
@settings(max_examples=100, deadline=None)
def test_what_decodes_can_be_identified(rows: list[Any]) -> None:
    for row in rows:
        assert CODEC.identify(json.dumps(row).encode()).observed == tuple(
            json.loads(json.dumps(row))
        )


names = st.none() | st.sampled_from(["", "10.0.0.1", "2001:DB8::1", "host"]) | scalars


@given(st.lists(st.tuples(vectors, names, names, names, scalars), min_size=1, max_size=10))
@settings(max_examples=200, deadline=None)
def test_whom_decoding_notes_is_whom_the_event_names_first(rows: list[Any]) -> None:
    events = [
        {"n": n, "deep.n": m, "c": c, "b": b, "src": src, "deep": {"src": deep}, "dst": dst}
        for (n, m, c, b), src, deep, dst, _ in rows
    ]
    values = [json.dumps(event).encode() for event in events]
    decoded = CODEC.decode(values)
    origins = decoded.batch.origins
    assert origins is not None
    for row, code in zip(decoded.batch.rows.tolist(), origins.entities.tolist(), strict=True):
        noted = origins.names[code] if code >= 0 else None
        event = CODEC.identify(values[row])
        candidates = (event.source_address, *event.entities.values(), event.destination_address)
        assert noted == next((name for name in candidates if name), None)

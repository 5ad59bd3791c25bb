"""Records read together, by a layout that was learnt, give what each of them gives alone."""

import json
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.batch import Decoded
from monitor.features import FeatureSpec
from monitor.ingest.json_codec import JsonCodec
from monitor.ingest.json_reader import RecordReader, joined

FEATURES = [
    {"name": "n", "kind": "numeric"},
    {"name": "flow.n", "kind": "numeric", "default": -1},
    {"name": "again", "field": "flow.n", "kind": "numeric", "transform": "linear", "default": 7},
    {"name": "c", "kind": "categorical", "default": "x"},
    {"name": "flow.port", "kind": "categorical"},
    {"name": "b", "kind": "boolean"},
    {"name": "flow.b", "kind": "boolean", "default": True},
    {"name": "tcp.flags", "kind": "categorical", "default": "-"},
]
IDENTITY = {
    "event_time": "n",
    "source_address": "id.src",
    "entities": {"sensor": "sensor", "port": "flow.port"},
    "destination_address": "dst",
}
SELECTIVE = FeatureSpec.parse(
    {
        "name": "selective",
        "unwrap": ["conn", "inner"],
        "select": {"kind": "flow"},
        "identity": IDENTITY,
        "features": FEATURES,
    },
    "t",
)
ALL = FeatureSpec.parse({"name": "all", "unwrap": ["conn"], "features": FEATURES[:1]}, "t")
LITERAL: dict[str, Any] = {
    "kind": "flow", "n": 1, "flow.n": 2.5, "c": "y", "flow.port": 80, "b": True, "flow.b": 0,
    "tcp.flags": "S", "id.src": "10.0.0.1", "sensor": "edge", "dst": "a", "extra": [1, None],
}  # fmt: skip
NESTED: dict[str, Any] = {
    "kind": "flow", "n": 1.5, "flow": {"n": 2, "port": "80", "b": 1, "end": None}, "c": "x",
    "b": 1, "tcp": {"flags": "1b", "syn": True}, "id": {"src": "fe80::1"}, "dst": "b", "more": "",
}  # fmt: skip
SAMPLES = {
    "literal": LITERAL,
    "nested": NESTED,
    "wrapped": {"conn": NESTED, "stamp": "2026"},
    "few": {key: NESTED[key] for key in ("kind", "n", "flow", "b")},
}
SPECS = {"selective": SELECTIVE, "all": ALL}
VOCABULARIES = [(), (), (), ("x", "y", "true", "1.5"), ("80", "443", ""), (), (), ("-", "1b")]


@cache
def readers(spec: str, sample: str) -> tuple[JsonCodec, RecordReader]:
    """What has learnt how a sample is laid out, and what reads records one by one."""
    features = SPECS[spec]
    words = VOCABULARIES[: len(features)]
    codec = JsonCodec(features, words, 10_000, read_origins=True)
    learnt_from = [json.dumps(SAMPLES[sample]).encode()] * 100
    assert len(codec.decode(learnt_from).batch) == 100
    codes = [{word: n for n, word in enumerate(known, 1)} for known in words]
    return codec, RecordReader(features, codes, 10_000, read_origins=True)


def agree(spec: str, sample: str, values: Sequence[bytes | None]) -> int:
    """Compare what values give together and alone; how many were vectors by the layout."""
    codec, reader = readers(spec, sample)
    part, found = reader.read(values, range(len(values)))
    rejects = sorted(found.rejects, key=lambda reject: reject.row)
    codec._pass_over = 0
    same(codec.decode(values), Decoded(joined([part], True), rejects, len(found.passed_over)))
    return len(values) - len(codec._read_known(values, range(len(values)), []))


def same(together: Decoded, alone: Decoded) -> None:
    assert together.rejects == alone.rejects
    assert together.not_selected == alone.not_selected
    np.testing.assert_array_equal(together.batch.rows, alone.batch.rows)
    np.testing.assert_array_equal(together.batch.values, alone.batch.values)
    found, expected = together.batch.origins, alone.batch.origins
    assert found is not None
    assert expected is not None
    assert found.names == expected.names
    assert found.entities.tolist() == expected.entities.tolist()
    assert list(map(repr, found.times)) == list(map(repr, expected.times))


numbers = st.integers(-(2**70), 2**70) | st.integers(-2, 2) | st.floats() | st.just(10**400)
scalars = (
    st.none() | st.booleans() | numbers | st.text(max_size=5) | st.sampled_from(["x", "80", '":'])
)
keys = st.sampled_from(
    ["n", "flow.n", "flow", "c", "port", "flow.port", "b", "flow.b", "tcp", "flags", "tcp.flags",
     "id", "src", "id.src", "sensor", "dst", "kind", "conn", "inner", "extra", "new", "é\n\"", ""]
)  # fmt: skip
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=8,
)


def places(document: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The location of every value in a document."""
    inner = document.items() if isinstance(document, dict) else ()
    return [at, *(place for key, value in inner for place in places(value, (*at, key)))]


@st.composite
def variants(draw: st.DrawFn, sample: dict[str, Any]) -> bytes:
    """A record much like a sample: some values are others, keys are missing, new or twice."""
    document = json.loads(json.dumps(sample))
    for place in draw(st.lists(st.sampled_from(places(sample)[1:]), max_size=2)):
        inside = document
        for key in place[:-1]:
            inside = inside.get(key, {}) if isinstance(inside, dict) else {}
        if isinstance(inside, dict):
            action = draw(st.sampled_from(["change", "change", "remove", "add"]))
            if action == "remove":
                inside.pop(place[-1], None)
            else:
                inside[place[-1] if action == "change" else draw(keys)] = draw(anything)
    separators = draw(st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", "\t: ")]))
    text = json.dumps(document, separators=separators, ensure_ascii=draw(st.booleans()))
    if draw(st.integers(0, 9)) == 0:
        key, value = draw(keys), draw(scalars)
        text = f"{text.rstrip()[:-1]},{json.dumps(key)}:{json.dumps(value)}}}"
    return text.encode("utf-8", "surrogatepass")


@st.composite
def damaged(draw: st.DrawFn, sample: dict[str, Any]) -> bytes:
    """A record with some bytes lost, changed or doubled."""
    value = bytearray(json.dumps(sample).encode())
    for _ in range(draw(st.integers(1, 2))):
        at = draw(st.integers(0, len(value) - 1))
        length = draw(st.integers(0, 8))
        new = draw(st.binary(max_size=2) | st.sampled_from([b'"', b":", b"\\", b",", b"{", b"9"]))
        value[at : at + length] = new + value[at : at + length] * draw(st.integers(0, 2))
    return bytes(value)


@pytest.mark.parametrize("name", SAMPLES)
@pytest.mark.parametrize("spec", SPECS)
@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_variants_of_a_record_are_read_together_as_they_are_alone(
    spec: str, name: str, data: st.DataObject
) -> None:
    sample = SAMPLES[name]
    values = data.draw(st.lists(st.none() | variants(sample) | damaged(sample), max_size=6))
    agree(spec, name, values)


row = st.tuples(
    numbers, numbers, numbers, scalars, scalars, scalars, st.booleans() | numbers, scalars
)


@given(st.lists(row | st.lists(anything, max_size=9), max_size=8))
@settings(max_examples=200, deadline=None)
def test_arrays_are_read_together_as_they_are_alone(rows: list[Any]) -> None:
    agree("selective", "literal", [json.dumps(row).encode() for row in rows])


@pytest.mark.parametrize("name", SAMPLES)
def test_records_that_are_alike_are_read_together(name: str) -> None:
    sample = SAMPLES[name]
    assert agree("selective", name, [json.dumps(sample).encode()] * 10) == 10
    arrays = [b'[1, 2, 3, "x", 80, true, 0, "-"]'] * 10
    assert agree("selective", name, arrays) == 10


@pytest.mark.parametrize("name", SAMPLES)
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"b"', '"\\u0062"'),
        ('"kind": "flow"', '"kind": "flow", "other": {"n": 1}'),
        ('"kind": "flow"', '"kind": "flow", "kind": "flow"'),
        ('"kind": "flow"', '"kind": "flow", "kin\\u0064": "flow"'),
        ('"kind": "flow"', '"kind": "flow", "text": "\\":"'),
        ('"kind": "flow"', '"kind": "dns"'),
        ('"n": 1', '"n": 123456789012345678901'),
        ('"n": 1', '"n": 1e39'),
        ('"n": 1', '"n": -0'),
    ],
)
def test_odd_records_among_others_are_what_they_are_alone(name: str, old: str, new: str) -> None:
    text = json.dumps(SAMPLES[name])
    assert old in text
    odd = text.replace(old, new, 1).encode()
    agree("selective", name, [text.encode()] * 5 + [odd] + [text.encode()] * 5)

"""JSON becomes vectors; whatever is no vector becomes a reject with one of the known reasons."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from monitor.features import FeatureSpec
from monitor.ingest.identity import milliseconds
from monitor.ingest.json_codec import JsonCodec
from monitor.reasons import Reason

SPEC = FeatureSpec.parse(
    {
        "name": "test",
        "unwrap": ["conn"],
        "identity": {
            "record_id": "uid",
            "event_time": "ts",
            "source_address": "id.orig_h",
            "source_port": "id.orig_p",
            "entities": {"device": "host.name"},
        },
        "features": [
            {"name": "a", "kind": "numeric"},
            {"name": "flow.bytes", "kind": "numeric", "default": 0},
            {"name": "proto", "kind": "categorical"},
            {"name": "up", "kind": "boolean"},
        ],
    },
    "test",
)
GOOD = {"a": 1.5, "flow.bytes": 2, "proto": "tcp", "up": True}
CODEC = JsonCodec(SPEC, [(), (), ("tcp", "udp", "6"), ()], max_record_bytes=3_000_000)


def decode(*values: bytes | None) -> tuple[list[list[float]], list[Reason]]:
    decoded = CODEC.decode(values)
    assert len(decoded.batch) + len(decoded.rejects) + decoded.not_selected == len(values)
    return decoded.batch.values.tolist(), [reject.reason for reject in decoded.rejects]


def event(**changes: Any) -> bytes:
    return json.dumps({**GOOD, **changes}).encode()


@pytest.mark.parametrize(
    "value",
    [
        event(),
        event(extra="ignored", more={"x": [1]}),
        b'[1.5, 2, "tcp", true]',
        b'{"a": 1.5, "flow": {"bytes": 2}, "proto": "tcp", "up": 1}',
        b'{"conn": {"a": 1.5, "flow.bytes": 2, "proto": "tcp", "up": true}}',
        b' {"up" : true, "proto":"tcp","flow.bytes":2.0 ,"a":15e-1}\n',
    ],
)
def test_one_vector_can_be_written_in_many_ways(value: bytes) -> None:
    assert decode(value) == ([[1.5, 2.0, 1.0, 1.0]], [])


def test_absent_and_null_features_take_their_default() -> None:
    vectors, rejects = decode(
        b'{"a": 1, "proto": "udp", "up": false}',
        event(**{"flow.bytes": None}),
        b'[1, null, "tcp", true]',
    )
    assert [vector[1] for vector in vectors] == [0, 0, 0]
    assert not rejects


def test_an_unseen_category_is_scored_as_unseen() -> None:
    vectors, rejects = decode(
        event(proto="sctp"), event(proto=6), event(proto=6.0), event(proto=True)
    )
    assert [vector[2] for vector in vectors] == [0, 3, 3, 0]
    assert not rejects


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, Reason.TOMBSTONE),
        (b"", Reason.EMPTY),
        (b" \r\n\t", Reason.EMPTY),
        (b"x" * 3_000_001, Reason.TOO_LARGE),
        (b"\xff\xfe\x00", Reason.NOT_UTF8),
        (b'{"a": "\xc3\x28"}', Reason.NOT_UTF8),
        (event()[:-1], Reason.MALFORMED_JSON),
        (event() + b"{}", Reason.MALFORMED_JSON),
        (b"[" * 200_000, Reason.MALFORMED_JSON),
        (b"hello", Reason.MALFORMED_JSON),
        (b'{"a": 1, "a": 2, "proto": "tcp", "up": true}', Reason.DUPLICATE_KEY),
        (b'{"a" : 1, "a"\t:\t2, "proto":"tcp","up":true}', Reason.DUPLICATE_KEY),
        (
            b'{"a": 1, "flow": {"bytes": 1, "bytes": 2}, "proto": "tcp", "up": 1}',
            Reason.DUPLICATE_KEY,
        ),
        (b"17", Reason.WRONG_SHAPE),
        (b'"text"', Reason.WRONG_SHAPE),
        (b"null", Reason.WRONG_SHAPE),
        (b"[]", Reason.WRONG_LENGTH),
        (b'[1, 2, "tcp"]', Reason.WRONG_LENGTH),
        (json.dumps([0] * 1_000_000).encode(), Reason.WRONG_LENGTH),
        (b'{"proto": "tcp", "up": true}', Reason.MISSING_FEATURE),
        (event(a=None), Reason.MISSING_FEATURE),
        (b'[null, 2, "tcp", true]', Reason.MISSING_FEATURE),
        (event(a="1.5"), Reason.WRONG_TYPE),
        (event(a=True), Reason.WRONG_TYPE),
        (event(a={"value": 1}), Reason.WRONG_TYPE),
        (event(a=[1]), Reason.WRONG_TYPE),
        (event(proto=["tcp"]), Reason.WRONG_TYPE),
        (event(up="yes"), Reason.WRONG_TYPE),
        (event(up=2), Reason.WRONG_TYPE),
        (event(a=float("nan")), Reason.NOT_FINITE),
        (event(a=float("inf")), Reason.NOT_FINITE),
        (event(a=float("-inf")), Reason.NOT_FINITE),
        (event().replace(b"1.5", b"1e999"), Reason.NOT_FINITE),
        (event().replace(b"1.5", b"9" * 400), Reason.NOT_FINITE),
        (event().replace(b"1.5", b"9" * 60), Reason.OUT_OF_RANGE),
        (event(a=1e308), Reason.OUT_OF_RANGE),
        (event(a=-3.5e38), Reason.OUT_OF_RANGE),
    ],
)
def test_bad_input_is_rejected_with_its_reason(value: bytes | None, reason: Reason) -> None:
    assert decode(value) == ([], [reason])


def test_a_reject_says_which_record_which_feature_and_what_was_found() -> None:
    decoded = CODEC.decode([event(), event(a="abc"), event()])
    (reject,) = decoded.rejects
    assert (reject.row, decoded.batch.rows.tolist()) == (1, [0, 2])
    assert "'a'" in reject.error
    assert "abc" in reject.error
    assert "number" in reject.error


@pytest.mark.parametrize("depth", [300, 1_000, 100_000])
@pytest.mark.parametrize("brackets", ["[]", ('{"x":', "}")], ids=str)
@pytest.mark.parametrize("name", ["a", "flow.bytes", "proto", "up", "other"])
def test_nothing_is_nested_too_deeply_to_be_refused(
    name: str, brackets: Sequence[str], depth: int
) -> None:
    opening, closing = brackets
    nested = f"{opening * depth}0{closing * depth}"
    hostile = event(**{name: "here"}).replace(b'"here"', nested.encode())
    vectors, rejects = decode(event(), hostile, event())
    if name == "other" and depth < 100_000:
        assert len(vectors) == 3
    else:
        assert len(vectors) == 2
        assert rejects[0] in {Reason.WRONG_TYPE, Reason.MALFORMED_JSON}


def test_good_records_around_bad_ones_keep_their_rows_and_order() -> None:
    values = [event(a=row) if row % 7 else b"broken" for row in range(100)]
    decoded = CODEC.decode(values)
    assert decoded.batch.rows.tolist() == [row for row in range(100) if row % 7]
    assert decoded.batch.values[:, 0].tolist() == decoded.batch.rows.tolist()
    assert [reject.row for reject in decoded.rejects] == list(range(0, 100, 7))


def test_two_megabytes_of_extra_fields_are_only_extra_fields() -> None:
    assert decode(event(padding="x" * 2_000_000))[1] == []


def test_events_of_another_kind_are_not_selected() -> None:
    spec = FeatureSpec.parse(
        {
            "name": "t",
            "select": {"event_type": "flow"},
            "features": [{"name": "a", "kind": "numeric"}],
        },
        "t",
    )
    decoded = JsonCodec(spec, [()]).decode(
        [b'{"event_type": "flow", "a": 1}', b'{"event_type": "dns"}', b'{"a": 1}', b"broken"]
    )
    assert (len(decoded.batch), decoded.not_selected, len(decoded.rejects)) == (1, 2, 1)


def test_the_identity_of_an_event_is_read_where_the_spec_says() -> None:
    event = (
        b'{"a": 1.5, "flow": {"bytes": 2}, "proto": "tcp", "up": true, "uid": "C1",'
        b' "ts": 1500000000.25, "id.orig_h": "10.0.0.1", "id.orig_p": 4242,'
        b' "host": {"name": "printer"}}'
    )
    identity = CODEC.identify(event)
    assert identity.observed == (1.5, 2, "tcp", True)
    assert identity.record_id == "C1"
    assert identity.event_time_ms == 1_500_000_000_250
    assert (identity.source_address, identity.source_port) == ("10.0.0.1", 4242)
    assert identity.destination_address is None
    assert identity.entities == {"device": "printer"}


@pytest.mark.parametrize(
    "hostile",
    [
        {"uid": ["x"]},
        {"uid": "x" * 100_000},
        {"ts": "soon"},
        {"ts": -1},
        {"ts": {"$date": 1}},
        {"id.orig_p": "9" * 5000},
        {"id.orig_p": -1},
        {"id.orig_p": 70_000},
        {"host": {"name": None}},
        {"host": "printer"},
    ],
)
def test_an_identity_that_cannot_be_understood_is_left_out(hostile: dict[str, Any]) -> None:
    identity = CODEC.identify(event(**hostile))
    assert identity.event_time_ms is None
    assert identity.source_port is None
    assert not identity.entities


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (0, 0),
        (1_500_000_000, 1_500_000_000_000),
        (1_500_000_000.123, 1_500_000_000_123),
        (1_500_000_000_123, 1_500_000_000_123),
        (1_500_000_000_123_456, 1_500_000_000_123),
        (1_500_000_000_123_456_789, 1_500_000_000_123),
        ("1500000000.5", 1_500_000_000_500),
        ("2017-07-14T02:40:00Z", 1_500_000_000_000),
        ("2017-07-14T02:40:00.250000+0000", 1_500_000_000_250),
        ("2017-07-14 02:40:00", 1_500_000_000_000),
        ("2100-01-01T00:00:00Z", 4_102_444_800_000),
        ("yesterday", None),
        (10**400, None),
        (float("nan"), None),
        (True, None),
        (None, None),
    ],
)
def test_times_are_understood_as_producers_write_them(written: Any, expected: int | None) -> None:
    assert milliseconds(written) == expected


def test_all_numeric_specs_and_single_features_decode_too() -> None:
    def matrix(kinds: Sequence[str], *values: bytes) -> list[list[float]]:
        features = [{"name": f"f{i}", "kind": kind} for i, kind in enumerate(kinds)]
        spec = FeatureSpec.parse({"name": "t", "features": features}, "t")
        return JsonCodec(spec, [()] * len(kinds)).decode(values).batch.values.tolist()

    assert matrix(["numeric"], b'{"f0": 3}', b"[4]") == [[3], [4]]
    assert matrix(["boolean"], b'{"f0": true}') == [[1]]
    assert matrix(["numeric", "numeric"], b"[1, 2]", b'{"f1": 4, "f0": 3}') == [[1, 2], [3, 4]]
    assert matrix(["categorical", "categorical"], b'["x", "y"]') == [[0, 0]]


def test_an_empty_micro_batch_decodes_to_nothing() -> None:
    decoded = CODEC.decode([])
    assert decoded.batch.values.shape == (0, 4)
    assert decoded.batch.values.dtype == np.float32


IDENTIFIED = FeatureSpec.parse(
    {
        "name": "flows",
        "unwrap": ["flow"],
        "identity": {
            "event_time": "ts",
            "source_address": "id.src",
            "entities": {"sensor": "sensor"},
            "destination_address": "dst",
        },
        "features": [{"name": "bytes", "kind": "numeric"}],
    },
    "flows",
)


def origins_of(*events: Any) -> list[tuple[str | None, Any]]:
    """The entity and the time that decoding notes of each event that is a vector."""
    codec = JsonCodec(IDENTIFIED, [()], read_origins=True)
    origins = codec.decode([json.dumps(event).encode() for event in events]).batch.origins
    assert origins is not None
    assert len(set(origins.names)) == len(origins.names)
    names = [*origins.names, None]  # -1 is the last
    return [(names[code], time) for code, time in zip(origins.entities, origins.times, strict=True)]


def test_decoding_notes_who_and_when_each_vector_was() -> None:
    found = origins_of(
        {"bytes": 1, "id.src": "10.0.0.1", "ts": 1.5},
        {"bytes": 1, "id": {"src": "10.0.0.2"}, "ts": "2026-01-01"},
        {"flow": {"bytes": 1, "id.src": "10.0.0.1", "ts": 2}},
        {"bytes": 1, "id.src": "", "sensor": "edge", "dst": "10.0.0.9"},
        {"bytes": 1, "id.src": None, "dst": 7, "ts": None},
        {"bytes": 1, "id.src": {"a": 1}},
        [1],
    )
    assert found == [
        ("10.0.0.1", 1.5),
        ("10.0.0.2", "2026-01-01"),
        ("10.0.0.1", 2),
        ("edge", None),
        ("7", None),
        (None, None),
        (None, None),
    ]


def test_names_that_begin_alike_are_one_entity() -> None:
    found = origins_of(
        {"bytes": 1, "id.src": "a" * 256 + "b"},
        {"bytes": 1, "id.src": "a" * 10_000},
        {"bytes": 1, "id": {"src": "a" * 257}},
        {"bytes": 1, "id.src": "a" * 255},
    )
    assert [name for name, _ in found] == ["a" * 256] * 3 + ["a" * 255]


def test_what_is_noted_belongs_to_its_vector_though_others_are_refused() -> None:
    events = [
        {"bytes": "many" if n % 3 == 1 else n, "id.src": f"10.0.0.{n % 4}", "ts": n}
        for n in range(40)
    ]
    kept = [n for n in range(40) if n % 3 != 1]
    assert origins_of(*events) == [(f"10.0.0.{n % 4}", n) for n in kept]


@pytest.mark.parametrize(
    ("value", "error"),
    [
        (b'{"a": NaN, "proto": "tcp"}', "'a' is NaN, not a finite number"),
        (b'{"x": 1, "flow": {"bytes": -Infinity}}', "'bytes' is -Infinity, not a finite number"),
        (b'{"y": {"n": [1e999]}, "a": 1e400}', "1e999 is not a finite number"),
        (b'{"conn": {"a": 1e400}, "b": NaN}', "'a' is 1e400, not a finite number"),
        (b'[NaN, 2, "tcp", true]', "NaN is not a finite number"),
    ],
)
def test_a_number_that_is_not_finite_is_named_with_its_field(value: bytes, error: str) -> None:
    [reject] = CODEC.decode([value]).rejects
    assert (reject.reason, reject.error) == (Reason.NOT_FINITE, error)


def test_a_byte_order_mark_before_a_record_is_passed_over() -> None:
    mark = b"\xef\xbb\xbf"
    values = [mark + event(), event(), mark + b'[1.5, 2, "tcp", true]']
    assert decode(*values) == ([[1.5, 2.0, 1.0, 1.0]] * 3, [])
    assert CODEC.identify(values[0]) == CODEC.identify(values[1])
    twice = event().replace(b"{", b'{"a": 2, ', 1)
    assert decode(mark + twice)[1] == decode(twice)[1] == [Reason.DUPLICATE_KEY]
    assert decode(mark, mark * 2)[1] == [Reason.EMPTY, Reason.MALFORMED_JSON]

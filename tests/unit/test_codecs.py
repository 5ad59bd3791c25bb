"""Every format in the registry gives the same vectors, and `auto` tells them apart."""

import json

import numpy as np
import pytest

from monitor.batch import Decoded
from monitor.errors import SpecError
from monitor.features import FeatureSpec
from monitor.ingest.codec import FORMATS, Codec, build_codec, format_of
from monitor.ingest.limits import Limits
from monitor.reasons import Reason
from tests.support.formats import WRITERS

SPEC = FeatureSpec.parse(
    {
        "name": "numbers",
        "identity": {"source_address": "src", "event_time": "ts"},
        "features": [
            {"name": "bytes", "kind": "numeric"},
            {"name": "rate", "field": "flow.rate", "kind": "numeric"},
            {"name": "up", "kind": "boolean"},
        ],
    },
    "test",
)
ROWS = [
    {"bytes": 1.5 * n, "flow.rate": -(3.4e38) if n == 4 else 0.1 + n, "up": n % 2 == 0}
    for n in range(8)
]
MATRIX = np.array([list(row.values()) for row in ROWS], np.float32)
ANY = Limits()
every_format = pytest.mark.parametrize("name", FORMATS)


def codec(name: str, limits: Limits = ANY) -> Codec:
    return build_codec(SPEC, [()] * len(SPEC), name, limits, read_origins=True)


def written(name: str) -> list[bytes]:
    return WRITERS[name](SPEC, ROWS)


def reasons(decoded: Decoded) -> list[Reason]:
    return [reject.reason for reject in decoded.rejects]


@every_format
def test_rows_become_vectors_in_their_order_and_each_knows_its_place(name: str) -> None:
    records = written(name)
    batch = codec(name).decode(records).batch
    np.testing.assert_array_equal(batch.values, MATRIX)
    assert batch.values.dtype == np.float32
    assert batch.values.flags.c_contiguous
    assert batch.values.flags.writeable
    alone = len(records) == len(ROWS)
    assert batch.rows.tolist() == (list(range(8)) if alone else [0] * 8)
    assert batch.rows.dtype == np.int64
    if alone:
        assert batch.within is None or set(batch.within.tolist()) == {-1}
    else:
        assert batch.within is not None
        assert batch.within.tolist() == list(range(8))
        assert batch.within.dtype == np.int32


@every_format
def test_each_vector_has_an_origin_even_where_nothing_is_known_of_it(name: str) -> None:
    origins = codec(name).decode(written(name)).batch.origins
    assert origins is not None
    assert origins.entities.tolist() == [-1] * 8
    assert list(origins.times) == [None] * 8
    assert len(origins.times) == 8
    assert list(origins.at(np.array([3, 5])).times) == [None, None]


@every_format
def test_the_values_of_one_vector_are_read_again_as_they_were_written(name: str) -> None:
    records, reader = written(name), codec(name)
    batch = reader.decode(records).batch
    for n, row in enumerate(ROWS):
        within = -1 if batch.within is None else int(batch.within[n])
        event = reader.identify(records[batch.rows[n]], within)
        assert event.observed == tuple(row.values())
        assert isinstance(event.observed[2], bool)


@every_format
def test_nothing_decodes_to_nothing(name: str) -> None:
    decoded = codec(name).decode([])
    assert decoded.batch.values.shape == (0, 3)
    assert decoded.batch.values.dtype == np.float32
    assert not len(decoded.batch)
    assert not decoded.rejects


@every_format
def test_what_is_no_record_of_the_format_is_a_reject_in_its_place(name: str) -> None:
    record = written(name)[0]
    values = [None, record, b"", record[:-1], b"x" * 3_000]
    decoded = codec(name, Limits(max_record_bytes=2_999)).decode(values)
    assert [reject.row for reject in decoded.rejects] == [0, 2, 3, 4]
    assert reasons(decoded)[:2] == [Reason.TOMBSTONE, Reason.EMPTY]
    assert reasons(decoded)[3] == Reason.TOO_LARGE
    assert all(reject.error for reject in decoded.rejects)
    assert set(decoded.batch.rows.tolist()) == {1}


@every_format
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"bytes": float("nan")}, Reason.NOT_FINITE),
        ({"flow.rate": float("-inf")}, Reason.NOT_FINITE),
        ({"up": 2}, Reason.WRONG_TYPE),
    ],
)
def test_one_row_that_is_no_vector_is_one_reject_which_tells_how_many_went_with_it(
    name: str, change: dict[str, float], reason: Reason
) -> None:
    rows = [{**row, "up": int(row["up"])} for row in ROWS]
    rows[5] |= change
    records = WRITERS[name](SPEC, rows)
    decoded = codec(name).decode(records)
    [reject] = decoded.rejects
    assert reject.reason == reason
    lost = len(ROWS) - len(decoded.batch)
    assert reject.vectors == lost == (1 if len(records) == 8 else 8)
    if lost > 1:
        assert reject.error.startswith("row 6 of 8: ")
        assert (
            repr({"flow.rate": "rate"}.get(next(iter(change)), next(iter(change)))) in reject.error
        )


@every_format
def test_a_record_is_known_by_its_first_bytes(name: str) -> None:
    assert {format_of(record) for record in written(name)} == {name}


def test_a_micro_batch_of_several_formats_keeps_the_order_of_its_records() -> None:
    records = [b"none", *(record for name in FORMATS for record in written(name)), b"\xff", None]
    decoded = codec("auto").decode(records)
    batch = decoded.batch
    assert batch.rows.tolist() == [*range(1, 9), *[9] * 8, *[10] * 8]
    np.testing.assert_array_equal(batch.values, np.tile(MATRIX, (3, 1)))
    assert batch.within is not None
    assert batch.within.tolist() == [*[-1] * 8, *range(8), *range(8)]
    assert batch.origins is not None
    assert len(batch.origins.times) == 24
    assert [reject.row for reject in decoded.rejects] == [0, 11, 12]
    for position in (3, 12, 20):
        record, within = records[batch.rows[position]], int(batch.within[position])
        event = codec("auto").identify(record or b"", within)
        assert event.observed == tuple(ROWS[position % 8].values())


def test_whom_vectors_of_several_formats_are_about_is_numbered_once() -> None:
    named = [{**row, "src": f"10.0.0.{n % 3}", "ts": n} for n, row in enumerate(ROWS)]
    records = [
        *WRITERS["json"](SPEC, named[:2]),
        *WRITERS["arrow"](SPEC, named[2:5]),
        *written("float32"),
        *WRITERS["json"](SPEC, named[5:]),
    ]
    origins = codec("auto").decode(records).batch.origins
    assert origins is not None
    names = [*origins.names, None]
    assert sorted(origins.names) == ["10.0.0.0", "10.0.0.1", "10.0.0.2"]
    found = [names[n] for n in origins.entities.tolist()]
    expected = [f"10.0.0.{n % 3}" for n in range(8)]
    assert found == [*expected[:5], *[None] * 8, *expected[5:]]
    assert list(origins.times) == [*range(5), *[None] * 8, *range(5, 8)]


@pytest.mark.parametrize("name", ["arrow", "float32"])
@pytest.mark.parametrize("limits", [Limits(max_record_vectors=7), Limits(max_decoded_bytes=95)])
def test_more_vectors_than_are_allowed_are_one_reject_that_tells_how_many(
    name: str, limits: Limits
) -> None:
    decoded = codec(name, limits).decode(written(name))
    assert [(r.reason, r.vectors) for r in decoded.rejects] == [
        (Reason.TOO_LARGE, min(8, limits.max_record_vectors))
    ]


def test_a_format_for_numbers_alone_is_refused_at_once_for_a_spec_with_categories() -> None:
    spec = FeatureSpec.parse(
        {"name": "flows", "features": [{"name": "proto", "kind": "categorical"}]}, "test"
    )
    with pytest.raises(SpecError, match="float32"):
        build_codec(spec, [("tcp",)], "float32")
    decoded = build_codec(spec, [("tcp",)]).decode(
        [json.dumps({"proto": "tcp"}).encode(), *WRITERS["float32"](spec, [{"proto": 1}])]
    )
    assert decoded.batch.values.tolist() == [[1]]
    assert reasons(decoded) == [Reason.WRONG_TYPE]

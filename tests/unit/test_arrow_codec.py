"""Arrow: what columns may be, and what is refused before it can cost anything."""

import resource
import struct
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from monitor.batch import Decoded
from monitor.features import FeatureSpec
from monitor.ingest.arrow_codec import ArrowCodec
from monitor.ingest.limits import Limits
from monitor.reasons import Reason
from tests.support.formats import arrow_stream

SPEC = FeatureSpec.parse(
    {
        "name": "flows",
        "unwrap": ["conn"],
        "identity": {"record_id": "uid", "source_address": "id.src", "event_time": "ts"},
        "features": [
            {"name": "a", "kind": "numeric"},
            {"name": "flow.bytes", "kind": "numeric", "default": 7},
            {"name": "proto", "kind": "categorical", "default": "udp"},
            {"name": "up", "kind": "boolean"},
        ],
    },
    "test",
)
WORDS = [(), (), ("tcp", "udp", "6"), ()]
ROWS = 4
GOOD = {
    "a": pa.array([1.5, 2.5, 3.5, 4.5], pa.float32()),
    "flow.bytes": pa.array([1, 2, 3, 4], pa.int64()),
    "proto": pa.array(["tcp", "udp", "sctp", "tcp"]),
    "up": pa.array([True, False, True, False]),
}
VECTORS = [[1.5, 1, 1, 1], [2.5, 2, 2, 0], [3.5, 3, 0, 1], [4.5, 4, 1, 0]]
CODEC = ArrowCodec(SPEC, WORDS, read_origins=True)


def decode(table: pa.Table | bytes, codec: ArrowCodec = CODEC, **options: Any) -> Decoded:
    return codec.decode([table if isinstance(table, bytes) else arrow_stream(table, **options)])


def vectors(**changes: Any) -> list[list[float]]:
    decoded = decode(pa.table({**GOOD, **changes}))
    assert not decoded.rejects
    return decoded.batch.values.tolist()


def refused(value: pa.Table | bytes, codec: ArrowCodec = CODEC) -> tuple[Reason, str, int]:
    decoded = decode(value, codec)
    assert not len(decoded.batch)
    [reject] = decoded.rejects
    return reject.reason, reject.error, reject.vectors


@pytest.mark.parametrize("compression", [None, "lz4", "zstd"])
@pytest.mark.parametrize("rows_per_batch", [None, 1, 3])
def test_columns_are_found_by_name_in_any_order_and_others_are_passed_over(
    compression: str | None, rows_per_batch: int | None
) -> None:
    columns = {"note": pa.array([["x"]] * ROWS), **dict(reversed(GOOD.items())), "b": GOOD["a"]}
    table = pa.table(columns)
    decoded = decode(table, rows_per_batch=rows_per_batch, compression=compression)
    assert decoded.batch.values.tolist() == VECTORS
    assert decoded.batch.within is not None
    assert decoded.batch.within.tolist() == [0, 1, 2, 3]


def test_an_ipc_file_is_read_as_the_stream_that_is_in_it() -> None:
    table, sink = pa.table(GOOD), pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    assert decode(sink.getvalue().to_pybytes()).batch.values.tolist() == VECTORS


@pytest.mark.parametrize(
    "kind",
    [
        *(pa.int8(), pa.uint8(), pa.int16(), pa.uint16(), pa.int32(), pa.uint32(), pa.int64()),
        *(pa.uint64(), pa.float16(), pa.float32(), pa.float64(), pa.decimal128(9, 2)),
        pa.dictionary(pa.int8(), pa.int32()),
    ],
    ids=str,
)
def test_numbers_are_numbers_whatever_their_type(kind: pa.DataType) -> None:
    numbers = [Decimal(n) for n in (1, 0, 3, 100)] if pa.types.is_decimal(kind) else [1, 0, 3, 100]
    column = pa.array(numbers, kind)
    assert [vector[0] for vector in vectors(a=column)] == [1, 0, 3, 100]
    assert CODEC.identify(arrow_stream(pa.table({**GOOD, "a": column})), 3).observed[0] == 100


def test_large_integers_become_the_nearest_float() -> None:
    large = [2**63 - 1, -(2**63), 2**53 + 1, 2**24 + 1]
    column = pa.array(large, pa.int64())
    expected = np.array(large, np.float64).astype(np.float32).tolist()
    assert [vector[0] for vector in vectors(a=column)] == expected


@pytest.mark.parametrize(
    "kind",
    [
        pa.string(),
        pa.large_string(),
        pa.dictionary(pa.int8(), pa.string()),
        pa.dictionary(pa.uint64(), pa.large_string()),
    ],
    ids=str,
)
def test_categories_are_text_plain_or_in_a_dictionary(kind: pa.DataType) -> None:
    column = pa.array(["udp", None, "6", "other"], kind)
    assert [vector[2] for vector in vectors(proto=column)] == [2, 2, 3, 0]


def test_numbers_and_booleans_are_categories_as_text() -> None:
    assert [v[2] for v in vectors(proto=pa.array([6, 6, 17, None], pa.uint8()))] == [3, 3, 0, 2]
    assert [v[2] for v in vectors(proto=pa.array([6.0, 6.5, 0.0, 6.0]))] == [3, 0, 0, 3]
    half = pa.array([6.0, 0.5, 6.0, None], pa.float16())
    assert [v[2] for v in vectors(proto=half)] == [3, 0, 3, 2]
    encoded = pa.array([6.0, 0.5, 6.0, None]).dictionary_encode()
    assert [v[2] for v in vectors(proto=encoded)] == [3, 0, 3, 2]
    codec = ArrowCodec(SPEC, [(), (), ("true",), ()])
    table = pa.table({**GOOD, "proto": pa.array([True, False, True, None])})
    assert decode(table, codec).batch.values[:, 2].tolist() == [1, 0, 1, 0]


def test_a_dictionary_may_hold_null_repeat_itself_and_be_longer_than_the_batch() -> None:
    words = pa.array(["tcp", None, "tcp", "udp", *["w"] * 100])
    column = pa.DictionaryArray.from_arrays(pa.array([0, 1, 2, 103]), words)
    assert [vector[2] for vector in vectors(proto=column)] == [1, 2, 1, 0]


def test_booleans_may_be_0_and_1() -> None:
    for column in ([1, 0, 1, 0], [1.0, 0.0, 1.0, 0.0]):
        assert vectors(up=pa.array(column)) == VECTORS


def test_null_takes_the_default_and_so_does_a_column_that_is_not_there() -> None:
    nulls = vectors(
        **{"flow.bytes": pa.array([None, 2, None, 4], pa.int64()), "proto": pa.nulls(ROWS)}
    )
    assert [vector[1:3] for vector in nulls] == [[7, 2], [2, 2], [7, 2], [4, 2]]
    decoded = decode(pa.table({name: GOOD[name] for name in ("up", "a")}))
    assert [vector[1:3] for vector in decoded.batch.values.tolist()] == [[7, 2]] * ROWS


def test_structs_are_nested_objects_and_may_wrap_the_whole_event() -> None:
    flow = pa.StructArray.from_arrays(
        [GOOD["flow.bytes"]], ["bytes"], mask=pa.array([False, True, False, False])
    )
    columns = {**GOOD, "flow": flow}
    del columns["flow.bytes"]
    expected = [[*v[:1], n, *v[2:]] for v, n in zip(VECTORS, [1, 7, 3, 4], strict=True)]
    assert decode(pa.table(columns)).batch.values.tolist() == expected
    wrapped = pa.StructArray.from_arrays(list(columns.values()), list(columns))
    table = pa.table({"conn": wrapped, "a": GOOD["flow.bytes"]})
    assert decode(table).batch.values.tolist() == expected
    assert CODEC.identify(arrow_stream(table), 0).observed == (1.5, 1, "tcp", True)


def test_times_may_be_timestamps_and_names_may_come_in_a_dictionary() -> None:
    times = pa.array([1, None, 3, 4], pa.timestamp("ms", "UTC"))
    names = pa.array(["h1", "", None, "h1"]).dictionary_encode()
    table = pa.table({**GOOD, "ts": times, "id.src": names})
    origins = decode(table).batch.origins
    assert origins is not None
    assert origins.names == ["h1"]
    assert origins.entities.tolist() == [0, -1, -1, 0]
    assert list(origins.times) == [0.001, None, 0.003, 0.004]
    assert origins.times[-2:] == [0.003, 0.004]
    event = CODEC.identify(arrow_stream(table), 3)
    assert (event.source_address, event.event_time_ms) == ("h1", 4)


@pytest.mark.parametrize(
    "column",
    [
        pa.array([["h"], None, ["g"], []]),
        pa.array([b"h", None, b"g", b""]),
        pa.array([1, 2, 3, 4], pa.date32()),
        pa.array([0, 86_400_000, 86_400_000 * 10**9, None], pa.date64()),
        pa.array([1, 2, 3, 4], pa.duration("s")),
        pa.array([2**62, None, -(2**62), 0], pa.timestamp("s")),
        pa.nulls(ROWS),
        pa.array([0.5, None, 1.0, 2.0], pa.float16()),
    ],
    ids=lambda column: str(column.type),
)
def test_an_identity_of_no_usable_type_is_left_out(column: pa.Array) -> None:
    record = arrow_stream(pa.table({**GOOD, "ts": column, "id.src": column, "uid": column}))
    decoded = decode(record)
    assert decoded.batch.values.tolist() == VECTORS
    assert decoded.batch.origins is not None
    list(decoded.batch.origins.times)
    for row in range(ROWS):
        assert CODEC.identify(record, row).observed


def test_rows_that_are_not_selected_are_counted_and_may_hold_anything() -> None:
    spec = SPEC.model_copy(update={"select": {"kind": "flow"}})
    codec = ArrowCodec(spec, WORDS)
    table = pa.table(
        {
            **GOOD,
            "kind": pa.array(["dns", "flow", None, "flow"]),
            "a": pa.array([None, 2.5, float("nan"), 4.5]),
        }
    )
    decoded = decode(table, codec)
    assert decoded.batch.values.tolist() == [VECTORS[1], VECTORS[3]]
    assert decoded.batch.within is not None
    assert decoded.batch.within.tolist() == [1, 3]
    assert decoded.not_selected == 2
    assert decode(pa.table(GOOD), codec).not_selected == ROWS


def test_a_record_without_rows_holds_no_vectors() -> None:
    empty = pa.table(GOOD).slice(0, 0)
    for record in (arrow_stream(empty), arrow_stream(pa.table({"x": pa.array([], pa.int8())}))):
        decoded = decode(record)
        assert (len(decoded.batch), len(decoded.rejects), decoded.not_selected) == (0, 0, 0)


@pytest.mark.parametrize(
    ("name", "column", "reason", "error"),
    [
        ("a", pa.array(["1", "2", "3", "4"]), Reason.WRONG_TYPE, "row 1 of 4: 'a' is \"1\""),
        ("a", pa.array([True] * 4), Reason.WRONG_TYPE, "row 1 of 4: 'a'"),
        ("a", pa.array([[1.0]] * 4), Reason.WRONG_TYPE, "row 1 of 4: 'a'"),
        ("a", pa.array([1, 2, 3, 4], pa.timestamp("s")), Reason.WRONG_TYPE, "row 1 of 4: 'a'"),
        ("a", pa.array([1, 2, 3, 4], pa.duration("s")), Reason.WRONG_TYPE, "row 1 of 4: 'a'"),
        ("a", pa.array([b"x"] * 4), Reason.WRONG_TYPE, "row 1 of 4: 'a'"),
        ("a", pa.array(["1", None] * 2).dictionary_encode(), Reason.WRONG_TYPE, "'a' is \"1\""),
        ("a", pa.array([1, 2, None, 4]), Reason.MISSING_FEATURE, "row 3 of 4: 'a' is missing"),
        ("a", pa.nulls(4), Reason.MISSING_FEATURE, "row 1 of 4: 'a' is missing"),
        ("a", pa.array([1, float("nan"), 3, 4]), Reason.NOT_FINITE, "row 2 of 4: 'a' is"),
        ("a", pa.array([1, 2, 3, float("-inf")]), Reason.NOT_FINITE, "row 4 of 4: 'a' is"),
        ("a", pa.array([1, 2, 1e39, 4]), Reason.OUT_OF_RANGE, "row 3 of 4: 'a' is"),
        ("a", pa.array([3.4028235e38 * (1 + 1e-8)] * 4), Reason.OUT_OF_RANGE, "row 1 of 4"),
        ("up", pa.array([1, 0, 2, 0]), Reason.WRONG_TYPE, "row 3 of 4: 'up' is \"2\""),
        ("up", pa.array(["true"] * 4), Reason.WRONG_TYPE, "row 1 of 4: 'up' is"),
        ("up", pa.array([True, None] * 2), Reason.MISSING_FEATURE, "row 2 of 4: 'up' is"),
        ("proto", pa.array([{"x": 1}] * 4), Reason.WRONG_TYPE, "row 1 of 4: 'proto'"),
        ("proto", pa.array([1, 2, 3, 4], pa.date32()), Reason.WRONG_TYPE, "row 1 of 4: 'proto'"),
        ("proto", pa.array([6, float("nan"), 6, 6]), Reason.NOT_FINITE, "row 2 of 4: 'proto'"),
        (
            "proto",
            pa.RunEndEncodedArray.from_arrays([4], pa.array(["tcp"])),
            Reason.WRONG_TYPE,
            "row 1 of 4: 'proto'",
        ),
    ],
)
def test_a_column_that_does_not_fit_is_one_reject_that_names_the_first_row_at_fault(
    name: str, column: pa.Array, reason: Reason, error: str
) -> None:
    found, text, count = refused(pa.table({**GOOD, name: column}))
    assert (found, count) == (reason, ROWS)
    assert error in text


EXTREME = [
    pa.Array.from_buffers(kind, 1, [None, pa.py_buffer(number.to_bytes(8, "little", signed=True))])
    for kind in (
        *(pa.timestamp("s"), pa.timestamp("ns"), pa.date32(), pa.date64()),
        *(pa.duration("s"), pa.duration("ns"), pa.time64("us")),
    )
    for number in (2**62, 2**31 - 1)
]


@pytest.mark.parametrize("name", ["a", "proto", "up"])
@pytest.mark.parametrize("column", EXTREME, ids=lambda column: str(column.type))
def test_values_beyond_those_of_python_are_a_reject_wherever_they_stand(
    name: str, column: pa.Array
) -> None:
    good = {key: values.slice(0, 1) for key, values in GOOD.items()}
    for nested in (
        column,
        pa.ListArray.from_arrays(pa.array([0, 1], pa.int32()), column),
        pa.StructArray.from_arrays([column], ["x"]),
        pa.DictionaryArray.from_arrays(pa.array([0], pa.int8()), column),
    ):
        reason, error, _ = refused(pa.table({**good, name: nested}))
        if reason == Reason.MALFORMED_ARROW:  # so Arrow itself says of some
            continue
        assert reason == Reason.WRONG_TYPE
        assert str(nested.type)[:20] in error
        record = arrow_stream(pa.table({**good, "uid": nested, "id.src": nested, "ts": nested}))
        origins = CODEC.decode([record]).batch.origins
        assert origins is not None
        assert not origins.names
        assert len(list(origins.times)) == 1
        assert CODEC.identify(record, 0).observed == (1.5, 1, "tcp", True)


def test_a_column_that_is_missing_or_stands_twice_is_a_reject() -> None:
    without = pa.table({name: GOOD[name] for name in ("a", "proto")})
    assert refused(without) == (Reason.MISSING_FEATURE, "row 1 of 4: 'up' is missing", ROWS)
    twice = pa.table([*GOOD.values(), GOOD["up"]], names=[*GOOD, "up"])
    assert refused(twice) == (Reason.DUPLICATE_KEY, "two columns are named 'up'", ROWS)
    harmless = pa.table([*GOOD.values(), GOOD["up"], GOOD["a"]], names=[*GOOD, "x", "x"])
    assert decode(harmless).batch.values.tolist() == VECTORS


def test_a_record_cut_anywhere_is_a_reject_or_ends_between_two_messages() -> None:
    record = arrow_stream(pa.table(GOOD), 2)
    decoded = CODEC.decode([record[:length] for length in range(4, len(record))])
    whole = {len(decoded.batch.values[decoded.batch.rows == row]) for row in decoded.batch.rows}
    assert whole == {2, 4}
    assert {reject.reason for reject in decoded.rejects} == {Reason.MALFORMED_ARROW}
    assert max(reject.vectors for reject in decoded.rejects) == ROWS


def test_bytes_behind_the_end_are_not_silently_lost() -> None:
    record = arrow_stream(pa.table(GOOD))
    reason, error, count = refused(record + record)
    assert (reason, count) == (Reason.MALFORMED_ARROW, ROWS)
    assert "stand behind its end" in error


def test_ten_million_rows_that_take_no_bytes_are_refused_by_their_number() -> None:
    record = arrow_stream(pa.table({"a": pa.nulls(10_000_000)}))
    assert len(record) < 1_000
    assert refused(record) == (
        Reason.TOO_LARGE,
        "10000000 vectors, more than the 65536 allowed",
        65_536,
    )


def test_rows_are_counted_over_all_batches_of_a_record() -> None:
    codec = ArrowCodec(SPEC, WORDS, Limits(max_record_vectors=7))
    table = pa.concat_tables([pa.table(GOOD)] * 2)
    assert refused(arrow_stream(table, 1), codec)[::2] == (Reason.TOO_LARGE, 7)


def test_batches_without_rows_are_passed_over_and_too_many_batches_are_refused() -> None:
    def record(batches: int) -> bytes:
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, pa.table(GOOD).schema) as writer:
            for _ in range(batches - 1):
                writer.write_batch(pa.record_batch(GOOD).slice(0, 0))
            writer.write_batch(pa.record_batch(GOOD))
        return sink.getvalue().to_pybytes()

    decoded = decode(record(1_024))
    assert decoded.batch.values.tolist() == VECTORS
    assert decoded.batch.within is not None
    assert decoded.batch.within.tolist() == [0, 1, 2, 3]
    assert CODEC.identify(record(1_024), 3).observed[0] == 4.5
    error = "more than 1024 batches and dictionaries"
    assert refused(record(1_025))[:2] == (Reason.TOO_LARGE, error)


@pytest.mark.parametrize("compression", ["lz4", "zstd"])
def test_what_would_expand_enormously_is_refused_unexpanded(compression: str) -> None:
    text = pa.array(["x" * 20_000_000] * ROWS)
    columns = {**GOOD, "proto": text}
    for table in (
        pa.table(columns),
        pa.table({**GOOD, "note": text}),
        pa.table({**GOOD, "note": text.dictionary_encode()}),
    ):
        record = arrow_stream(table, compression=compression)
        assert len(record) < 1_048_576
        codec = ArrowCodec(SPEC, WORDS, Limits(max_decoded_bytes=10_000_000))
        allocated = pa.total_allocated_bytes()
        reason, error, count = refused(record, codec)
        assert (reason, count) == (Reason.TOO_LARGE, ROWS)
        assert "once decoded, more than the 10000000 allowed" in error
        assert pa.total_allocated_bytes() == allocated


def test_a_buffer_that_lies_about_its_size_costs_nothing() -> None:
    record = arrow_stream(pa.table({**GOOD, "a": pa.array([2.0**60] * ROWS)}), compression="zstd")
    small = struct.pack("<q", 8 * ROWS)
    assert small in record
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for claimed in (2**62, 2**40, -5):
        value = record.replace(small, struct.pack("<q", claimed))
        assert refused(value)[0] in {Reason.TOO_LARGE, Reason.MALFORMED_ARROW}
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000


def test_a_dictionary_that_grows_in_small_steps_counts_each_time_it_is_copied() -> None:
    sink = pa.BufferOutputStream()
    kind = pa.dictionary(pa.int32(), pa.string())
    schema = pa.schema([*((n, c.type) for n, c in GOOD.items() if n != "proto"), ("proto", kind)])
    options = pa.ipc.IpcWriteOptions(emit_dictionary_deltas=True)
    words: list[str] = []
    with pa.ipc.new_stream(sink, schema, options=options) as writer:
        for n in range(200):
            words.append(f"{n:01000}")
            column = pa.DictionaryArray.from_arrays(pa.array([n] * ROWS, pa.int32()), words)
            writer.write_batch(pa.record_batch({**GOOD, "proto": column}).select(schema.names))
    record = sink.getvalue().to_pybytes()
    assert len(record) < 1_000_000
    assert len(decode(record).batch) == 200 * ROWS
    codec = ArrowCodec(SPEC, WORDS, Limits(max_decoded_bytes=5_000_000))
    assert refused(record, codec)[0] == Reason.TOO_LARGE


def test_many_columns_of_one_buffer_are_refused_by_what_they_become() -> None:
    spec = FeatureSpec.parse(
        {
            "name": "defaults",
            "features": [{"name": f"f{n}", "kind": "numeric", "default": 0} for n in range(500)],
        },
        "test",
    )
    record = arrow_stream(pa.table({"other": pa.nulls(60_000)}))
    reason, error, count = refused(record, ArrowCodec(spec, [()] * 500))
    assert (reason, count) == (Reason.TOO_LARGE, 60_000)
    assert "120000000 bytes once decoded" in error


def test_text_that_is_no_utf8_and_offsets_that_lead_astray_are_refused() -> None:
    offsets = struct.pack("<5i", 0, 3, 6, 10, 13)
    record = arrow_stream(pa.table(GOOD))
    assert record.count(offsets) == 1
    for bad in ((0, 3, 6, 10, 2**30), (0, 6, 3, 10, 13), (-9, 3, 6, 10, 13), (2**31 - 1,) * 5):
        astray = record.replace(offsets, struct.pack("<5i", *bad))
        assert refused(astray)[::2] == (Reason.MALFORMED_ARROW, ROWS)
    assert refused(record.replace(b"sctp", b"s\xfftp"))[0] == Reason.MALFORMED_ARROW


def test_columns_that_only_identify_are_checked_as_well() -> None:
    record = arrow_stream(pa.table({**GOOD, "uid": pa.array(["abc", "defg", "hi", "j"])}))
    offsets, astray = struct.pack("<5i", 0, 3, 7, 9, 10), struct.pack("<5i", 0, 3, 7, 9, 2**30)
    assert record.count(offsets) == 1
    assert refused(record.replace(offsets, astray))[0] == Reason.MALFORMED_ARROW


def test_a_schema_seen_before_is_not_taken_for_another() -> None:
    tables = [
        pa.table(GOOD),
        pa.table(dict(reversed(GOOD.items()))),
        pa.table({**GOOD, "z": GOOD["a"]}),
    ]
    decoded = CODEC.decode([arrow_stream(table) for table in tables * 2])
    assert decoded.batch.values.tolist() == VECTORS * 6

"""Rows of files become the JSON that their producer would have sent."""

import json
from pathlib import Path

import pytest

from monitor.errors import DataError, SpecError
from monitor.features import Feature, FeatureSpec, Identity
from monitor.ingest.codec import build_codec, format_of
from monitor.ingest.packing import pack
from monitor.ingest.replay import vector_records
from monitor.stream.feed import paced

DATA = Path(__file__).parent.parent / "data"
FLOWS = FeatureSpec(
    name="flows",
    identity=Identity(record_id="id", source_address="src", source_port="sport"),
    features=(
        Feature(name="size", field="total bytes", kind="numeric"),
        Feature(name="proto", kind="categorical"),
        Feature(name="inside", kind="boolean"),
    ),
)


def replayed(tmp_path: Path, text: str, label: str | None = "label") -> list[bytes]:
    path = tmp_path / "table"
    path.write_text(text)
    return list(vector_records(path, FLOWS, label))


def test_a_row_is_an_object_of_features_and_identity_without_label_and_other_columns(tmp_path):
    [record] = replayed(
        tmp_path, 'label,id,src,total bytes,proto,inside,note\nbad,0012,"a""b",1.50,6,T,x\n'
    )
    assert json.loads(record) == {
        **{"id": "0012", "src": 'a"b'},
        **{"total bytes": 1.5, "proto": "6", "inside": True},
    }
    assert b'"total bytes":1.50' in record, "a number is sent as it is written"


def test_what_is_no_vector_is_sent_as_it_is(tmp_path):
    records = replayed(
        tmp_path,
        "label,total bytes,proto,inside\n"
        "x,NaN,tcp,1\nx,-inf,tcp,0\nx,12 kB,tcp,1\nx,+07,tcp,perhaps\nx,,,1\nx,1,2\nx,1\n",
    )
    assert records == [
        b'{"total bytes":NaN,"proto":"tcp","inside":true}',
        b'{"total bytes":-Infinity,"proto":"tcp","inside":false}',
        b'{"total bytes":"12 kB","proto":"tcp","inside":true}',
        b'{"total bytes":7.0,"proto":"tcp","inside":"perhaps"}',
        b'{"inside":true}',
        b'["x","1","2",null]',
        b'["x","1"]',
    ]


def test_json_lines_are_sent_as_they_are_but_for_their_label(tmp_path):
    lines = ['{"a": 1,  "meta": {"label": "x", "n": 2}}', "not JSON", '{"a": 2}']
    text = "\n".join([*lines, "", ""])
    assert replayed(tmp_path, text, label=None) == [line.encode() for line in lines]
    assert replayed(tmp_path, text, label="meta.label") == [
        b'{"a":1,"meta":{"n":2}}',
        b"not JSON",
        b'{"a": 2}',
    ]


def test_zeeks_tsv_becomes_the_json_that_zeek_writes():
    spec = FeatureSpec.load("preset:zeek-conn")
    from_tsv = [json.loads(record) for record in vector_records(DATA / "zeek.tsv", spec)]
    from_json = [json.loads(record) for record in vector_records(DATA / "zeek.jsonl", spec)]
    fields = {*spec.paths, *spec.identity.fields}
    written = [{key: event[key] for key in event if key in fields} for event in from_json]
    as_text = {"ts", "id.orig_p", "id.resp_p"}
    assert [event.keys() for event in from_tsv] == [
        dict.fromkeys([*spec.identity.fields, *spec.paths], 0).keys() & event.keys()
        for event in written
    ]
    for ours, theirs in zip(from_tsv, written, strict=True):
        assert {k: v for k, v in ours.items() if k not in as_text} == {
            k: v for k, v in theirs.items() if k not in as_text
        }
        assert all(float(ours[key]) == float(theirs[key]) for key in as_text)


def test_a_label_that_is_not_there_or_is_a_feature_is_refused_before_anything_is_sent(tmp_path):
    text = "total bytes,proto,inside\n1,tcp,1\n"
    with pytest.raises(DataError, match="no column 'label'"):
        replayed(tmp_path, text)
    with pytest.raises(DataError, match="would give the answer away"):
        replayed(tmp_path, text, label="2")


def test_a_rate_holds_on_average_however_long_single_sends_take():
    now, slept = 0.0, []

    def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds
        slept.append(seconds)

    sent_at = []
    records = paced([b""] * 101, 10, clock=lambda: now, sleep=sleep)
    for _ in records:
        sent_at.append(now)
        now += 0.5 if len(sent_at) == 20 else 0.001
    assert sent_at[:3] == pytest.approx([0, 0.1, 0.2])
    assert sent_at[20] == pytest.approx(1.9 + 0.5), "after a delay it hurries"
    assert sent_at[-1] == pytest.approx(10)
    assert min(slept) > 0


def test_without_a_rate_nothing_waits():
    def never(_: float) -> None:
        raise AssertionError

    assert list(paced([b"a", b"b"], None, sleep=never)) == [b"a", b"b"]


MIXED = [
    b'{"total bytes": 1, "proto": "tcp", "inside": true, "id": "a", "src": "h1", "sport": 80}',
    b'{"total bytes": NaN, "proto": "tcp", "inside": true}',
    b"[2.5, 6, 0]",
    b"not JSON",
    b'{"total bytes": 36893488147419103232, "proto": "udp", "inside": 1, "src": ["x"]}',
    b'{"proto": "udp", "inside": 1}',
    b'{"total bytes": 7, "proto": true, "inside": false, "sport": "http"}',
]
NOT_VECTORS = [MIXED[1], MIXED[3], MIXED[5]]


@pytest.mark.parametrize("rows_per_record", [1, 3, 100])
def test_packed_as_arrow_the_rows_are_the_vectors_that_they_are_as_json(rows_per_record):
    words = [(), ("tcp", "6", "true"), ()]
    codec = build_codec(FLOWS, words, read_origins=True)
    packed = list(pack(MIXED, FLOWS, "arrow", rows_per_record))
    assert sum(record.rows for record in packed) == len(MIXED)
    assert max(record.rows for record in packed) == {1: 1, 3: 2, 100: 4}[rows_per_record]
    values = [record.value for record in packed]
    assert [value for value in values if format_of(value) == "json"] == NOT_VECTORS
    found, expected = codec.decode(values).batch, codec.decode(MIXED).batch
    assert found.values.tolist() == expected.values.tolist()
    assert found.origins.names == expected.origins.names == ["h1"]
    events = [
        codec.identify(values[row], within)
        for row, within in zip(found.rows.tolist(), found.within.tolist(), strict=True)
    ]
    assert [event.observed for event in events] == [
        (1, "tcp", True),
        (2.5, "6", False),
        (2.0**65, "udp", True),
        (7, "true", False),
    ]
    assert (events[0].record_id, events[0].source_port) == ("a", 80)


def test_packed_as_float32_rows_follow_the_header_of_their_spec():
    spec = FeatureSpec(name="n", unwrap=("e",), features=(Feature(name="n", kind="numeric"),))
    records = [b'{"e": {"n": 1}}', b"[2]", b'{"n": "x"}', b'{"n": 3}']
    packed = list(pack(records, spec, "float32", 2))
    assert [record.rows for record in packed] == [2, 1, 1]
    assert packed[2].value == b'{"n": "x"}'
    decoded = build_codec(spec, [()]).decode([record.value for record in packed])
    assert sorted(decoded.batch.values.ravel().tolist()) == [1, 2, 3]
    with pytest.raises(SpecError, match="'proto'"):
        pack([], FLOWS, "float32", 2)


def test_packed_as_json_nothing_is_changed():
    assert list(pack(MIXED, FLOWS, "json", 100)) == [(record, 1) for record in MIXED]


def test_a_rate_counts_rows_whatever_the_records_hold():
    now = 0.0

    def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds

    sent_at = [now for _ in paced([5, 10, 1], 10, rows=int, clock=lambda: now, sleep=sleep)]
    assert sent_at == pytest.approx([0, 0.5, 1.5])

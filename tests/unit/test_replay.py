"""Rows of files become the JSON that their producer would have sent."""

import json
from pathlib import Path

import pytest

from monitor.errors import DataError
from monitor.features import Feature, FeatureSpec, Identity
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

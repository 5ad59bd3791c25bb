"""The specs that ship read what their producers write."""

import json
from pathlib import Path

import numpy as np
import pytest

import monitor
from monitor.features import FeatureSpec, presets
from monitor.ingest.files import open_vectors
from monitor.ingest.json_codec import JsonCodec

DATA = Path(__file__).parent.parent / "data"
DEMO_DATA = Path(monitor.__file__).parent / "demo/data"
KDD = DEMO_DATA / "KDDTest+.txt.gz"


def test_three_presets_ship_and_say_what_they_read():
    assert list(presets()) == ["preset:nsl-kdd", "preset:suricata-flow", "preset:zeek-conn"]
    assert all(FeatureSpec.load(preset).description for preset in presets())


@pytest.mark.parametrize("preset", list(presets()))
def test_no_preset_learns_who_talks(preset):
    spec = FeatureSpec.load(preset)
    identity = spec.identity
    who = {identity.record_id, identity.event_time, identity.source_address}
    who |= {identity.source_port, identity.destination_address}
    assert who.isdisjoint(spec.paths)
    assert set(spec.ignore).isdisjoint(spec.paths)


def test_a_zeek_connection_is_the_same_bare_wrapped_or_nested():
    spec = FeatureSpec.load("preset:zeek-conn")
    bare = (DATA / "zeek.jsonl").read_bytes().splitlines()
    codec = JsonCodec(spec, open_with_vocabularies(DATA / "zeek.jsonl", spec))
    expected = codec.decode(bare).batch.values
    assert len(expected) == 12

    wrapped = [b'{"conn":' + line + b"}" for line in bare]
    np.testing.assert_array_equal(codec.decode(wrapped).batch.values, expected)
    nested = [json.dumps(_nest(json.loads(line))).encode() for line in bare]
    np.testing.assert_array_equal(codec.decode(nested).batch.values, expected)

    for records in (bare, wrapped, nested):
        who = codec.identify(records[2])
        assert (who.record_id, who.source_address) == ("Cdoc0002", "203.0.113.9")
        assert (who.destination_address, who.destination_port) == ("192.0.2.10", 22)
        assert (who.protocol, who.event_time_ms) == ("tcp", 1_700_000_014_020)


def test_of_suricatas_events_the_flows_are_vectors():
    spec = FeatureSpec.load("preset:suricata-flow")
    lines = (DATA / "suricata.jsonl").read_bytes().splitlines()
    codec = JsonCodec(spec, open_with_vocabularies(DATA / "suricata.jsonl", spec))
    decoded = codec.decode(lines)
    assert (len(decoded.batch), decoded.rejects, decoded.not_selected) == (8, [], 2)

    who = codec.identify(lines[0])
    assert (who.record_id, who.event_time_ms) == ("1000000000000000", 1_714_550_400_000)
    assert (who.source_address, who.source_port) == ("192.0.2.1", 40_000)


def test_every_row_of_nsl_kdd_is_a_vector():
    spec = FeatureSpec.load("preset:nsl-kdd")
    blocks = list(open_vectors(KDD, spec, label_column="42"))
    assert sum(len(block.decoded.batch) for block in blocks) == 22_544
    assert not any(block.decoded.rejects for block in blocks)
    assert spec.columns_of("categorical") == [1, 2, 3]


def open_with_vocabularies(path: Path, spec: FeatureSpec) -> tuple[tuple[str, ...], ...]:
    file = open_vectors(path, spec)
    for _ in file:
        pass
    return file.vocabularies()


def _nest(event: dict[str, object]) -> dict[str, object]:
    """As log shippers turn dots into objects."""
    nested = {key: value for key, value in event.items() if not key.startswith("id.")}
    nested["id"] = {
        key.removeprefix("id."): value for key, value in event.items() if key.startswith("id.")
    }
    return nested

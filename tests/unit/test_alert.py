"""Alerts: what a subscriber finds, and what hostile events cannot do to it."""

import json
from dataclasses import replace
from typing import Any
from uuid import RFC_4122, UUID, uuid5

import pytest
from pydantic import ValidationError

from monitor.batch import EventIdentity, FeatureDeviation
from monitor.contracts.alert import alert_key, render_alert
from monitor.contracts.detection import Detection, sighting_of, subjects
from monitor.contracts.ocsf import DetectionFinding, Severity
from monitor.contracts.severity import severity_of
from monitor.detect.incidents import Activity, Change, Incident, Subject
from monitor.detect.spikes import Spike
from tests.support.alerts import DETECTION, NOW_MS, alert_of, alone_at, attribute, judge

SUBJECTS = subjects(DETECTION)
YEAR_1970_MS, YEAR_2100_MS = 3_600_000, 4_102_444_800_000


def rendered(detection: Detection = DETECTION, **event: Any) -> dict[str, Any]:
    """The alert of a detection whose event differs in these fields, judged by OCSF."""
    detection = replace(detection, event=replace(detection.event, **event))
    return judge(alert_of(detection, NOW_MS).to_bytes())


def test_every_fact_is_where_the_documentation_says() -> None:
    alert = rendered()
    facts = alert["unmapped"]
    assert alert["message"] == "dst_host_count 255, expected about 3; flag S0, expected SF"
    assert (alert["severity_id"], alert["severity"]) == (4, "High")
    assert alert["time"] == 1_767_225_600_123
    assert alert["is_alert"] is True
    assert facts["reconstruction_error"] == 4.18
    assert facts["threshold"] == 1.12
    assert facts["tail_probability"] == 0.000008
    assert facts["false_alarm_rate"] == 0.001
    assert facts["features"] == [
        {"name": "dst_host_count", "observed": 255, "expected": 3.04, "share": 0.62},
        {"name": "flag", "observed": "S0", "expected": "SF", "share": 0.21},
    ]
    assert facts["source"] == {"topic": "vectors", "partition": 3, "offset": 81_290}
    assert facts["bundle_id"] == alert["finding_info"]["analytic"]["uid"] == "0123456789abcdef"
    assert facts["record_id"] == alert["metadata"]["original_event_uid"] == "CHhAvVGS1DHFjwGM9"
    connection = alert["evidences"][0]["connection_info"]
    assert facts["community_id"] == connection["community_uid"] == "1:+ZlY7ODIVI9k1EAckZqUVPgz1B4="


def test_evidence_and_observables_come_from_the_entities() -> None:
    alert = rendered()
    evidence = alert["evidences"][0]
    assert evidence["src_endpoint"] == {"ip": "10.4.7.21", "port": 49_188}
    assert evidence["dst_endpoint"] == {"ip": "192.0.2.80", "port": 443}
    assert evidence["resources"] == [{"type": "sensor", "name": "edge-2"}]
    assert [(o["type_id"], o["value"]) for o in alert["observables"]] == [
        (2, "10.4.7.21"),
        (2, "192.0.2.80"),
        (38, "edge-2"),
        (99, "1:+ZlY7ODIVI9k1EAckZqUVPgz1B4="),
        (99, "CHhAvVGS1DHFjwGM9"),
    ]


def test_each_observable_points_at_its_attribute() -> None:
    alert = rendered(source_address="printer.example.org", destination_address="not a host!")
    for observable in alert["observables"]:
        assert attribute(alert, observable["name"]) == observable["value"]


def test_anomaly_analyses_set_observed_values_against_baselines() -> None:
    (analysis,) = rendered()["anomaly_analyses"]
    told = [
        (p["observation_parameter"], p["observations"][0]["value"])
        for p in (*analysis["anomalies"], *analysis["baselines"])
    ]
    assert told == [
        ("dst_host_count", "255"),
        ("flag", "S0"),
        ("dst_host_count", "3.04"),
        ("flag", "SF"),
    ]


@pytest.mark.parametrize(
    ("tail_probability", "severity"),
    [
        (0.002, "Low"),
        (0.001, "Low"),
        (0.00011, "Low"),
        (0.0001, "Medium"),
        (0.00001, "High"),
        (0.000001, "Critical"),
        (1e-300, "Critical"),
    ],
)
def test_severity_rises_with_rarity_beyond_the_false_alarm_budget(
    tail_probability: float, severity: str
) -> None:
    assert severity_of(tail_probability, 0.001).caption == severity
    alert = rendered(replace(DETECTION, tail_probability=tail_probability))
    assert (alert["severity"], alert["severity_id"]) == (severity, Severity[severity.upper()])


def test_the_same_record_and_bundle_give_the_same_uid() -> None:
    again = replace(DETECTION, reconstruction_error=9.0, record_time_ms=0)
    first, second = alert_of(DETECTION, NOW_MS), alert_of(again, NOW_MS + 60_000)
    assert first.finding_info.uid == second.finding_info.uid
    assert first.metadata.uid == second.metadata.uid


def test_uids_are_name_based_ones() -> None:
    alert = alert_of(DETECTION, NOW_MS)
    for uid in (alert.finding_info.uid, alert.metadata.uid):
        assert (str(UUID(uid)), UUID(uid).version, UUID(uid).variant) == (uid, 5, RFC_4122)
    assert alert.metadata.uid == str(uuid5(UUID(alert.finding_info.uid), "create"))


@pytest.mark.parametrize(
    "change", [{"topic": "flows"}, {"partition": 4}, {"offset": 81_291}, {"bundle_id": "f" * 16}]
)
def test_another_record_or_bundle_gives_another_uid(change: dict[str, Any]) -> None:
    first, second = (alert_of(d, NOW_MS) for d in (DETECTION, replace(DETECTION, **change)))
    assert first.finding_info.uid != second.finding_info.uid
    assert first.metadata.uid != second.metadata.uid


@pytest.mark.parametrize(
    ("event_time_ms", "record_time_ms", "time"),
    [
        (NOW_MS - 5_000, NOW_MS - 10, NOW_MS - 5_000),
        (1_300_000_000_000, NOW_MS - 10, 1_300_000_000_000),  # an old capture, replayed
        (None, NOW_MS - 10, NOW_MS - 10),
        (YEAR_1970_MS, NOW_MS - 10, NOW_MS - 10),
        (YEAR_2100_MS, NOW_MS - 10, NOW_MS - 10),
        (-1, NOW_MS - 10, NOW_MS - 10),
        (10**30, NOW_MS - 10, NOW_MS - 10),
        (YEAR_2100_MS, YEAR_1970_MS, NOW_MS),
        (None, -1, NOW_MS),
    ],
)
def test_time_is_the_first_plausible_of_event_record_and_now(
    event_time_ms: int | None, record_time_ms: int, time: int
) -> None:
    detection = replace(DETECTION, record_time_ms=record_time_ms)
    assert rendered(detection, event_time_ms=event_time_ms)["time"] == time


@pytest.mark.parametrize("event_time_ms", [YEAR_1970_MS, YEAR_2100_MS])
def test_an_implausible_event_time_is_still_told(event_time_ms: int) -> None:
    assert rendered(event_time_ms=event_time_ms)["unmapped"]["event_time_ms"] == event_time_ms


@pytest.mark.parametrize(
    ("address", "endpoint"),
    [
        ("10.0.0.1", {"ip": "10.0.0.1"}),
        ("2001:DB8:0::1", {"ip": "2001:db8::1"}),
        ("fe80::1%eth0", {"ip": "fe80::1"}),
        ("srv-1.example.org", {"hostname": "srv-1.example.org"}),
        ("999.1.1.1", {"name": "999.1.1.1"}),
        ("10.0.0.1; DROP TABLE", {"name": "10.0.0.1; DROP TABLE"}),
        ("\x1b[31mred\n", {"name": "\\x1b[31mred\\n"}),
        ("a\ud800b", {"name": "a\\ud800b"}),
        ("\u202egpj.exe", {"name": "\\u202egpj.exe"}),
        ("x" * 5_000, {"name": "x" * 255 + "…"}),
    ],
)
def test_only_addresses_become_ip_and_other_names_stay_harmless(
    address: str, endpoint: dict[str, str]
) -> None:
    alert = rendered(source_address=address, source_port=None)
    assert alert["evidences"][0]["src_endpoint"] == endpoint


def test_an_event_without_entities_has_its_features_as_evidence() -> None:
    alert = judge(alert_of(replace(DETECTION, event=EventIdentity(())), NOW_MS).to_bytes())
    assert alert["evidences"] == [{"data": {"dst_host_count": 255, "flag": "S0"}}]
    assert alert["observables"] == []
    assert alert["finding_info"]["title"] == "Anomaly: partition vectors/3"


@pytest.mark.parametrize(
    ("event", "record_key", "key"),
    [
        ({"source_address": "10.0.0.1", "entities": {"user": "eve"}}, b"k", b"10.0.0.1"),
        ({"source_address": "2001:0DB8::0:1"}, None, b"2001:db8::1"),
        ({"entities": {"user": "eve"}, "destination_address": "10.0.0.2"}, None, b"eve"),
        ({"destination_address": "10.0.0.2"}, b"k", b"10.0.0.2"),
        ({}, b"k", b"k"),
        ({}, b"", b"vectors/3"),
        ({}, None, b"vectors/3"),
    ],
)
def test_alerts_are_keyed_by_entity(
    event: dict[str, Any], record_key: bytes | None, key: bytes
) -> None:
    detection = replace(DETECTION, event=EventIdentity((), **event), record_key=record_key)
    assert alert_key(alone_at(detection)) == key


@pytest.mark.parametrize(
    ("observed", "expected", "message"),
    [
        (255, 3.04, "f 255, expected about 3"),
        (0.25, 1234.5, "f 0.25, expected about 1200"),
        (7_340_032.0, -0.0, "f 7.34 M, expected about 0"),
        (65.5769, 87.0, "f 65.58, expected about 87"),
        (65_535, 12_345.6, "f 65,535, expected about 12,000"),
        (-2.5e9, 0.123, "f -2.5 G, expected about 0.12"),
        ("eco_i", "http", "f eco_i, expected http"),
        (True, False, "f true, expected false"),
        (None, 2.0, "f absent, expected about 2"),
        (1e308, 0.5, "f 1e+308, expected about 0.5"),
    ],
)
def test_the_message_is_one_readable_line(observed: Any, expected: Any, message: str) -> None:
    features = (FeatureDeviation("f", observed, expected, 1.0),)
    assert rendered(replace(DETECTION, features=features))["message"] == message


@pytest.mark.parametrize(
    ("observed", "expected", "usual", "unseen", "message"),
    [
        ("gopher", "http", ("http", "smtp", "dns"), False, "usually http, smtp or dns"),
        ("smtp", "http", ("http", "smtp", "dns"), False, "expected http"),
        ("x", "http", ("http",), True, "never seen in training, usually http"),
        (5e9, 300.0, (0.0, 5.1e6), True, "expected about 300, at most 5.1 M in training"),
        (-3, 4.0, (0.0, 9.0), True, "expected about 4, at least 0 in training"),
        (7, 4.0, (0.0, 9.0), False, "expected about 4"),
        (3, 0.0, (0.0, 0.0), True, "always 0 in training"),
        (True, False, (False, False), True, "always false in training"),
        (True, False, (False, True), False, "expected false"),
    ],
)
def test_the_message_tells_what_is_usual_where_the_value_is_not(
    observed: Any, expected: Any, usual: tuple[Any, ...], unseen: bool, message: str
) -> None:
    features = (FeatureDeviation("f", observed, expected, 1.0, usual, unseen),)
    alert = rendered(replace(DETECTION, features=features))
    assert alert["message"].partition(", ")[2] == message
    assert alert["unmapped"]["features"][0]["usual"] == list(usual)
    assert alert["unmapped"]["features"][0].get("unseen", False) is unseen


def test_the_message_leaves_out_features_that_were_as_expected() -> None:
    features = (
        FeatureDeviation("flag", "SF", "SF", 0.6),
        FeatureDeviation("srv_count", 255, 256.4, 0.5),
        FeatureDeviation("count", 500, 2.0, 0.4),
    )
    assert rendered(replace(DETECTION, features=features))["message"] == (
        "count 500, expected about 2"
    )


def test_without_features_the_message_tells_the_error() -> None:
    alert = rendered(replace(DETECTION, features=()))
    assert alert["message"] == (
        "Reconstruction error 4.18, threshold 1.12: about 1 in 125,000 normal vectors deviates "
        "this much."
    )


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf"), 10**400])
def test_numbers_beyond_json_do_not_break_it(number: float) -> None:
    alert = rendered(
        replace(DETECTION, features=(FeatureDeviation("f", number, float("nan"), float("nan")),))
    )
    assert "expected" not in alert["unmapped"]["features"][0]


def test_an_alert_reads_back_as_it_was_written() -> None:
    finding = alert_of(DETECTION, NOW_MS)
    assert DetectionFinding.from_bytes(finding.to_bytes()) == finding


def test_an_alert_with_an_attribute_of_its_own_is_refused() -> None:
    alert = json.loads(alert_of(DETECTION, NOW_MS).to_bytes())
    with pytest.raises(ValidationError, match="is_suspicious"):
        DetectionFinding.from_bytes(json.dumps({**alert, "is_suspicious": True}).encode())


SEEN = sighting_of(DETECTION, NOW_MS)
SPIKE = Spike("anomaly ratio", 0.1234, 0.00098, NOW_MS - 60_000)


def grown(activity: Activity, reports: int = 0, **seen: Any) -> dict[str, Any]:
    """What is told of an incident that has come to this."""
    incident = Incident(SUBJECTS[0], replace(SEEN, **seen), NOW_MS, 0, 0, reports)
    return judge(render_alert(Change(activity, incident), NOW_MS).value)


def test_an_incident_goes_from_new_over_in_progress_to_resolved() -> None:
    alerts = [
        grown(activity, vectors=n, reports=n - 1) for n, activity in enumerate(Activity, start=1)
    ]
    told = [(a["activity_id"], a["activity_name"], a["status_id"], a["status"]) for a in alerts]
    assert told == [
        (1, "Create", 1, "New"),
        (2, "Update", 2, "In Progress"),
        (3, "Close", 4, "Resolved"),
    ]
    assert len({alert["finding_info"]["uid"] for alert in alerts}) == 1
    assert len({alert["metadata"]["uid"] for alert in alerts}) == 3
    assert ["modified_time" in alert["finding_info"] for alert in alerts] == [False, True, True]


@pytest.mark.parametrize(
    ("activity", "change", "message"),
    [
        (Activity.CREATE, {}, "dst_host_count 255, "),
        (Activity.CREATE, {"vectors": 12}, "12 anomalous vectors; dst_host_count 255, "),
        (Activity.UPDATE, {"vectors": 1234, "last_seen_ms": SEEN.first_seen_ms + 400_000},
         "1,234 anomalous vectors in 6 min; dst_host_count 255, "),
        (Activity.CLOSE, {"vectors": 3, "last_seen_ms": SEEN.first_seen_ms + 45_000},
         "over: 3 anomalous vectors in 45 s; dst_host_count 255, "),
        (Activity.CREATE, {"vectors": 0, "spike": SPIKE},
         "anomaly ratio 12 %, usually about 0.098 %, since 23:59 UTC; dst_host_count 255, "),
        (Activity.CREATE, {"spike": replace(SPIKE, measure="mean error"), "vectors": 2},
         "mean error 0.123, usually about 0.00098, since 23:59 UTC; 2 anomalous vectors; dst"),
    ],
)  # fmt: skip
def test_the_message_tells_what_it_has_come_to_and_what_is_odd(
    activity: Activity, change: dict[str, Any], message: str
) -> None:
    assert grown(activity, **change)["message"].startswith(message)


@pytest.mark.parametrize(
    ("change", "severity"),
    [
        ({}, "Low"),
        ({"vectors": 99}, "Low"),
        ({"vectors": 100}, "Medium"),
        ({"vectors": 1000}, "High"),
        ({"vectors": 10_000}, "Critical"),
        ({"last_seen_ms": SEEN.first_seen_ms + 600_000}, "Medium"),
        ({"last_seen_ms": SEEN.first_seen_ms + 600_000, "vectors": 1000}, "Critical"),
        ({"spike": SPIKE}, "Medium"),
        ({"spike": SPIKE, "vectors": 100}, "High"),
        ({"evidence": replace(DETECTION, tail_probability=1e-4), "vectors": 100}, "High"),
    ],
)
def test_severity_rises_with_number_duration_and_level_too(
    change: dict[str, Any], severity: str
) -> None:
    usual = {"evidence": replace(DETECTION, tail_probability=1e-3)}
    assert grown(Activity.UPDATE, **{**usual, **change})["severity"] == severity


def test_the_destination_is_second_where_there_is_someone_else() -> None:
    assert (Subject("source", "10.4.7.21"), Subject("destination", "192.0.2.80")) == SUBJECTS
    event = EventIdentity((), destination_address="192.0.2.80", entities={"user": "eve", "vm": "x"})
    found = subjects(replace(DETECTION, event=event))
    assert found == (Subject("user", "eve"), Subject("destination", "192.0.2.80"))
    assert subjects(replace(DETECTION, event=EventIdentity((), destination_address="d"))) == (
        Subject("destination", "d"),
    )

"""A judge for published alerts, and a detection to render one from."""

import json
from functools import cache
from typing import Any

from jsonschema import Draft202012Validator
from ocsf_json_schema import OcsfJsonSchemaEmbedded, get_ocsf_schema

from monitor.batch import EventIdentity, FeatureDeviation
from monitor.contracts.alert import render_alert
from monitor.contracts.detection import Detection, sighting_of
from monitor.contracts.ocsf import DetectionFinding
from monitor.detect.incidents import Change, alone

EARLIEST_MILLISECONDS = 10**11  # as seconds this would be the year 5138

NOW_MS = 1_767_225_602_500
DETECTION = Detection(
    topic="vectors",
    partition=3,
    offset=81_290,
    record_time_ms=1_767_225_602_000,
    event=EventIdentity(
        observed=(255, "S0", 0),
        record_id="CHhAvVGS1DHFjwGM9",
        event_time_ms=1_767_225_600_123,
        source_address="10.4.7.21",
        source_port=49_188,
        destination_address="192.0.2.80",
        destination_port=443,
        protocol="tcp",
        entities={"sensor": "edge-2"},
    ),
    reconstruction_error=4.18,
    threshold=1.12,
    false_alarm_rate=0.001,
    tail_probability=0.000008,
    features=(
        FeatureDeviation("dst_host_count", 255, 3.04, 0.62),
        FeatureDeviation("flag", "S0", "SF", 0.21),
    ),
    bundle_id="0123456789abcdef",
    detector_name="dense",
)


def alone_at(detection: Detection, now_ms: int = NOW_MS) -> Change[Detection]:
    """A detection as an incident of its own."""
    return alone(sighting_of(detection, now_ms), now_ms)


def alert_of(detection: Detection, now_ms: int = NOW_MS) -> DetectionFinding:
    """The alert of a detection that is alone."""
    return DetectionFinding.from_bytes(render_alert(alone_at(detection, now_ms), now_ms).value)


def judge(value: bytes) -> dict[str, Any]:
    """Read an alert as a stranger would: by OCSF's own schema, and by what that does not check."""
    alert: dict[str, Any] = json.loads(value, parse_constant=_refuse)
    errors = [f"{error.json_path}: {error.message}" for error in _ocsf().iter_errors(alert)]
    assert not errors, errors
    assert alert["type_uid"] == alert["class_uid"] * 100 + alert["activity_id"]
    for time_ms in (
        alert["time"],
        alert["metadata"]["processed_time"],
        alert["finding_info"]["created_time"],
    ):
        assert time_ms > EARLIEST_MILLISECONDS
    return alert


def attribute(alert: dict[str, Any], path: str) -> Any:
    """The value at a path such as `evidences[0].src_endpoint.ip`."""
    value: Any = alert
    for step in path.replace("[", ".[").split("."):
        value = value[int(step[1:-1])] if step.startswith("[") else value[step]
    return value


@cache
def _ocsf() -> Draft202012Validator:
    schema = OcsfJsonSchemaEmbedded(get_ocsf_schema("1.8.0"))
    return Draft202012Validator(schema.get_class_schema("detection_finding"))


def _refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is not JSON")

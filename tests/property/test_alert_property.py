"""Whatever an event claims to be, its alert is valid OCSF and valid JSON."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.batch import EventIdentity, FeatureDeviation
from monitor.contracts.alert import alert_key, render_alert
from monitor.contracts.detection import Detection
from monitor.contracts.ocsf import DetectionFinding
from monitor.contracts.text import MAX_TEXT
from tests.support.alerts import NOW_MS, alone_at, judge

ANY_CHARACTER = st.characters(exclude_categories=())  # lone surrogates and controls included
TEXT = st.text(ANY_CHARACTER) | st.text(ANY_CHARACTER, min_size=MAX_TEXT - 1, max_size=300)
NUMBER = st.integers() | st.floats() | st.sampled_from([10**400, -(10**400), 2**63])
VALUE = st.none() | st.booleans() | NUMBER | TEXT | st.lists(st.none()) | st.just({"a": 1})
ADDRESS = st.none() | st.ip_addresses().map(str) | st.from_regex(r"[\w.:%-]+") | TEXT
PORT = st.none() | st.integers(-1, 65_536) | st.integers()
PROTOCOL = st.none() | st.sampled_from(["tcp", "UDP", "icmp", "132", "1", "58"]) | TEXT
TIME = st.none() | st.integers() | st.integers(-1, 5 * 10**12)

EVENTS = st.builds(
    EventIdentity,
    observed=st.just(()),
    record_id=st.none() | TEXT,
    event_time_ms=TIME,
    source_address=ADDRESS,
    source_port=PORT,
    destination_address=ADDRESS,
    destination_port=PORT,
    protocol=PROTOCOL,
    entities=st.dictionaries(TEXT, TEXT, max_size=3),
)
DETECTIONS = st.builds(
    Detection,
    topic=st.from_regex(r"[a-zA-Z0-9._-]{1,249}", fullmatch=True),
    partition=st.integers(0, 2**31 - 1),
    offset=st.integers(0, 2**63 - 1),
    record_time_ms=st.integers(-1, 2**63 - 1),
    event=EVENTS,
    reconstruction_error=st.floats(),
    threshold=st.floats(),
    false_alarm_rate=st.floats(0, 1, exclude_min=True, exclude_max=True),
    tail_probability=st.floats(),
    features=st.lists(
        st.builds(FeatureDeviation, name=TEXT, observed=VALUE, expected=VALUE, share=st.floats()),
        max_size=4,
    ).map(tuple),
    bundle_id=st.just("0123456789abcdef"),
    detector_name=st.just("dense"),
    record_key=st.none() | st.binary(),
)


@settings(max_examples=200, deadline=None)
@given(DETECTIONS)
def test_any_detection_renders_to_a_valid_alert_that_reads_back(detection: Detection) -> None:
    value = render_alert(alone_at(detection), NOW_MS).value
    for text in _strings(judge(value)):
        assert text.isprintable()
    assert DetectionFinding.from_bytes(value).to_bytes() == value


@settings(max_examples=200, deadline=None)
@given(DETECTIONS)
def test_any_detection_has_a_bounded_key(detection: Detection) -> None:
    assert 1 <= len(alert_key(alone_at(detection))) <= 1024


def _strings(node: Any) -> list[str]:
    if isinstance(node, str):
        return [node]
    if isinstance(node, dict):
        return [s for pair in node.items() for part in pair for s in _strings(part)]
    return [s for part in node for s in _strings(part)] if isinstance(node, list) else []

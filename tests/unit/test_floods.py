"""Whoever floods neither silences the others nor delays them, and no vector goes unscored."""

from collections import Counter

import pytest

from monitor.config import IncidentSettings, SpikeSettings
from monitor.detect.detector import Detector
from monitor.stream.isolation import Seldom
from tests.bench.floods import watch_invented_entities
from tests.support.detectors import fit_small
from tests.unit.test_pipeline import NORMAL, NOW_MS, batch_of, findings, odd, pipeline_of, score

SECONDS, FLOODED, SLOW = 60, 100, 20
START_S = NOW_MS / 1000 - 1000


@pytest.fixture(scope="module")
def detector() -> Detector:
    return fit_small().detector


@pytest.mark.parametrize("flooding", ["one host", "hosts that send nothing odd"])
def test_a_flood_neither_buries_nor_delays_what_others_do(
    detector: Detector, flooding: str
) -> None:
    """One entity sends a hundred times what others do, while another plants 20 slow anomalies."""
    pipeline = pipeline_of(detector, IncidentSettings(), spikes=SpikeSettings())
    planted = {3 * n: f"192.168.7.{n}" for n in range(SLOW)}
    told_at: dict[str, int] = {}
    scored = 0
    for second in range(SECONDS):
        ts = START_S + second
        flood = (
            [odd(f"f{second}", "10.0.0.66", ts=ts)] * FLOODED
            if flooding == "one host"
            else [{**NORMAL, "ts": ts, "src": f"10.{second}.0.{n}"} for n in range(FLOODED)]
        )
        slow = [odd(f"slow{second}", planted[second], ts=ts)] if second in planted else []
        found = score(pipeline, batch_of(*flood[:50], *slow, *flood[50:]))
        scored += len(found.errors)
        for alert in findings(pipeline.judge(found)):
            if alert.unmapped.incident.name in planted.values():
                told_at[str(alert.unmapped.record_id)] = second
    assert scored == SECONDS * FLOODED + SLOW
    assert told_at == {f"slow{second}": second for second in planted}


def test_alerts_of_a_flood_come_at_a_bounded_rate(
    detector: Detector,
) -> None:
    pipeline = pipeline_of(detector, IncidentSettings())
    told: Counter[str] = Counter()
    for second in range(SECONDS):
        ts = START_S + second
        flood = [odd("f", "10.0.0.66", ts=ts)] * FLOODED
        alerts = findings(pipeline.judge(score(pipeline, batch_of(*flood))))
        told.update(alert.unmapped.incident.name for alert in alerts)
    assert told == {"10.0.0.66": 1}


def test_memory_is_flat_however_many_entities_are_invented() -> None:
    """`make bench` watches ten million."""
    _, grown_mb = watch_invented_entities(200_000)
    _, later_mb = watch_invented_entities(200_000)
    assert grown_mb < 100
    assert later_mb < 30


def test_a_log_line_that_may_come_very_often_comes_once_a_minute() -> None:
    second = [0.0]
    seldom = Seldom(lambda: second[0])
    told = []
    for second[0] in range(0, 180, 10):
        told.append(seldom.count())
    assert [n for n in told if n] == [1, 6, 6]

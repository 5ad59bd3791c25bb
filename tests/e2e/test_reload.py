"""SIGHUP: the running daemon takes a new budget, and nothing of the stream is lost or repeated."""

import shutil
import signal
from pathlib import Path

import pytest

from monitor.bundle import load, move_budget
from monitor.contracts.ocsf import DetectionFinding
from tests.e2e.test_run import NORMAL, ODD, event
from tests.support.brokers import Broker
from tests.support.daemons import Daemon, group_of, settings_file, small_bundle
from tests.support.waiting import until

pytestmark = [pytest.mark.kafka, pytest.mark.e2e]
GROUP = 300
ODD_ONES = 3


def traffic(first: int) -> list[bytes]:
    """Vectors of which the first few are odd at any budget."""
    return [event(ODD if n < ODD_ONES else NORMAL, first + n) for n in range(GROUP)]


def set_line(settings: Path, old: str, new: str) -> None:
    text = settings.read_text()
    assert old in text
    settings.write_text(text.replace(old, new))


def test_a_new_budget_is_taken_at_the_next_micro_batch_and_no_offset_moves(
    kafka_broker: Broker, tmp_path: Path
) -> None:
    topic = kafka_broker.create_topic(partitions=2)
    bundle = tmp_path / "bundle"
    shutil.copytree(small_bundle(), bundle)
    settings = settings_file(
        tmp_path, kafka_broker, topic, bundle=bundle, top="false_alarm_rate = 0.01"
    )
    detector, manifest = load(bundle, "cpu")
    thresholds = {rate: detector.with_budget(rate).threshold for rate in (0.01, 0.05, 0.02)}
    sent = 0
    with Daemon(settings) as daemon:
        daemon.wait_until_ready()

        def judge_more(threshold: float) -> None:
            nonlocal sent
            kafka_broker.produce(topic, *traffic(sent))
            sent += GROUP
            until(lambda: daemon.vectors() == sent)
            assert daemon.metric("anomaly_monitor_threshold") == pytest.approx(threshold)

        def reload() -> None:
            before = len(daemon.events)
            daemon.process.send_signal(signal.SIGHUP)
            until(lambda: len(daemon.events) > before)

        judge_more(thresholds[0.01])
        set_line(settings, "false_alarm_rate = 0.01", "false_alarm_rate = 0.05")
        set_line(settings, "[batch]", "[batch]\nmax_delay_ms = 30")
        reload()
        judge_more(thresholds[0.05])
        assert daemon.event("changes wait for a restart")["changed"] == ["batch.max_delay_ms"]

        set_line(settings, "false_alarm_rate = 0.05", "false_alarm_rate = 5")
        reload()
        judge_more(thresholds[0.05])
        refused = daemon.event("settings are refused, the old ones go on")["reason"]
        assert f"settings {settings}: false_alarm_rate: expected a number less than 1" in refused

        set_line(settings, "false_alarm_rate = 5", "")
        moved = move_budget(bundle, 0.02)
        reload()
        judge_more(thresholds[0.02])
        assert daemon.metric("anomaly_monitor_bundle_info", bundle=moved.bundle_id) == 1

        rule = '[[suppress]]\nreason = "a known scanner"\nentity = "10.0.0.*"\n[telemetry]'
        set_line(settings, "[telemetry]", rule)
        reload()
        judge_more(thresholds[0.02])
        suppressed = daemon.metric("anomaly_monitor_suppressed_total", reason="a known scanner")
        assert suppressed >= ODD_ONES

        until(lambda: daemon.lag == 0)
        assert daemon.metric("anomaly_monitor_false_alarm_rate_target") == 0.02
        assert daemon.metric("anomaly_monitor_false_alarm_rate_realised") > 0
        assert daemon.terminate() == 0
    assert sum(kafka_broker.committed(group_of(settings), topic).values()) == sent
    alerts = [
        DetectionFinding.from_bytes(record.value)
        for record in kafka_broker.consume_all(f"{topic}-alerts")
    ]
    by_id = {int(alert.unmapped.record_id[1:]): alert.unmapped for alert in alerts}
    assert len(by_id) == len(alerts)
    expected = [0.01, 0.05, 0.05, 0.02]  # in the fifth all is suppressed
    assert by_id.keys() >= {g * GROUP + n for g in range(len(expected)) for n in range(ODD_ONES)}
    for number, alert in by_id.items():
        assert alert.threshold == pytest.approx(thresholds[expected[number // GROUP]])
        own = moved if number // GROUP == 3 else manifest
        assert alert.bundle_id == own.bundle_id

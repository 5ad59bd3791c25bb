"""`monitor run` in a flood: few alerts that grow and end, and what is known is only counted."""

import json
from collections import Counter
from pathlib import Path

import pytest

from monitor.contracts.ocsf import DetectionFinding
from tests.support.brokers import Broker
from tests.support.daemons import Daemon, settings_file
from tests.support.waiting import until

pytestmark = [pytest.mark.kafka, pytest.mark.e2e]

ODD = {"bytes": 9e9, "packets": 1, "rate": -5.0, "protocol": "gre", "encrypted": False}
INCIDENTS = """
quiet_seconds = 3
[[suppress]]
reason = "known scanner"
entity = "10.9.0.0/16"
"""


def odd(host: str) -> bytes:
    return json.dumps({**ODD, "src": host}).encode()


def test_a_flood_is_as_many_incidents_as_hosts_and_they_end_in_silence(
    kafka_broker: Broker, tmp_path: Path
) -> None:
    topic = kafka_broker.create_topic()
    settings = settings_file(tmp_path, kafka_broker, topic, incidents=INCIDENTS)
    flood = [odd(f"10.0.0.{n % 10}") for n in range(5000)]
    with Daemon(settings) as daemon:
        daemon.wait_until_ready()
        kafka_broker.produce(topic, *flood, *[odd("10.9.1.1")] * 7)
        until(lambda: daemon.vectors() == 5007)
        alerts_total = "anomaly_monitor_alerts_total"
        until(lambda: daemon.metric(alerts_total, activity="Close") == 10)
        assert daemon.metric(alerts_total, activity="Create") == 10
        assert daemon.metric("anomaly_monitor_incidents_open") == 0
        assert daemon.metric("anomaly_monitor_anomalies_total") == 5007
        assert daemon.metric("anomaly_monitor_suppressed_total", reason="known scanner") == 7
        kafka_broker.produce(topic, odd("10.0.0.3"))
        until(lambda: daemon.metric("anomaly_monitor_incidents_open") == 1)
        daemon.terminate()
    records = kafka_broker.consume_all(f"{topic}-alerts")
    alerts = [DetectionFinding.from_bytes(record.value) for record in records]
    closed = [alert for alert in alerts if alert.activity_name == "Close"]
    assert sum(alert.count for alert in closed) == 5000
    told = Counter(alert.activity_name for alert in alerts)
    assert (told["Create"], told["Close"]) == (11, 10), "stopping closes no incident"
    begun = {alert.finding_info.uid for alert in alerts if alert.activity_name == "Create"}
    assert {alert.finding_info.uid for alert in closed} < begun
    assert all(record.key.startswith(b"10.0.0.") for record in records)

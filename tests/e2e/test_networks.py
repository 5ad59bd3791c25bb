"""The daemon serves whatever network a bundle holds."""

from dataclasses import replace
from pathlib import Path

import pytest

from monitor.contracts.ocsf import DetectionFinding
from tests.e2e.test_run import NORMAL, ODD, event
from tests.support.brokers import Broker
from tests.support.daemons import Daemon, settings_file
from tests.support.detectors import HASTY, save_small
from tests.support.waiting import until

pytestmark = [pytest.mark.kafka, pytest.mark.e2e]


# One that adds to the error, and has tensors of every type; the rest is the contract suite's.
@pytest.mark.parametrize("network", ["ensemble"])
def test_another_network_is_served_unchanged(
    kafka_broker: Broker, tmp_path: Path, network: str
) -> None:
    save_small(tmp_path / "bundle", replace(HASTY, network=network))
    topic = kafka_broker.create_topic()
    settings = settings_file(tmp_path, kafka_broker, topic, bundle=tmp_path / "bundle")
    with Daemon(settings) as daemon:
        daemon.wait_until_ready()
        kafka_broker.produce(topic, *(event(NORMAL, n) for n in range(50)), event(ODD, 50))
        until(lambda: daemon.vectors() == 51)
        records = kafka_broker.consume_all(f"{topic}-alerts", count=1)
        alerts = [DetectionFinding.from_bytes(record.value) for record in records]
        assert "C50" in {alert.unmapped.record_id for alert in alerts}
        assert alerts[0].unmapped.features
        assert daemon.metric("anomaly_monitor_bundle_info", network=network, device="cpu") == 1
        assert daemon.terminate() == 0

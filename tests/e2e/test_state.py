"""`monitor run`, killed while incidents are open: the next process goes on with them."""

import json
import time
from pathlib import Path

import pytest
from kafka import KafkaProducer

from monitor.contracts.ocsf import DetectionFinding
from tests.support.brokers import Broker, fresh_name
from tests.support.daemons import Daemon, settings_file
from tests.support.waiting import until

pytestmark = [pytest.mark.kafka, pytest.mark.e2e]

ODD = {"bytes": 9e9, "packets": 1, "rate": -5.0, "protocol": "gre", "encrypted": False}
HOSTS, VECTORS = 3, 600


def test_an_incident_survives_kill_9_with_its_uid_and_an_exact_count(
    kafka_broker: Broker, tmp_path: Path
) -> None:
    if not kafka_broker.is_apache_kafka:
        pytest.skip("only Apache Kafka isolates what is aborted")
    topic = kafka_broker.create_topic(partitions=2)
    settings = settings_file(tmp_path, kafka_broker, topic, incidents="quiet_seconds = 5")
    written_ms = int(time.time() * 1000)  # no time passes by what events claim

    def flood() -> None:
        for partition in range(2):
            odd = [json.dumps({**ODD, "src": f"10.0.0.{n % HOSTS}"}) for n in range(VECTORS)]
            values = [value.encode() for value in odd]
            kafka_broker.produce(topic, *values, partition=partition, timestamp_ms=written_ms)

    with Daemon(settings) as daemon:
        daemon.wait_until_ready()
        flood()
        until(lambda: daemon.metric("anomaly_monitor_incidents_open") == HOSTS)
    flood()  # the first one was killed
    with Daemon(settings) as daemon:
        closed = {"activity": "Close"}
        until(lambda: daemon.url and daemon.metric("anomaly_monitor_alerts_total", **closed))
        until(lambda: daemon.metric("anomaly_monitor_incidents_open") == 0)
        assert daemon.event("state loaded")["incidents"] == HOSTS
        assert daemon.terminate() == 0
    alerts = [
        DetectionFinding.from_bytes(record.value)
        for record in kafka_broker.consume_all(f"{topic}-alerts", isolation_level="read_committed")
    ]
    opened = [a.finding_info.uid for a in alerts if a.activity_name == "Create"]
    ended = {a.finding_info.uid: a.count for a in alerts if a.activity_name == "Close"}
    assert len(opened) == HOSTS
    assert ended == dict.fromkeys(opened, 4 * VECTORS // HOSTS)


def test_while_another_has_a_transaction_open_on_the_state_it_is_not_ready_and_stops_in_time(
    kafka_broker: Broker, tmp_path: Path
) -> None:
    if not kafka_broker.is_apache_kafka:
        pytest.skip("only Apache Kafka isolates what is not committed")
    topic, state = kafka_broker.create_topic(), kafka_broker.create_topic()
    settings = settings_file(tmp_path, kafka_broker, topic, kafka=f'state_topic = "{state}"')
    another = KafkaProducer(**kafka_broker.client(transactional_id=fresh_name("id")))
    another.init_transactions()
    another.begin_transaction()
    another.send(state, b"{}", b'["another group","vectors",0,0,0]')
    another.flush()
    with Daemon(settings) as daemon:
        waits = "state cannot be loaded yet, waiting"
        until(lambda: daemon.told(waits))
        reason = f"a transaction is open on {state}[0]"
        assert daemon.event(waits)["reason"] == reason
        status, body = daemon.ready()
        parts = body["parts"]
        assert (status, parts["state"]) == (503, reason)
        assert parts["broker"] == parts["group"] == "ok"
        began = time.monotonic()
        assert daemon.terminate() == 0
        assert time.monotonic() - began < 8
        assert daemon.told(waits) == 1
        assert daemon.told("stopped before the state was loaded; nothing was begun") == 1
        assert not daemon.told("broker is away, trying on")
        assert not daemon.told("ready")
    another.abort_transaction()
    another.close()

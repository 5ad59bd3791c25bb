"""What must not stop the stream, with the real process: a defect, a full disk, a damaged bundle."""

import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from urllib.request import urlopen

import pytest

from monitor.contracts.dead_letter import DeadLetterHeaders
from monitor.contracts.ocsf import DetectionFinding
from monitor.reasons import Reason
from tests.e2e.test_run import NORMAL, ODD, event
from tests.support.brokers import Broker
from tests.support.daemons import STOP_SECONDS, Daemon, group_of, settings_file, small_bundle
from tests.support.waiting import until

pytestmark = [pytest.mark.kafka, pytest.mark.e2e]

DEFECT = """
from monitor.ingest import json_reader

parse = json_reader.parse_document


def defective(value, max_bytes):
    if b"poison" in (value or b""):
        raise ZeroDivisionError("a defect")
    return parse(value, max_bytes)


json_reader.parse_document = defective
"""


def test_a_record_that_the_monitor_fails_on_is_met_once_and_a_damaged_bundle_changes_nothing(
    kafka_broker: Broker, tmp_path: Path
) -> None:
    topic = kafka_broker.create_topic()
    bundle = tmp_path / "bundle"
    shutil.copytree(small_bundle(), bundle)
    settings = settings_file(tmp_path, kafka_broker, topic, bundle=bundle)
    (tmp_path / "sitecustomize.py").write_text(DEFECT)
    poison = [b'{"poison": 1}', b'["poison"]']
    good = [event(NORMAL, n) for n in range(200)]
    with Daemon(settings, PYTHONPATH=str(tmp_path)) as daemon:
        daemon.wait_until_ready()
        kafka_broker.produce(topic, *good[:70], poison[0], *good[70:150], poison[1], *good[150:])
        until(lambda: daemon.vectors() == 200)
        until(lambda: daemon.lag == 0)
        assert daemon.metric("anomaly_monitor_dead_letters_total", reason="defect") == 2
        assert "a defect" in daemon.event("records are dead letters by a defect")["exception"]

        manifest = bundle / "manifest.json"
        manifest.write_bytes(manifest.read_bytes()[:-100])
        daemon.process.send_signal(signal.SIGHUP)
        until(lambda: daemon.told("settings are refused, the old ones go on") == 1)
        refused = daemon.event("settings are refused, the old ones go on")["reason"]
        assert f"bundle {bundle}: manifest.json is not JSON" in refused
        kafka_broker.produce(topic, *good)
        until(lambda: daemon.vectors() == 400)
        assert daemon.terminate() == 0
    letters = kafka_broker.consume_all(f"{topic}-dead-letters", count=2)
    assert [letter.value for letter in letters] == poison
    told = [DeadLetterHeaders.from_headers(letter.headers) for letter in letters]
    assert [letter.reason for letter in told] == [Reason.DEFECT] * 2
    assert [letter.offset for letter in told] == [70, 151]


TRIAGE_DEFECT = """
from monitor.detect.incidents import Incidents

take = Incidents._take


def defective(self, seen, *times):
    yield from take(self, seen, *times)
    if seen.evidence.event.source_address == "10.0.0.7":
        raise ZeroDivisionError("a defect")


Incidents._take = defective
"""


def test_a_record_on_which_triage_fails_is_told_of_and_the_incidents_of_before_go_on(
    kafka_broker: Broker, tmp_path: Path
) -> None:
    topic = kafka_broker.create_topic()
    settings = settings_file(tmp_path, kafka_broker, topic, incidents="update_seconds = 600")
    (tmp_path / "sitecustomize.py").write_text(TRIAGE_DEFECT)
    with Daemon(settings, PYTHONPATH=str(tmp_path)) as daemon:
        daemon.wait_until_ready()
        kafka_broker.produce(topic, event(ODD, 1))
        until(lambda: daemon.lag == 0 and daemon.vectors() == 1)
        kafka_broker.produce(topic, *(event(ODD, n) for n in (1, 2, 3, 7, 4, 7, 5, 1)))
        until(lambda: daemon.vectors() == 9)
        until(lambda: daemon.lag == 0)
        assert daemon.metric("anomaly_monitor_rewinds_total") <= 2 * 4
        assert daemon.metric("anomaly_monitor_incidents_open") == 5
        assert "a defect" in daemon.event("triage failed")["exception"]
        assert daemon.terminate() == 0
    alerts = [
        DetectionFinding.from_bytes(record.value)
        for record in kafka_broker.consume_all(f"{topic}-alerts", count=7)
    ]
    told = [(alert.activity_name, alert.unmapped.incident.name[-1]) for alert in alerts]
    assert sorted(told) == [("Create", name) for name in "1234577"]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_full_disk_under_its_log_neither_stops_nor_delays_it(
    kafka_broker: Broker, tmp_path: Path
) -> None:
    topic, port = kafka_broker.create_topic(), free_port()
    settings = settings_file(tmp_path, kafka_broker, topic, port=port)
    kafka_broker.produce(topic, *(event(NORMAL, n) for n in range(200)), b"no vector")
    command = [sys.executable, "-m", "monitor", "run", "--config", str(settings)]
    with Path("/dev/full").open("wb") as full:
        process = subprocess.Popen([*command, "--log-level", "debug"], stdout=full, stderr=full)
    scored = 'anomaly_monitor_vectors_total{outcome="scored"} 200.0'

    def has_scored() -> bool:
        assert process.poll() is None
        try:
            with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
                return scored in answer.read().decode()
        except OSError:
            return False

    try:
        until(has_scored, 60)
        process.send_signal(signal.SIGTERM)
        assert process.wait(STOP_SECONDS) == 0
    finally:
        process.kill()
        process.wait()
    assert sum(kafka_broker.committed(group_of(settings), topic).values()) >= 201


def test_without_a_dead_letter_topic_it_stops_rather_than_lose_a_record(
    kafka_broker: Broker, tmp_path: Path
) -> None:
    if not kafka_broker.is_apache_kafka:
        pytest.skip("the embedded broker makes topics anew")
    topic = kafka_broker.create_topic()
    settings = settings_file(tmp_path, kafka_broker, topic)
    with Daemon(settings) as daemon:
        daemon.wait_until_ready()
        kafka_broker.produce(topic, *(event(NORMAL, n) for n in range(50)))
        until(lambda: daemon.vectors() == 50)
        until(lambda: kafka_broker.committed(group_of(settings), topic) == {0: 50})
        admin = kafka_broker.admin()
        admin.delete_topics([f"{topic}-dead-letters"])
        admin.close()
        kafka_broker.produce(topic, b"no vector", event(NORMAL))
        assert daemon.process.wait(60) == 1
        assert f"{topic}-dead-letters" in daemon.log.read_text().splitlines()[-1]
    assert kafka_broker.committed(group_of(settings), topic) == {0: 50}

"""`monitor alerts`: the alert topic for people, and for programs."""

import json
import subprocess
import sys

import pytest

from monitor.cli.alerts import alert_line, as_json
from monitor.contracts.alert import alert_key
from tests.support.alerts import DETECTION, NOW_MS, alert_of, alone_at
from tests.support.brokers import Broker, fresh_name

KEY, ALERT = alert_key(alone_at(DETECTION)), alert_of(DETECTION, NOW_MS).to_bytes()


def watch(broker: Broker, topic: str, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "monitor", "alerts", "--topic", topic, *options]
    command += ["--bootstrap-servers", broker.bootstrap_servers]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


@pytest.mark.kafka
@pytest.mark.e2e
def test_alerts_are_printed_a_line_each_and_whole_with_json(kafka_broker: Broker) -> None:
    topic = kafka_broker.create_topic()
    kafka_broker.produce(topic, ALERT, ALERT, key=KEY)
    lines = watch(kafka_broker, topic, "--from-beginning", "--max", "2").stdout.splitlines()
    assert len(lines) == 2
    assert "10.4.7.21" in lines[0]
    assert "dst_host_count 255, expected about 3" in lines[0]
    done = watch(kafka_broker, topic, "--from-beginning", "--max", "1", "--json")
    assert json.loads(done.stdout) == json.loads(ALERT)


@pytest.mark.kafka
@pytest.mark.e2e
def test_a_topic_that_does_not_exist_is_named(kafka_broker: Broker) -> None:
    missing = fresh_name("missing")
    done = watch(kafka_broker, missing)
    assert done.returncode == 2
    assert f"topic '{missing}': does not exist" in done.stderr


def test_the_line_says_when_how_grave_who_and_why() -> None:
    line = alert_line(KEY, ALERT).plain
    assert line.startswith("2026-01-01 00:00:00Z  High      create          1  10.4.7.21 ")
    assert line.endswith("(error 4.18 > 1.12, 1 in 125,000)")


def test_nothing_in_a_record_can_steer_the_terminal() -> None:
    bell = b"\x1b]0;owned\x07"
    assert "\x1b" not in alert_line(bell, ALERT).plain
    assert "\x1b" not in alert_line(b"", bell + b"\xff").plain
    assert as_json(bell).isprintable()
    forged = ALERT.replace(b"dst_host_count", b"\xc2\x9b31m\xe2\x80\xae")
    assert as_json(forged).isascii()
    assert alert_line(KEY, forged).plain.isprintable()

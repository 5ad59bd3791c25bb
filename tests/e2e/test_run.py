"""`monitor run` as a user starts it: traffic in, alerts out, and a clean end."""

import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from time import monotonic

import pytest

from monitor.contracts.dead_letter import DeadLetterHeaders
from monitor.contracts.ocsf import DetectionFinding
from monitor.reasons import Reason
from tests.support.brokers import Broker
from tests.support.daemons import Daemon, group_of, settings_file
from tests.support.kafka_server import KafkaServer
from tests.support.waiting import until

pytestmark = [pytest.mark.kafka, pytest.mark.e2e]

NORMAL = {"bytes": 4000, "packets": 8, "rate": 0.8, "protocol": "tcp", "encrypted": True}
ODD = {"bytes": 9e9, "packets": 1, "rate": -5.0, "protocol": "gre", "encrypted": False}


def event(values: dict, number: int = 0, **changes: object) -> bytes:
    """A vector as a JSON event."""
    host = f"10.0.0.{number % 250}"
    return json.dumps({**values, "uid": f"C{number}", "src": host, **changes}).encode()


def test_traffic_in_alerts_out_and_a_clean_end(kafka_broker: Broker, tmp_path: Path) -> None:
    topic = kafka_broker.create_topic(partitions=2)
    settings = settings_file(tmp_path, kafka_broker, topic)
    events = [event(ODD if n % 100 == 0 else NORMAL, n) for n in range(1000)]
    with Daemon(settings) as daemon:
        daemon.wait_until_ready()
        kafka_broker.produce(topic, *events)
        until(lambda: daemon.vectors() == 1000)
        records = kafka_broker.consume_all(f"{topic}-alerts", count=10)
        alerts = [DetectionFinding.from_bytes(record.value) for record in records]
        assert {alert.unmapped.record_id for alert in alerts} >= {f"C{n * 100}" for n in range(10)}
        assert all(record.key.startswith(b"10.0.0.") for record in records)
        assert daemon.metric("anomaly_monitor_alerts_total") == len(alerts)
        ratio = daemon.metric("anomaly_monitor_anomaly_ratio")
        assert ratio == pytest.approx(len(alerts) / 1000, rel=0.1)
        assert daemon.metric("anomaly_monitor_detection_latency_seconds_count") == 1000
        assert daemon.metric("anomaly_monitor_reconstruction_error_count") == 1000
        assert daemon.metric("anomaly_monitor_bundle_info", network="dense", device="cpu") == 1
        until(lambda: daemon.lag == 0)
        for stage in ("poll", "decode", "score", "triage", "publish"):
            until(
                lambda stage=stage: daemon.metric(
                    "anomaly_monitor_stage_seconds_count", stage=stage
                )
            )
        started = monotonic()
        assert daemon.terminate() == 0
        assert monotonic() - started < 10
        assert [entry["event"] for entry in daemon.events][-2:] == ["partitions revoked", "stopped"]
        assert {entry["level"] for entry in daemon.events} == {"info"}


def test_terminated_in_the_middle_it_resumes_without_losing_or_repeating_a_vector(
    kafka_broker: Broker, tmp_path: Path
) -> None:
    topic = kafka_broker.create_topic(partitions=3)
    total = 30_000
    settings = settings_file(tmp_path, kafka_broker, topic, batch="max_vectors = 50")
    group = group_of(settings)
    odd = range(0, total, 1000)
    kafka_broker.produce(topic, *(event(ODD if n in odd else NORMAL, n) for n in range(total)))
    scored = 0
    for number in (signal.SIGTERM, signal.SIGINT):
        with Daemon(settings) as daemon:
            daemon.wait_until_ready()
            until(lambda daemon=daemon: daemon.vectors() > 2000)
            assert daemon.terminate(number) == 0
            scored += daemon.event("stopped")["vectors"]
        assert sum(kafka_broker.committed(group, topic).values()) == scored
    assert scored < total
    with Daemon(settings) as daemon:
        daemon.wait_until_ready()
        until(lambda: daemon.vectors() + scored >= total)
        until(lambda: daemon.lag == 0)
        assert daemon.terminate() == 0
        scored += daemon.event("stopped")["vectors"]
    assert scored == total
    assert sum(kafka_broker.committed(group, topic).values()) == total
    alerts = kafka_broker.consume_all(f"{topic}-alerts")
    ids = [DetectionFinding.from_bytes(alert.value).unmapped.record_id for alert in alerts]
    assert len(ids) == len(set(ids))
    assert set(ids) >= {f"C{n}" for n in odd}


def test_killed_it_starts_again_and_misses_nothing(kafka_broker: Broker, tmp_path: Path) -> None:
    topic = kafka_broker.create_topic()
    total = 10_000
    settings = settings_file(
        tmp_path,
        kafka_broker,
        topic,
        kafka="session_timeout_ms = 6000",
        batch="max_vectors = 50",
    )
    odd = range(0, total, 500)
    kafka_broker.produce(topic, *(event(ODD if n in odd else NORMAL, n) for n in range(total)))
    with Daemon(settings) as daemon:
        daemon.wait_until_ready()
        until(lambda: daemon.vectors() > 1000)
        daemon.process.kill()
    with Daemon(settings) as daemon:
        daemon.wait_until_ready()
        until(lambda: daemon.lag == 0)
        alerts = kafka_broker.consume_all(f"{topic}-alerts")
        found = [DetectionFinding.from_bytes(alert.value) for alert in alerts]
        assert {alert.unmapped.record_id for alert in found} >= {f"C{n}" for n in odd}
        uids = {alert.unmapped.record_id: set() for alert in found}
        for alert in found:
            uids[alert.unmapped.record_id].add(alert.finding_info.uid)
        assert {len(same) for same in uids.values()} == {1}


GOOD = [
    event(NORMAL, 1),
    json.dumps([4000, 8, 0.8, "tcp", True]).encode(),
    event(NORMAL, 2, protocol="a protocol never seen"),
    event(NORMAL, 3, protocol=6),
    event(NORMAL, 4, encrypted=1),
    event(NORMAL, 5, further={"nested": [1, {}]}),
    event(NORMAL, 6, ts=0),
    event(NORMAL, 7, ts=4102444800),
    event(NORMAL, 8, ts="2100-01-01T00:00:00Z"),
    event(NORMAL, 9, bytes=3e38),
]
BAD = {
    Reason.MALFORMED_JSON: [b"{", b"{} {}", b"[1,", b"nul", b"{'a': 1}", b"[" * 100_000],
    Reason.NOT_UTF8: [b"\xff\xfe{", b'{"bytes": "\xc3("}'],
    Reason.EMPTY: [b"", b" \n"],
    Reason.TOMBSTONE: [None],
    Reason.WRONG_LENGTH: [
        b"[]",
        b"[1, 2]",
        json.dumps([1.0] * 6).encode(),
        b"[0" + b",0" * 99_999 + b"]",
    ],
    Reason.WRONG_SHAPE: [b"5", b'"text"', b"true", b"null"],
    Reason.MISSING_FEATURE: [b"{}", json.dumps({"bytes": 1}).encode(), event(NORMAL, bytes=None)],
    Reason.WRONG_TYPE: [
        event(NORMAL, bytes="many"),
        event(NORMAL, bytes=True),
        event(NORMAL, bytes={"value": 1}),
        event(NORMAL, protocol={"name": "tcp"}),
        event(NORMAL, encrypted="yes"),
    ],
    Reason.NOT_FINITE: [
        event(NORMAL, bytes=float("nan")),
        event(NORMAL, rate=float("-inf")),
        event(NORMAL).replace(b"4000", b"1e999"),
        event(NORMAL).replace(b"4000", b"9" * 400),
    ],
    Reason.OUT_OF_RANGE: [event(NORMAL, bytes=1e308), event(NORMAL, bytes=10**60)],
    Reason.DUPLICATE_KEY: [b'{"bytes": 1, "bytes": 2}'],
    Reason.TOO_LARGE: [
        json.dumps({"pad": "x" * 2_000_000}).encode(),
        b"[0" + b",0" * 999_999 + b"]",
    ],
}


def test_each_bad_record_becomes_a_dead_letter_and_the_stream_goes_on(
    kafka_broker: Broker, tmp_path: Path
) -> None:
    topic = kafka_broker.create_topic(config={"max.message.bytes": "5000000"})
    settings = settings_file(tmp_path, kafka_broker, topic)
    sent = [(reason, value) for reason, values in BAD.items() for value in values]
    random.Random(0).shuffle(sent)
    with Daemon(settings) as daemon:
        daemon.wait_until_ready()
        for number, (_, value) in enumerate(sent):
            kafka_broker_send = {"key": b"key-%d" % number, "headers": [("trace", b"%d" % number)]}
            kafka_broker.produce(topic, value, max_request_size=5_000_000, **kafka_broker_send)
        kafka_broker.produce(topic, *GOOD)
        until(lambda: daemon.vectors() == len(GOOD))
        assert daemon.vectors("dead_letter") == len(sent)
        letters = kafka_broker.consume_all(f"{topic}-dead-letters", count=len(sent))
        for reason, values in BAD.items():
            counted = daemon.metric("anomaly_monitor_dead_letters_total", reason=reason)
            assert counted == len(values), reason
        assert daemon.terminate() == 0
    for letter in letters:
        ours = DeadLetterHeaders.from_headers(list(letter.headers))
        reason, value = sent[ours.offset]
        assert ours.reason == reason, value
        assert letter.key == b"key-%d" % ours.offset
        assert ("trace", b"%d" % ours.offset) in letter.headers
        if ours.truncated is None:
            assert letter.value == value
        else:
            assert reason is Reason.TOO_LARGE
            assert len(letter.value) > 900_000
            assert (value or b"").startswith(letter.value)


def test_a_broker_that_is_away_is_waited_for_and_said_once_and_does_not_hold_up_the_end(
    kafka_server: KafkaServer, tmp_path: Path
) -> None:
    broker = Broker("Kafka", kafka_server.bootstrap_servers, server=kafka_server)
    topic = broker.create_topic()
    settings = settings_file(tmp_path, broker, topic, kafka="session_timeout_ms = 6000")
    kafka_server.stop()
    with Daemon(settings) as daemon:
        until(lambda: daemon.url and "refused" in daemon.ready()[1]["parts"]["broker"])
        assert daemon.ready()[0] == 503
        assert daemon.metric("anomaly_monitor_ready") == 0
        kafka_server.start()
        daemon.wait_until_ready()
        broker.produce(topic, event(NORMAL), event(ODD))
        until(lambda: daemon.vectors() == 2)
        kafka_server.kill()
        until(lambda: daemon.ready()[0] == 503)
        kafka_server.start()
        daemon.wait_until_ready()
        broker.produce(topic, event(ODD))
        until(lambda: broker.committed(group_of(settings), topic) == {0: 3})
        assert daemon.metric("anomaly_monitor_ready") == 1
        kafka_server.kill()
        until(lambda: daemon.ready()[0] == 503)
        assert daemon.terminate() == 0
        assert daemon.told("broker is away, trying on") == 3
        assert daemon.told("broker is back") == 2
        loud = [e for e in daemon.events if e["level"] in ("warning", "error")]
        assert len(loud) == 3, loud


def test_told_to_stop_while_it_waits_for_the_broker_it_ends_at_once(tmp_path: Path) -> None:
    settings = settings_file(tmp_path, Broker("none", "127.0.0.1:1"), "vectors")
    with Daemon(settings) as daemon:
        until(lambda: daemon.told("broker is away, trying on"))
        assert daemon.terminate(signal.SIGINT) == 0
        assert daemon.told("stopped") == 1


def test_with_a_broker_that_is_silent_it_ends_in_time_and_at_once_at_the_second_signal(
    kafka_server: KafkaServer, tmp_path: Path
) -> None:
    broker = Broker("Kafka", kafka_server.bootstrap_servers, server=kafka_server)
    topic = broker.create_topic()
    settings = settings_file(tmp_path, broker, topic, batch="max_vectors = 10")
    with Daemon(settings) as idle, Daemon(settings) as busy:
        idle.wait_until_ready()
        busy.wait_until_ready()
        broker.produce(topic, *(event(ODD, n) for n in range(12_000)))
        until(lambda: idle.vectors() + busy.vectors() > 100)
        if idle.vectors() > busy.vectors():
            idle, busy = busy, idle
        kafka_server.signal(signal.SIGSTOP)
        assert busy.terminate() == 0
        assert busy.told("stopped while outputs could not be published; none is committed") == 1
        idle.process.send_signal(signal.SIGTERM)
        until(lambda: idle.told("stopping"))
        assert idle.terminate() == 128 + signal.SIGTERM


def test_an_idle_daemon_hardly_uses_the_processor(kafka_broker: Broker, tmp_path: Path) -> None:
    settings = settings_file(tmp_path, kafka_broker, kafka_broker.create_topic())
    with Daemon(settings) as daemon:
        daemon.wait_until_ready()

        def used() -> float:
            fields = Path(f"/proc/{daemon.process.pid}/stat").read_text().rpartition(")")[2].split()
            return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

        before, started = used(), monotonic()
        with pytest.raises(subprocess.TimeoutExpired):
            daemon.process.wait(8)
        assert (used() - before) / (monotonic() - started) < 0.05
        assert daemon.metric("anomaly_monitor_batch_vectors_count") == 0


@pytest.mark.parametrize(
    ("edit", "sentence"),
    [
        (("group_id", "grup_id"), "kafka.grup_id: no such setting; did you mean kafka.group_id?"),
        (("input_topics = [", 'input_topics = ["no-such-topic", '), "topic 'no-such-topic': does"),
    ],
)
def test_a_set_up_that_cannot_work_ends_with_exit_code_2_and_one_sentence(
    kafka_broker: Broker, tmp_path: Path, edit: tuple[str, str], sentence: str
) -> None:
    settings = settings_file(tmp_path, kafka_broker, kafka_broker.create_topic())
    settings.write_text(settings.read_text().replace(*edit))
    command = [sys.executable, "-m", "monitor", "run", "--config", str(settings)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stdout == ""
    said = [line for line in done.stderr.splitlines() if not line.startswith("{")]
    assert len(said) == 1
    assert sentence in said[0]

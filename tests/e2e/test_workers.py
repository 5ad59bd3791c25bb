"""`monitor run` with several workers: one host, one log, one page of metrics, and nothing lost."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from time import monotonic

import pytest

from monitor.contracts.ocsf import DetectionFinding
from tests.e2e.test_reload import set_line
from tests.e2e.test_run import NORMAL, ODD, event
from tests.support.brokers import Broker
from tests.support.daemons import Daemon, group_of, settings_file
from tests.support.waiting import until

pytestmark = [pytest.mark.kafka, pytest.mark.e2e]

STATIC = """
group_instance_id = "host"
session_timeout_ms = 6000
"""


def traffic(numbers: Sequence[int]) -> Iterator[bytes]:
    """Vectors of which each hundredth is odd."""
    return (event(NORMAL if n % 100 else ODD, n) for n in numbers)


def started(daemon: Daemon) -> list[int]:
    """The processes that the supervisor has started, in order."""
    return [int(e["pid"]) for e in daemon.events if e["event"] == "worker started"]


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:  # it has ended, perhaps just now
        return False


class Growing:
    """A count that must never go back, however often it is looked at."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon, self._seen = daemon, 0

    def reaches(self, count: int) -> bool:
        now = self._daemon.vectors()
        assert now >= self._seen
        self._seen = now
        return now >= count


def test_two_workers_are_one_daemon_and_one_that_is_killed_comes_back_and_nothing_is_lost(
    kafka_broker: Broker, tmp_path: Path
) -> None:
    topic = kafka_broker.create_topic(partitions=4)
    settings = settings_file(
        tmp_path,
        kafka_broker,
        topic,
        top="workers = 2\nfalse_alarm_rate = 0.01",
        kafka=STATIC,
        batch="max_vectors = 50",
    )
    group = group_of(settings)
    with Daemon(settings) as daemon:
        daemon.wait_until_ready()
        scored = Growing(daemon)
        kafka_broker.produce(topic, *traffic(range(2000)))
        until(lambda: scored.reaches(2000))
        until(lambda: sum(kafka_broker.committed(group, topic).values()) == 2000)
        assert daemon.vectors() == 2000
        assert daemon.metric("anomaly_monitor_reconstruction_error_count") == 2000
        assert daemon.metric("anomaly_monitor_detection_latency_seconds_count") == 2000
        alerts = daemon.metric("anomaly_monitor_alerts_total")
        assert len(kafka_broker.consume_all(f"{topic}-alerts")) == alerts >= 20
        until(lambda: len(daemon.samples("anomaly_monitor_consumer_lag_records")) == 4)
        assert daemon.metric("anomaly_monitor_workers", state="ready") == 2
        parts = daemon.ready()[1]["parts"]
        assert {"worker 0: group", "worker 1: group"} < parts.keys()

        set_line(settings, "false_alarm_rate = 0.01", "false_alarm_rate = 0.02")
        daemon.process.send_signal(signal.SIGHUP)
        until(lambda: daemon.metric("anomaly_monitor_false_alarm_rate_target") == 0.02)
        kafka_broker.produce(topic, *traffic(range(2000, 12_000)))
        until(lambda: scored.reaches(3000))
        os.kill(started(daemon)[1], signal.SIGKILL)
        until(lambda: daemon.told("worker ended, it is started again"))
        assert daemon.event("worker ended, it is started again")["reason"] == "ended by SIGKILL."
        daemon.wait_until_ready()
        until(lambda: scored.reaches(0) and daemon.lag == 0)
        until(lambda: sum(kafka_broker.committed(group, topic).values()) == 12_000)
        assert daemon.metric("anomaly_monitor_worker_restarts_total") == 1
        assert daemon.metric("anomaly_monitor_workers", state="ready") == 2

        asked = monotonic()
        assert daemon.terminate() == 0
        assert monotonic() - asked < 10
        assert not any(map(runs, started(daemon)))
        assert {e.get("worker") for e in daemon.events if e["event"] == "partitions assigned"} == {
            0,
            1,
        }
    records = kafka_broker.consume_all(f"{topic}-alerts")
    told = [DetectionFinding.from_bytes(record.value) for record in records]
    assert {alert.unmapped.record_id for alert in told} >= {f"C{n}" for n in range(0, 12_000, 100)}
    uids = {(alert.unmapped.record_id, alert.finding_info.uid) for alert in told}
    assert len(uids) == len({record_id for record_id, _ in uids}), "a repeat has the same uid"


def test_a_second_copy_is_another_member_and_one_under_a_taken_name_is_refused(
    tmp_path: Path,
) -> None:
    settings = settings_file(tmp_path, Broker("none", "127.0.0.1:1"), "vectors")
    joined = "member of the group"
    with Daemon(settings) as first, Daemon(settings) as second:
        until(lambda: first.told(joined) and second.told(joined), 60)
        names = [str(daemon.event(joined)["instance"]) for daemon in (first, second)]
        set_line(settings, "[kafka]", f'[kafka]\ngroup_instance_id = "{names[1]}"')
        command = [sys.executable, "-m", "monitor", "run", "--config", str(settings)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert {name.rpartition("-")[2] for name in names} == {"0", "1"}
    assert done.returncode == 2
    assert f"{names[1]!r}: another process on this host is that member" in done.stderr


def test_no_worker_outlives_its_supervisor(tmp_path: Path) -> None:
    settings = settings_file(tmp_path, Broker("none", "127.0.0.1:1"), "vectors", top="workers = 2")
    with Daemon(settings) as daemon:
        until(lambda: daemon.told("broker is away, trying on") == 2)
        assert daemon.ready()[0] == 503
        assert "refused" in daemon.ready()[1]["parts"]["worker 1: broker"]
        daemon.process.kill()
        until(lambda: not any(map(runs, started(daemon))))
        assert daemon.told("stopped") == 2, "each in good order"


@pytest.mark.parametrize(
    ("edit", "sentence"),
    [
        (("group_id", "grup_id"), "kafka.grup_id: no such setting; did you mean kafka.group_id?"),
        (("input_topics = [", 'input_topics = ["no-such-topic", '), "topic 'no-such-topic': does"),
    ],
)
def test_a_set_up_that_cannot_work_is_one_sentence_however_many_workers_find_out(
    kafka_broker: Broker, tmp_path: Path, edit: tuple[str, str], sentence: str
) -> None:
    settings = settings_file(tmp_path, kafka_broker, kafka_broker.create_topic())
    set_line(settings, *edit)
    command = [sys.executable, "-m", "monitor", "run", "--config", str(settings), "--workers", "2"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stdout == ""
    [said] = [line for line in done.stderr.splitlines() if not line.startswith("{")]
    assert sentence in said

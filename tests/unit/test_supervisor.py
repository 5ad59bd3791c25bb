"""Workers that end, and how: real processes, though none that takes seconds to import torch."""

import os
import signal
import sys
from pathlib import Path

import pytest

from monitor.config import KafkaSettings, Settings, TelemetrySettings
from monitor.errors import SetupError, StreamError
from monitor.stream import supervisor
from monitor.stream.supervisor import Supervisor
from monitor.stream.worker import Place

SETTINGS = Settings(
    bundle=Path("bundle"),
    workers=2,
    kafka=KafkaSettings(bootstrap_servers="127.0.0.1:1", input_topics=("vectors",)),
    telemetry=TelemetrySettings(port=0),
)
WAIT = "import signal; signal.sigwait({signal.SIGTERM})"


@pytest.fixture(autouse=True)
def _in_haste(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(supervisor, "STOP_SECONDS", 0.3)


def run(first: str, second: str = WAIT) -> None:
    """Supervise two workers that run this code."""
    code = f"import os, sys\nif os.environ['ANOMALY_MONITOR_WORKER'] == '0/2':\n {first}\n"
    Supervisor(SETTINGS, [sys.executable, "-S", "-c", f"{code}else:\n {second}"]).run()


def test_what_must_be_put_right_first_ends_all_with_the_sentence_of_the_first_to_say_it() -> None:
    with pytest.raises(SetupError) as caught:
        run("""print('{0\\n1'); print('{"error": "bundle x: no such folder."}'); sys.exit(2)""")
    assert str(caught.value) == "bundle x: no such folder."


def test_once_a_worker_has_been_ready_what_is_to_be_put_right_is_a_failure_like_others(
    tmp_path: Path,
) -> None:
    been = tmp_path / "been"
    with pytest.raises(StreamError, match="worker 0, the last: bundle x: half copied"):
        run(
            f"""if not os.path.exists({str(been)!r}):
  open({str(been)!r}, "w"); print('{{"ready": "yes"}}', flush=True); os.kill(os.getpid(), 9)
 print('{{"error": "bundle x: half copied."}}'); sys.exit(2)"""
        )


def test_a_worker_that_ends_again_and_again_ends_all() -> None:
    with pytest.raises(StreamError) as caught:
        run("""print('{"error": "record 7 cannot be told."}'); sys.exit(1)""")
    assert "so that starting again does not help" in str(caught.value)
    assert str(caught.value).endswith("worker 0, the last: record 7 cannot be told.")
    with pytest.raises(StreamError, match="ended by SIGKILL"):
        run("os.kill(os.getpid(), 9)")


def test_a_worker_that_does_not_end_when_told_to_is_killed() -> None:
    ignore = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)"
    run(f"{ignore}; os.kill(os.getppid(), signal.SIGTERM); signal.pause()")


def test_a_second_signal_ends_it_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "STOP_SECONDS", 60.0)
    told = "os.kill(os.getppid(), 15)"
    code = f"import signal; signal.signal(15, lambda *_: {told}); {told}"
    with pytest.raises(SystemExit) as caught:
        run(f"{code}\n while 1: signal.pause()")
    assert caught.value.code == 128 + signal.SIGTERM


def test_a_worker_has_a_name_of_its_own_and_its_part_of_what_the_host_may_do() -> None:
    kafka = SETTINGS.kafka.model_copy(update={"group_instance_id": "host"})
    settings = SETTINGS.model_copy(update={"alerts_per_day": 30.0, "kafka": kafka})
    first, last = (Place(number, 3).share(settings) for number in (0, 2))
    assert last.kafka.client_id == "anomaly-monitor-2"
    assert (first.kafka.group_instance_id, last.kafka.group_instance_id) == ("host-0", "host-2")
    assert first.alerts_per_day == 10
    assert first.incidents.max_incidents_per_minute == 20
    assert first.incidents.max_open_incidents == 667
    assert first.spikes.false_alarm_interval_days == 90
    assert first.spikes.max_entities == 16_667
    assert (first.telemetry.host, first.telemetry.port) == ("127.0.0.1", 0)
    assert Place(0, 3).share(SETTINGS).alerts_per_day is None
    assert Place(0, 3).share(SETTINGS).kafka.group_instance_id is None


def test_the_cores_are_divided_unless_the_environment_says_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(8))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert Place(1, 2).environment()["OMP_NUM_THREADS"] == "4"
    assert Place(1, 16).environment()["OMP_NUM_THREADS"] == "1"
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert Place(1, 2).environment()["OMP_NUM_THREADS"] == "3"


def test_workers_take_the_gpus_that_are_named_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,GPU-4a1e")
    taken = [Place(number, 3).environment()["CUDA_VISIBLE_DEVICES"] for number in range(3)]
    assert taken == ["0", "GPU-4a1e", "0"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert Place(1, 2).environment()["CUDA_VISIBLE_DEVICES"] == "", "none is to be used"

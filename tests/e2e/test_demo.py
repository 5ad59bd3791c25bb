"""`monitor demo` as a newcomer starts it: real traffic, alerts, figures, and a clean end."""

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from monitor.bundle import load_manifest
from monitor.config_sources import load_settings
from monitor.demo.broker import answers, die_with_parent
from tests.support.brokers import Broker
from tests.support.waiting import until

pytestmark = [pytest.mark.e2e, pytest.mark.kafka, pytest.mark.timeout(400)]

VECTORS, ATTACKS = 22_544, 12_833  # of KDDTest+
RUN_SECONDS, STOP_SECONDS = 300.0, 20.0
KEYS = {
    "vectors",
    "alerts",
    "detection_rate",
    "false_alarm_rate",
    "auc_roc",
    "seconds",
    "vectors_per_second",
    "broker",
}


def _as_from_a_terminal() -> None:
    """Listen to Ctrl-C even where the tests run in the background, which ignores it."""
    die_with_parent()
    signal.signal(signal.SIGINT, signal.default_int_handler)


class Run:
    """`monitor demo` as a process, what it prints, and the processes that it starts."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder = folder / "run"
        self._screen = folder / "screen.txt"
        command = [sys.executable, "-m", "monitor", "demo", "--folder", str(self.folder), *options]
        with self._screen.open("wb") as screen:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=screen,
                stderr=subprocess.STDOUT,
                preexec_fn=_as_from_a_terminal,
            )

    @property
    def text(self) -> str:
        return self._screen.read_text()

    def wait_for(self, words: str) -> None:
        """Until it has printed this; fails where it ends before."""
        until(lambda: words in self.text or self.process.poll() is not None, RUN_SECONDS)
        assert words in self.text, self.text

    def end(self) -> int:
        """Until it ends by itself; its exit code."""
        return self.process.wait(RUN_SECONDS)

    def interrupt(self) -> int:
        """Ctrl-C; its exit code."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(STOP_SECONDS)

    def children(self) -> dict[int, str]:
        """Processes that it has started and that run: their command lines."""
        return {pid: line for pid, parent, line in processes() if parent == self.process.pid}

    def result(self) -> dict[str, Any]:
        """The one JSON line."""
        [line] = re.findall(r"^\{.*\}$", self.text, re.MULTILINE)
        found: dict[str, Any] = json.loads(line)
        return found


def processes() -> Iterator[tuple[int, int, str]]:
    """Pid, parent and command line of whatever runs."""
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
                line = (folder / "cmdline").read_text().replace("\0", " ")
            except OSError:  # it has ended meanwhile
                continue
            if fields[0] != "Z":
                yield int(folder.name), int(fields[1]), line


def runs(pid: int) -> bool:
    return any(pid == other for other, _, _ in processes())


@contextmanager
def demo(folder: Path, *options: str) -> Iterator[Run]:
    run = Run(folder, *options)
    try:
        yield run
    finally:
        run.process.kill()
        run.process.wait()


@pytest.fixture(scope="module")
def both(
    kafka_broker: Broker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Run, Run]]:
    """A run with the embedded broker and, beside it to save time, one with another and --keep."""
    address = kafka_broker.bootstrap_servers
    with (
        demo(tmp_path_factory.mktemp("embedded")) as embedded,
        demo(tmp_path_factory.mktemp("kafka"), "--broker", address, "--keep") as kept,
    ):
        yield embedded, kept


@pytest.fixture(scope="module")
def finished(both: tuple[Run, Run]) -> Run:
    run, _ = both
    assert run.end() == 0, run.text
    return run


def test_it_ends_by_itself_with_a_line_of_figures(finished: Run) -> None:
    result = json.loads(finished.text.splitlines()[-1])
    assert result.keys() >= KEYS
    assert result["vectors"] == VECTORS
    assert result["broker"] == "embedded"
    assert result["auc_roc"] >= 0.96
    assert 0.1 < result["detection_rate"] < 1
    assert 0 < result["false_alarm_rate"] < 0.02
    assert result["vectors_per_second"] > 0
    counted = result["detection_rate"] * ATTACKS + result["false_alarm_rate"] * (VECTORS - ATTACKS)
    assert counted == pytest.approx(result["alerts"], abs=2)


def test_the_alerts_come_with_their_reasons(finished: Run) -> None:
    shown = finished.text.partition("3/4")[2].partition("4/4")[0]
    alerts = re.findall(r"^ +(\w+) +(?:Low|Medium|High|Critical) +(.+)$", shown, re.MULTILINE)
    assert "neptune" in dict(alerts)
    for _, reason in alerts:
        assert re.match(r"\w+ [^,]+, (expected|usually|always|never)", reason), reason


def test_it_leaves_a_bundle_settings_and_a_log_to_go_on_with(finished: Run) -> None:
    folder = finished.folder
    manifest = load_manifest(folder / "bundle")
    assert manifest.training.assumption == "rows labelled normal in column 42"
    assert (folder / "bundle" / "report.html").is_file()
    assert load_settings(folder / "monitor.toml").settings.bundle == folder / "bundle"
    events = [json.loads(line) for line in (folder / "daemon.log").read_text().splitlines()]
    assert {event["level"] for event in events} == {"info"}, events
    assert events[-1]["event"] == "stopped"


def test_it_runs_on_a_kafka_of_ones_own_and_stays_up_until_ctrl_c(
    both: tuple[Run, Run], kafka_broker: Broker
) -> None:
    _, kept = both
    kept.wait_for("Still running")
    result = kept.result()
    assert result["vectors"] == VECTORS
    assert result["broker"] == kafka_broker.bootstrap_servers
    [daemon] = kept.children()
    assert kept.interrupt() == 0, kept.text
    assert not runs(daemon)
    assert answers(kafka_broker.bootstrap_servers), "that broker is not the demo's to stop"


def test_ctrl_c_in_the_middle_stops_everything(tmp_path: Path) -> None:
    with demo(tmp_path) as run:
        run.wait_for("3/4")
        children = run.children()
        assert len(children) == 2, children
        assert any("monitor run" in line for line in children.values())
        assert any("broker" in line for line in children.values())
        assert run.interrupt() == 130
        assert not any(map(runs, children))
        assert "Traceback" not in run.text
        last = (run.folder / "daemon.log").read_text().splitlines()[-1]
        assert json.loads(last)["event"] == "stopped"

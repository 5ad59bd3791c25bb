"""The daemon as a user starts it: a process, its settings file, its log and its port.

with Daemon(settings_file(folder, broker, topic)) as daemon:
    daemon.wait_until_ready()
    ...
    assert daemon.terminate() == 0
"""

import json
import os
import signal
import subprocess
import sys
import tomllib
from atexit import register
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any, Self
from urllib.error import HTTPError
from urllib.request import urlopen

from prometheus_client.parser import text_string_to_metric_families

from monitor.demo.broker import die_with_parent
from tests.support.brokers import Broker, fresh_name
from tests.support.detectors import save_small
from tests.support.waiting import until

READY_SECONDS = 60.0
STOP_SECONDS = 10.0


@cache
def session_folder() -> Path:
    """A temporary folder of this process, which goes with it."""
    folder = TemporaryDirectory(prefix="anomaly-monitor-tests-", ignore_cleanup_errors=True)
    register(folder.cleanup)
    return Path(folder.name)


@cache
def small_bundle() -> Path:
    """A bundle of the small world, made once a session."""
    folder = session_folder() / "small-world"
    save_small(folder)
    return folder


def settings_file(
    folder: Path,
    broker: Broker,
    topic: str,
    *,
    bundle: Path | None = None,
    top: str = "",
    kafka: str = "",
    batch: str = "",
    incidents: str = 'group_by = "none"',
    port: int = 0,
    group: str | None = None,
) -> Path:
    """A settings file with output topics of its own; further lines of a table as text.

    Each anomalous vector has an alert of its own, so that they can be counted, unless `incidents`
    says otherwise.
    """
    path = folder / "monitor.toml"
    path.write_text(
        f"""
bundle = "{bundle or small_bundle()}"
{top}
[kafka]
bootstrap_servers = "{broker.bootstrap_servers}"
group_id = "{group or fresh_name("group")}"
input_topics = ["{topic}"]
alert_topic = "{topic}-alerts"
dead_letter_topic = "{topic}-dead-letters"
{kafka}
[batch]
{batch}
[incidents]
{incidents}
[telemetry]
port = {port}
"""
    )
    return path


def group_of(settings: Path) -> str:
    """The group that a settings file names."""
    return str(tomllib.loads(settings.read_text())["kafka"]["group_id"])


class Daemon:
    """`monitor run`; it is killed at the end of the block if it still runs.

    `through` is a command that runs it, in its own process.
    """

    def __init__(
        self, settings: Path, *arguments: str, through: Sequence[str] = (), **environment: str
    ) -> None:
        self.log = settings.with_name(fresh_name("log"))
        command = [*through, sys.executable, "-m", "monitor", "run", "--config", str(settings)]
        command += arguments
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **environment},
                preexec_fn=die_with_parent,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.process.kill()
        self.process.wait()

    @property
    def events(self) -> list[dict[str, Any]]:
        """What it has logged."""
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def told(self, event: str) -> int:
        """How often it has logged an event."""
        return [entry["event"] for entry in self.events].count(event)

    def event(self, event: str) -> dict[str, Any]:
        """The first of this name."""
        return next(entry for entry in self.events if entry["event"] == event)

    @property
    def url(self) -> str:
        return str(self.event("telemetry")["url"]) if self.told("telemetry") else ""

    def ready(self) -> tuple[int, dict[str, Any]]:
        """/readyz: status and body."""
        try:
            with urlopen(f"{self.url}/readyz", timeout=5) as answer:
                return answer.status, json.load(answer)
        except HTTPError as answer:
            return answer.code, json.load(answer)

    def wait_until_ready(self) -> Self:
        until(lambda: (self.url and self.ready()[0] == 200) or not self.running, READY_SECONDS)
        assert self.running, self.log.read_text()
        return self

    @property
    def running(self) -> bool:
        return self.process.poll() is None

    def samples(self, name: str, **labels: str) -> list[float]:
        """A metric's samples with these labels."""
        with urlopen(f"{self.url}/metrics", timeout=5) as answer:
            families = text_string_to_metric_families(answer.read().decode())
        return [
            sample.value
            for family in families
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        ]

    def metric(self, name: str, **labels: str) -> float:
        """The sum of its samples with these labels."""
        return sum(self.samples(name, **labels))

    @property
    def lag(self) -> float | None:
        """Records not dealt with yet; None while no partition's lag is known."""
        lags = self.samples("anomaly_monitor_consumer_lag_records")
        return sum(lags) if lags else None

    def vectors(self, outcome: str = "scored") -> int:
        return int(self.metric("anomaly_monitor_vectors_total", outcome=outcome))

    def terminate(self, number: int = signal.SIGTERM) -> int:
        """Ask it to stop; its exit code, which must come in time."""
        self.process.send_signal(number)
        return self.process.wait(STOP_SECONDS)

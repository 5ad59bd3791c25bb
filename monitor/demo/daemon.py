"""The daemon as a process of its own, watched from outside: HTTP and /proc, nothing shared."""

import json
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep
from types import TracebackType
from typing import Self
from urllib.error import URLError
from urllib.request import urlopen

from prometheus_client.parser import text_string_to_metric_families

from monitor.demo.broker import die_with_parent, free_port
from monitor.demo.topics import Topics
from monitor.errors import StreamError

READY_SECONDS = 60.0
STOP_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Counts:
    """What the daemon's metrics say it has dealt with and published."""

    vectors: int
    alerts: int


class Daemon:
    """`monitor run` on a settings file, from start to a clean stop."""

    def __init__(self, settings: Path, log: Path, port: int = 0) -> None:
        self._settings = settings
        self._log = log
        self._port = port or free_port()
        self.address = f"http://127.0.0.1:{self._port}"
        self.seconds_to_ready = 0.0

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "monitor", "run", "--config", str(self._settings)]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [*command, "--port", str(self._port)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=die_with_parent,
            )
        try:
            self._wait_until_ready()
        except BaseException:
            self._process.kill()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def check(self) -> None:
        """Raise StreamError with the end of its log if the daemon is gone."""
        if (code := self._process.poll()) is not None:
            said = self._log.read_text(errors="replace").strip()[-2000:]
            raise StreamError(f"the daemon ended with exit code {code}; its log ends:\n{said}")

    def counts(self) -> Counts:
        """Vectors dealt with and alerts published so far, as its metrics say."""
        totals = {"anomaly_monitor_vectors": 0.0, "anomaly_monitor_alerts": 0.0}
        for family in text_string_to_metric_families(self._get("/metrics")):
            if family.name in totals:
                totals[family.name] += sum(
                    sample.value for sample in family.samples if sample.name.endswith("_total")
                )
        return Counts(*map(int, totals.values()))

    def peak_memory_mb(self) -> float:
        """Largest resident size so far, in 10^6 bytes; 0 where the system does not say."""
        status = Path(f"/proc/{self._process.pid}/status")
        found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text()) if status.exists() else None
        return round(int(found[1]) * 1024 / 1e6, 1) if found else 0.0

    def _wait_until_ready(self) -> None:
        started = monotonic()
        while not self._ready():
            self.check()
            if monotonic() - started > READY_SECONDS:
                raise StreamError(
                    f"the daemon was not ready within {READY_SECONDS:.0f} s; see {self._log}."
                )
            sleep(0.05)
        self.seconds_to_ready = monotonic() - started

    def _ready(self) -> bool:
        try:
            self._get("/readyz")
        except (URLError, OSError):
            return False
        return True

    def _get(self, path: str) -> str:
        with urlopen(self.address + path, timeout=5) as response:  # noqa: S310  # our own loopback
            text: str = response.read().decode()
        return text


def settings_text(bundle: Path, bootstrap_servers: str, topics: Topics) -> str:
    """The settings of the run, as a user would write them."""
    quoted = json.dumps  # a JSON string is a TOML string
    return f"""\
bundle = {quoted(str(bundle))}
device = "auto"

[kafka]
bootstrap_servers = {quoted(bootstrap_servers)}
group_id = {quoted(topics.vectors)}
input_topics = [{quoted(topics.vectors)}]
auto_offset_reset = "earliest"
alert_topic = {quoted(topics.alerts)}
dead_letter_topic = {quoted(topics.dead_letters)}
delivery = "at_least_once"  # the embedded broker shows what a transaction has aborted
session_timeout_ms = 6000

[batch]
max_vectors = 4096
max_delay_ms = 20

# NSL-KDD names no hosts whose vectors could be one incident.
[incidents]
group_by = "none"

[telemetry]
host = "127.0.0.1"
port = 9464
"""

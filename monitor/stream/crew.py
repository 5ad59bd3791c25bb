"""The workers as their supervisor sees them: processes, and what they tell of themselves.

    crew = Crew([sys.executable, "-m", "monitor", "run"], count=2)
    worker = crew.start(0)
    while worker.hear():                    # blocks until it tells something, or ends
        ...
    code = crew.ended(worker)

Metrics and health are asked of the workers when they are asked of the crew, over loopback, all at
once. One that does not answer in time stands there with what it has counted before.
"""

import json
import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from threading import Lock
from typing import IO
from urllib.parse import urlsplit

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from monitor.stream.worker import Place
from monitor.telemetry.merge import Families, Merge, by_name, totals
from monitor.telemetry.metrics import WORKER_STATES, Metrics, SupervisorMetrics

ANSWER_SECONDS = 2.0
READY = "anomaly_monitor_ready"


class Worker:
    """A process at its place, from its start to its end.

    Attributes:
        error: the sentence that it has ended with, where it had one.
        was_ready: whether it has done its work for a moment at least.
        told: its metrics as scraped last.
    """

    def __init__(self, command: Sequence[str], place: Place) -> None:
        self.place = place
        self.error = ""
        self.was_ready = False
        self.told: Families = {}
        self._url = self._half_line = ""
        with _hangup_blocked():
            self.process = subprocess.Popen(  # noqa: S603  # this very program again
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                env=place.environment(),
                process_group=0,  # for a terminal's Ctrl-C is handed on by the supervisor
            )

    @property
    def output(self) -> IO[bytes]:
        """Where it tells things; closed when it ends."""
        assert self.process.stdout is not None
        return self.process.stdout

    def hear(self) -> bool:
        """Take what it tells; False where it has told its last."""
        told = os.read(self.output.fileno(), 1 << 16)
        *lines, self._half_line = (self._half_line + told.decode(errors="replace")).split("\n")
        for facts in map(_facts, lines):
            self._url = facts.get("url", self._url)
            self.error = facts.get("error", self.error)
            self.was_ready |= "ready" in facts
        return bool(told)

    def families(self) -> Families:
        """Its metrics now; none where it does not tell them."""
        page = self._get("/metrics", "application/openmetrics-text")
        return by_name(text_string_to_metric_families(page)) if page else {}  # type: ignore[no-untyped-call]

    def parts(self) -> dict[str, str]:
        """Each part of it: "ok", or what is wrong."""
        page = self._get("/readyz")
        if not page:
            return {"telemetry": "does not answer" if self._url else "not started yet"}
        found: dict[str, str] = json.loads(page)["parts"]
        return found

    def _get(self, path: str, accept: str = "") -> str:
        """A page of its telemetry; nothing where there is no answer."""
        if not self._url:
            return ""
        # Not urlopen, which would go through a proxy where the environment names one.
        connection = HTTPConnection(urlsplit(self._url).netloc, timeout=ANSWER_SECONDS)
        try:
            connection.request("GET", path, headers={"Accept": accept})
            return connection.getresponse().read().decode()
        except (OSError, HTTPException):
            return ""
        finally:
            connection.close()


class Crew(Collector):
    """The workers of a host, as one to whoever asks for their metrics or their health.

    Attributes:
        workers: those that run, by number.
    """

    def __init__(self, command: Sequence[str], count: int) -> None:
        self.metrics = SupervisorMetrics()
        self.registry = CollectorRegistry()
        self.registry.register(self)
        self.workers: dict[int, Worker] = {}
        self._command, self._count = command, count
        self._merge = Merge(Metrics().registry)
        self._pool = ThreadPoolExecutor(count, "crew")
        self._lock, self._scraping = Lock(), Lock()

    def start(self, number: int) -> Worker:
        """Start a process at this place."""
        worker = Worker(self._command, Place(number, self._count))
        with self._lock:
            self.workers[number] = worker
        return worker

    def ended(self, worker: Worker) -> int:
        """Let go of one that has told its last; its exit code, negative for a signal's number."""
        with self._lock:
            del self.workers[worker.place.number]
            self._merge.ended(worker.told)
        worker.output.close()
        return worker.process.wait()

    def signal(self, number: int) -> None:
        """Send a signal to each."""
        for worker in self.workers.values():
            worker.process.send_signal(number)

    def collect(self) -> Iterator[Metric]:
        """All metrics: the supervisor's own, then what those of the workers come to."""
        with self._scraping:  # one at a time, or an older answer might be told after a newer one
            asked = self._running()
            answers = list(self._pool.map(Worker.families, asked))
            with self._lock:
                for worker, families in zip(asked, answers, strict=True):
                    worker.told = families or totals(worker.told)
                told = {n: self._told(n) for n in range(self._count)}
                merged = list(self._merge.of(told))
                self._tell_states(told)
            yield from [*self.metrics.registry.collect(), *merged]

    @property
    def parts(self) -> dict[str, str]:
        """Each part of each worker: "ok", or what is wrong."""
        found = {n: {"process": "has ended and will be started again"} for n in range(self._count)}
        running = self._running()
        found |= {
            worker.place.number: parts
            for worker, parts in zip(running, self._pool.map(Worker.parts, running), strict=True)
        }
        return {
            f"worker {number}: {part}": state
            for number, parts in found.items()
            for part, state in parts.items()
        }

    def _told(self, number: int) -> Families:
        return self.workers[number].told if number in self.workers else {}

    def _running(self) -> list[Worker]:
        with self._lock:
            return list(self.workers.values())

    def _tell_states(self, told: dict[int, Families]) -> None:
        ready = sum(f[READY].samples[0].value for f in told.values() if READY in f)
        running = len(self.workers)
        counts = (ready, running - ready, self._count - running)
        for state, count in zip(WORKER_STATES, counts, strict=True):
            self.metrics.workers.labels(state).set(count)


def _facts(line: str) -> dict[str, str]:
    """What a worker tells; nothing where it is a library of its that prints."""
    try:
        found = json.loads(line)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


@contextmanager
def _hangup_blocked() -> Iterator[None]:
    """What is started within waits with SIGHUP until it listens, rather than ends of it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)

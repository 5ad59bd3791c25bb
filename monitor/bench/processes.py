"""Processes apart from this one, which only looks on: the daemon, and what it is compared with."""

import json
import os
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from datetime import datetime
from multiprocessing import get_context
from pathlib import Path
from time import monotonic, sleep, time
from typing import ParamSpec, TypeVar

from kafka import KafkaAdminClient
from prometheus_client.parser import text_string_to_metric_families

from monitor.bench.loops import PATIENCE_SECONDS
from monitor.config import Settings
from monitor.demo.broker import die_with_parent
from monitor.demo.daemon import Daemon
from monitor.errors import SetupError, StreamError

LOOK_SECONDS = 0.05
ASSIGNED = "partitions assigned"

P = ParamSpec("P")
R = TypeVar("R")


class UnwatchableError(SetupError):
    """This system does not say what a process costs."""


def apart(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> "Future[R]":
    """Call a function in a process of its own."""
    pool = ProcessPoolExecutor(1, get_context("spawn"), initializer=die_with_parent)
    future = pool.submit(function, *args, **kwargs)
    pool.shutdown(wait=False)
    return future


class WatchedDaemon(Daemon):
    """`monitor run`, and what its log, its metrics and the kernel say of it.

    Raises UnwatchableError where there is no /proc.
    """

    def __init__(self, settings: Settings, file: Path) -> None:
        if not Path("/proc/self/status").exists():
            raise UnwatchableError(
                f"The daemon is watched through /proc, which {sys.platform} does not have: only "
                "the stages decode, score and growth run here."
            )
        super().__init__(file, file.with_suffix(".log"))
        self.settings = settings

    def work_off(self, records: int) -> Iterator[None]:
        """Until so many records are committed; yields at each look, for whoever watches."""
        kafka = self.settings.kafka
        admin = KafkaAdminClient(bootstrap_servers=kafka.bootstrap_servers)
        deadline = monotonic() + PATIENCE_SECONDS
        while True:
            [offsets] = admin.list_group_offsets({kafka.group_id: None}).values()
            if sum(committed.offset for committed in offsets.values()) >= records:
                break
            self.check()
            if monotonic() > deadline:
                raise StreamError(f"{records} records are not committed, but {offsets}.")
            yield
            sleep(LOOK_SECONDS)
        self.finished_at = time()
        admin.close()

    def seconds_of_work(self) -> float:
        """From the assignment of its partitions to the last commit."""
        for line in self._log.read_text().splitlines():
            if line.startswith("{") and (event := json.loads(line))["event"] == ASSIGNED:
                return self.finished_at - datetime.fromisoformat(event["timestamp"]).timestamp()
        raise LookupError(f"{self._log} does not say {ASSIGNED!r}")

    def stage_seconds(self) -> Mapping[str, float]:
        """Time spent so far in each stage."""
        [family] = [
            family
            for family in text_string_to_metric_families(self._get("/metrics"))
            if family.name == "anomaly_monitor_stage_seconds"
        ]
        sums = (sample for sample in family.samples if sample.name.endswith("_sum"))
        return {sample.labels["stage"]: sample.value for sample in sums}

    def cpu_seconds(self) -> float:
        """Time that all its threads have had on a core, user and system."""
        after_name = self._proc("stat").rpartition(")")[2].split()
        return (int(after_name[11]) + int(after_name[12])) / os.sysconf("SC_CLK_TCK")

    def wakeups(self) -> Counter[str]:
        """How often its threads have waited for something and gone on, by the thread's number."""
        tasks = Path(f"/proc/{self._process.pid}/task").glob("*/status")
        return Counter(
            {
                task.parent.name: _number(task.read_text(), "voluntary_ctxt_switches")
                for task in tasks
            }
        )

    def memory_mb(self, field: str) -> float:
        """VmRSS, VmHWM (its largest so far), RssFile, ..., in 10^6 bytes."""
        return _number(self._proc("status"), field) * 1024 / 1e6

    def _proc(self, name: str) -> str:
        return Path(f"/proc/{self._process.pid}/{name}").read_text()


def _number(status: str, name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+)", status, re.MULTILINE)
    assert found, f"no {name} in:\n{status}"
    return int(found[1])

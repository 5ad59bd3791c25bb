"""How much memory the daemon takes while it works off a backlog as fast as it can."""

from collections.abc import Iterator
from statistics import median

from tests.bench.bench import Bench
from tests.bench.figures import Figure


def run(bench: Bench) -> Iterator[Figure]:
    backlog = bench.benign_backlog
    with bench.daemon(backlog.topic) as daemon:
        ready = daemon.memory_mb("VmRSS")
        bench.say(f"watching the memory while {backlog.size:,} vectors go through")
        samples = [daemon.memory_mb("VmRSS") for _ in daemon.work_off(backlog.size)]
        peak, libraries = daemon.memory_mb("VmHWM"), daemon.memory_mb("RssFile")
    note = f"{libraries:.0f} MB of it are pages of libraries, which processes share"
    yield Figure("memory: when ready", "MB", ready)
    yield Figure("memory: at load", "MB", median(samples[len(samples) // 2 :]), note=note)
    yield Figure("memory: peak", "MB", peak)

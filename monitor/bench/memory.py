"""How much memory the daemon takes while it works as fast as it can, and whether that grows."""

from collections.abc import Iterator, Sequence
from statistics import median
from time import monotonic, sleep

from monitor.bench.bench import Bench
from monitor.bench.figures import Figure, Goal
from monitor.bench.loops import flood
from monitor.bench.processes import apart

SECONDS, FULL_SECONDS = 60.0, 600.0
WARM_UP_SECONDS = 10.0
LOOK_SECONDS = 0.25
MOST_RECORDS = 100_000_000
MOST = Goal("<=", 700)
FLAT = Goal("<=", 2.0)


def run(bench: Bench) -> Iterator[Figure]:
    workload, topic = bench.workloads[0], bench.topic()
    seconds = FULL_SECONDS if bench.extent.full else SECONDS
    bench.say(f"watching the memory for {seconds:.0f} s, while a producer sends what it can")
    most = bench.extent.vectors or MOST_RECORDS
    with bench.daemon(workload.bundle, topic) as daemon:
        ready = daemon.memory_mb("VmRSS")
        feeding = apart(flood, bench.bootstrap_servers, topic, workload.records, most, seconds)
        samples: list[tuple[float, float]] = []
        started = monotonic()
        while monotonic() - started < seconds and not feeding.done():
            sleep(LOOK_SECONDS)
            samples.append((monotonic() - started, daemon.memory_mb("VmRSS")))
            daemon.check()
        done = daemon.counts().vectors
        peak, libraries = daemon.memory_mb("VmHWM"), daemon.memory_mb("RssFile")
        feeding.result()
    note = f"{libraries:.0f} MB of it are pages of libraries, which processes share"
    yield Figure("memory: when ready", "MB", ready)
    yield Figure("memory: peak at full load", "MB", peak, MOST, note)
    note = (
        f"last third over first, after {WARM_UP_SECONDS:.0f} s; {done:,} vectors in {seconds:.0f} s"
    )
    yield Figure("memory: growth at full load", "%", _growth(samples), FLAT, note)


def _growth(samples: Sequence[tuple[float, float]]) -> list[float]:
    """By how many percent the last third of the samples lies above the first; none of too few."""
    settled = [mb for at, mb in samples if at > WARM_UP_SECONDS]
    third = len(settled) // 3
    if not third:
        return []
    return [100 * (median(settled[-third:]) / median(settled[:third]) - 1)]

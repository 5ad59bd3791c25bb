"""How much memory the daemon takes while it works as fast as it can, and whether that grows."""

from collections.abc import Iterator, Sequence
from statistics import median
from time import monotonic, sleep

import torch

from monitor.bench.bench import Bench
from monitor.bench.figures import Figure, Goal
from monitor.bench.loops import flood
from monitor.bench.processes import apart

SECONDS, FULL_SECONDS = 60.0, 600.0
LOOK_SECONDS = 0.25
MOST_RECORDS = 100_000_000
MOST = Goal("<=", 700)
FLAT = Goal("<=", 2.0)


def run(bench: Bench) -> Iterator[Figure]:
    workload, topic = bench.workloads[0], bench.topic()
    seconds = FULL_SECONDS if bench.extent.full else SECONDS
    bench.say(f"watching the memory for {seconds:.0f} s, while a producer sends what it can")
    with bench.daemon(workload.bundle, topic) as daemon:
        ready = daemon.memory_mb("VmRSS")
        feeding = apart(
            flood, bench.bootstrap_servers, topic, workload.records, MOST_RECORDS, seconds
        )
        own_mb: list[float] = []
        started = monotonic()
        while monotonic() - started < seconds and not feeding.done():
            sleep(LOOK_SECONDS)
            own_mb.append(daemon.memory_mb("RssAnon"))
            daemon.check()
        seconds, done = monotonic() - started, daemon.counts().vectors
        peak, libraries = daemon.memory_mb("VmHWM"), daemon.memory_mb("RssFile")
        feeding.result()
    build = "torch with CUDA" if torch.version.cuda else "a CPU build of torch"
    yield Figure("memory: when ready", "MB", ready)
    note = f"{build}; {libraries:.0f} MB of it are pages of libraries, which processes share"
    yield Figure("memory: peak at full load", "MB", peak, MOST, note)
    yield Figure("memory: peak without libraries", "MB", max(own_mb, default=0.0))
    note = (
        f"of what is its own, last third over the one before; {done:,} vectors in {seconds:.0f} s"
    )
    yield Figure("memory: growth at full load", "%", growth(own_mb), FLAT, note)


def growth(samples_mb: Sequence[float]) -> Sequence[float]:
    """By how many percent the last third lies above the one before; none of too few.

    In the first third buffers still grow to what the load takes.
    """
    third = len(samples_mb) // 3
    if not third:
        return ()
    before, last = samples_mb[-2 * third : -third], samples_mb[-third:]
    return (100 * (median(last) / median(before) - 1),)

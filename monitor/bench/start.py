"""From the start of the process to /readyz: imports, bundle, checks, group."""

from collections.abc import Iterator
from time import monotonic

from monitor.bench.bench import Bench
from monitor.bench.figures import Figure, Goal

REPETITIONS = 3


def run(bench: Bench) -> Iterator[Figure]:
    workload = bench.workloads[0]
    topic = bench.topic()
    seconds: list[float] = []
    for turn in range(1, REPETITIONS + 1):
        daemon = bench.daemon(workload.bundle, topic)
        started = monotonic()
        with daemon:
            seconds.append(monotonic() - started)
        bench.say(f"start, {turn} of {REPETITIONS}: {seconds[-1]:.2f} s")
    yield Figure("start to ready", "s", seconds, Goal("<", 6))

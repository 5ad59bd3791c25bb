"""What the daemon costs while there is nothing to do."""

from collections.abc import Iterator
from time import monotonic, sleep

from tests.bench.bench import Bench
from tests.bench.figures import Figure

SETTLE_SECONDS = 3.0
SECONDS = 20.0


def run(bench: Bench) -> Iterator[Figure]:
    with bench.daemon(bench.topic()) as daemon:
        sleep(SETTLE_SECONDS)
        bench.say(f"watching an idle daemon for {SECONDS:.0f} s")
        started, cpu, wakeups = monotonic(), daemon.cpu_seconds(), daemon.wakeups()
        sleep(SECONDS)
        cpu, wakeups = daemon.cpu_seconds() - cpu, daemon.wakeups() - wakeups
        seconds = monotonic() - started
    yield Figure("idle: share of a core", "%", 100 * cpu / seconds, goal=("<", 2))
    yield Figure("idle: wake-ups", "1/s", wakeups / seconds)

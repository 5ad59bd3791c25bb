"""What the daemon costs while there is nothing to do."""

from collections.abc import Iterator
from time import monotonic, sleep

from monitor.bench.bench import Bench
from monitor.bench.figures import Figure, Goal

SETTLE_SECONDS = 3.0
SECONDS = 20.0


def run(bench: Bench) -> Iterator[Figure]:
    with bench.daemon(bench.workloads[0].bundle, bench.topic()) as daemon:
        sleep(SETTLE_SECONDS)
        bench.say(f"watching an idle daemon for {SECONDS:.0f} s")
        started, cpu, before = monotonic(), daemon.cpu_seconds(), daemon.wakeups()
        sleep(SECONDS)
        cpu, wakeups = daemon.cpu_seconds() - cpu, daemon.wakeups() - before
        seconds = monotonic() - started
    rates = [count / seconds for _, count in wakeups.most_common()]
    yield Figure("idle: share of a core", "%", 100 * cpu / seconds, Goal("<", 2))
    note = "a poll of the broker lasts half a second, and each reply to one wakes its thread too"
    yield Figure("idle: wake-ups of all threads", "1/s", sum(rates), note=note)
    yield Figure("idle: wake-ups of the busiest thread", "1/s", max(rates, default=0.0))

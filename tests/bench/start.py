"""From the start of the process to /readyz: imports, bundle, checks, group."""

from collections.abc import Iterator
from time import monotonic

from tests.bench.bench import Bench
from tests.bench.figures import Figure

REPETITIONS = 5


def run(bench: Bench) -> Iterator[Figure]:
    topic = bench.topic()
    seconds: list[float] = []
    for turn in range(1, REPETITIONS + 1):
        daemon = bench.daemon(topic)
        started = monotonic()
        with daemon:
            seconds.append(monotonic() - started)
        bench.say(f"start, {turn} of {REPETITIONS}: {seconds[-1]:.2f} s")
    yield Figure("start to ready", "s", seconds, goal=("<", 6))

"""What exactly once costs: the daemon with a transaction a micro-batch, and without, by turns."""

from collections import defaultdict
from collections.abc import Iterator

from monitor.bench.bench import Bench
from monitor.bench.figures import Figure, Goal
from monitor.bench.loops import Pace
from monitor.bench.pipeline import drain, over

DELIVERIES = ("exactly_once", "at_least_once")
VECTORS = 400_000
TURNS = 5
OF_AT_LEAST_ONCE = Goal(">=", 0.9)


def run(bench: Bench) -> Iterator[Figure]:
    for workload in bench.workloads:
        backlog = bench.backlog(workload.records, VECTORS, f"JSON vectors, {workload.name}")
        paces: dict[str, list[Pace]] = defaultdict(list)
        notes: dict[str, str] = {}
        for turn in range(1, TURNS + 1):
            for delivery in DELIVERIES:
                kafka = f'delivery = "{delivery}"'
                pace, notes[delivery] = drain(bench, workload.bundle, backlog, kafka=kafka)
                paces[delivery].append(pace)
            told = ", ".join(f"{name} {found[-1].per_second:,.0f}" for name, found in paces.items())
            bench.say(f"{workload.name}, {turn} of {TURNS}: {told} vectors/s")
        rates = {delivery: [pace.per_second for pace in found] for delivery, found in paces.items()}
        for delivery, found in rates.items():
            title = f"{workload.name}, JSON, 4,096 a batch: {delivery}"
            yield Figure(title, "vectors/s", found, note=notes[delivery])
        shares = over(rates["exactly_once"], rates["at_least_once"])
        title = f"{workload.name}, JSON: exactly once over at least once"
        yield Figure(title, "", shares, OF_AT_LEAST_ONCE)
